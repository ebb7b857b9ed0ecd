/**
 * One pass over all disks' listings: which writes nothing names, and of those that are named which disks lack shards or
 * hold some that belong elsewhere (R31, the light scrub). It only looks; garbage.ts decides and acts.
 */
import type { GarbageState } from "#keeper/garbage-state.ts";
import type { JobContext, StepOutcome } from "#keeper/job.ts";
import { type ListedWrite, listWrites } from "#keeper/listed-writes.ts";
import type { Pace } from "#keeper/pace.ts";
import type { MetadataStore } from "#metadata/metadata-store.ts";
import { listSessions } from "#metadata/sessions.ts";
import { type About, decodeAbout } from "#objects/about.ts";
import { writeQuorum } from "#objects/quorum.ts";
import type { WriteName } from "#objects/references.ts";
import type { StorageClasses } from "#objects/storage-classes.ts";
import type { CurrentMap } from "#placement/current-map.ts";
import type { ShardId, ShardSeal, ShardStore } from "#shards/shard-store.ts";

/** Writes of one step. */
const STEP_WRITES = 1000;
/** Past this no sweep may act, so it need not remember more. */
const DOOMED_REMEMBERED_MAX = 100_000;

export interface SweepParts {
  readonly metadata: MetadataStore;
  readonly stores: ReadonlyMap<string, ShardStore>;
  readonly map: CurrentMap;
  readonly clusterId: string;
  readonly classes: StorageClasses;
  readonly references: { isReferenced(write: WriteName, signal: AbortSignal): Promise<boolean> };
  readonly pace: Pace;
}

export type ShardsByDisk = ReadonlyMap<string, readonly ShardId[]>;

export interface SweepVerdict {
  /** Writes seen, asked about, and of those the ones that may go. */
  readonly writes: number;
  readonly asked: number;
  readonly doomed: readonly WriteName[];
  readonly byDisk: ShardsByDisk;
  /** Ended sessions of which all writes seen are named, or go now. */
  readonly settled: ReadonlySet<string>;
  /** Disks of which not all shards were seen: away when the listing began, or broken off. */
  readonly unlisted: ReadonlySet<string>;
  /** Groups of which a disk lacks shards, or holds what belongs to others. */
  readonly dirty: readonly { readonly group: number; readonly diskId: string }[];
}

export class Sweep {
  readonly #parts: SweepParts;
  readonly #known: GarbageState;
  readonly #isFull: boolean;
  readonly #seenLowWater: ReadonlyMap<string, number>;
  #listing: AsyncGenerator<ListedWrite, void, void> | undefined;
  #writes = 0;
  #asked = 0;
  readonly #doomed: WriteName[] = [];
  readonly #byDisk = new Map<string, ShardId[]>();
  #leftovers = new Map<string, ShardId[]>();
  readonly #ended = new Set<string>();
  /** Sessions with a write that could not be judged. */
  readonly #doubtful = new Set<string>();
  readonly #unlisted = new Set<string>();
  readonly #dirty = new Map<string, { readonly group: number; readonly diskId: string }>();

  constructor(parts: SweepParts, { state, isFull }: { state: GarbageState; isFull: boolean }) {
    this.#parts = parts;
    this.#known = state;
    this.#isFull = isFull;
    this.#seenLowWater = new Map(state.seen.map(({ id, lowWater }) => [id, lowWater]));
  }

  async step(context: JobContext): Promise<StepOutcome> {
    this.#listing ??= this.#list(context);
    const writes: ListedWrite[] = [];
    while (writes.length < STEP_WRITES) {
      const next = await this.#listing.next();
      if (next.done === true) break;
      writes.push(next.value);
    }
    await this.#judge(writes, context);
    return writes.length < STEP_WRITES ? "done" : "more";
  }

  verdict(): SweepVerdict {
    const settled = [...this.#ended].filter((id) => !this.#doubtful.has(id));
    return {
      writes: this.#writes,
      asked: this.#asked,
      doomed: this.#doomed,
      byDisk: this.#byDisk,
      settled: new Set(settled),
      unlisted: this.#unlisted,
      dirty: [...this.#dirty.values()],
    };
  }

  /**
   * Since the last call: shards of doomed writes of which so few were found that no client was ever told of them, or that were
   * taken away already from the disks that were there. They say nothing against the index, however many they are.
   */
  takeLeftovers(): ShardsByDisk {
    const leftovers = this.#leftovers;
    this.#leftovers = new Map();
    return leftovers;
  }

  #list({ signal, progress }: JobContext): AsyncGenerator<ListedWrite, void, void> {
    const { stores, map } = this.#parts;
    // One that comes back later is not in the listing.
    for (const { id, state } of map.map.disks) {
      if (state !== "gone" && !stores.has(id)) this.#unlisted.add(id);
    }
    const onFault = (diskId: string, error: unknown) => {
      this.#unlisted.add(diskId);
      progress.failed(`disk ${diskId}`, error);
    };
    return listWrites(stores, { signal, onFault });
  }

  async #judge(writes: readonly ListedWrite[], context: JobContext): Promise<void> {
    // After the listing: a session that is not there now can own none of what was listed and still commit it.
    const sessions = await listSessions(this.#parts.metadata, context.signal);
    const alive = new Map(sessions.map(({ id, lowWater }) => [id, lowWater]));
    for (const write of writes) {
      this.#writes += 1;
      const seal = write.shards[0]?.info;
      if (!seal) continue;
      const lowWater = alive.get(seal.session);
      if (lowWater === undefined) this.#ended.add(seal.session);
      else if (seal.sequence >= lowWater) continue;
      const isAsked = this.#isWorthAsking(seal, lowWater !== undefined);
      if (!isAsked || (await this.#isNamed(write, seal, context))) this.#noteMisplaced(write, seal);
    }
    const last = writes.at(-1);
    if (last) context.progress.reached(shareOf(last, this.#parts.map.groupCount));
  }

  #isWorthAsking({ session, sequence }: ShardSeal, isAlive: boolean): boolean {
    if (this.#isFull) return true;
    if (isAlive || this.#known.settled.has(session)) return false;
    return sequence >= (this.#seenLowWater.get(session) ?? 0);
  }

  /** False only when that is certain. */
  async #isNamed(write: ListedWrite, seal: ShardSeal, context: JobContext): Promise<boolean> {
    const { references, clusterId, pace } = this.#parts;
    this.#asked += 1;
    await pace.take(1, context.signal);
    try {
      const about = decodeAbout(seal.about);
      if (about.clusterId !== clusterId) {
        throw new Error(`it is of cluster ${about.clusterId}, not of ${clusterId}`);
      }
      const { bucketId, key, uploadId, partNumber } = about.owner;
      const name = { bucketId, key, uploadId, partNumber, writeId: write.writeId };
      if (await references.isReferenced(name, context.signal)) return true;
      if (this.#isLeftover(write, about)) addShards(this.#leftovers, write);
      else this.#doom(write, name);
      return false;
    } catch (error) {
      context.signal.throwIfAborted();
      this.#doubtful.add(seal.session);
      context.progress.failed(`write ${Buffer.from(write.writeId).toString("hex")}`, error);
      return true;
    }
  }

  #noteMisplaced({ group, shards }: ListedWrite, { siblings }: ShardSeal): void {
    const { map, stores } = this.#parts;
    const { members, earlier } = map.group(group);
    for (let index = 0; index < siblings.length; index++) {
      const diskId = members[index];
      if (diskId === undefined || !stores.has(diskId) || this.#unlisted.has(diskId)) continue;
      const isThere = shards.some(
        (shard) => shard.info.id.index === index && shard.diskId === diskId,
      );
      if (!isThere) this.#noteDirty(group, diskId);
    }
    // While a group moves, repair is at it. Later one may still arrive, of a write that went on without that disk.
    if (earlier.length > 0) return;
    for (const { diskId, info } of shards) {
      if (members[info.id.index] !== diskId) this.#noteDirty(group, diskId);
    }
  }

  #noteDirty(group: number, diskId: string): void {
    this.#dirty.set(`${group} ${diskId}`, { group, diskId });
  }

  #doom(write: ListedWrite, name: WriteName): void {
    if (this.#doomed.length >= DOOMED_REMEMBERED_MAX) {
      throw new Error("nothing names it, and more is found than any sweep may take");
    }
    this.#doomed.push(name);
    addShards(this.#byDisk, write);
  }

  #isLeftover({ group, shards }: ListedWrite, about: About): boolean {
    const { map, stores, classes } = this.#parts;
    const { members, earlier } = map.group(group);
    const places = [...members, ...earlier.map(({ diskId }) => diskId)];
    // What is on a disk that was not seen may make it whole.
    if (places.some((diskId) => !stores.has(diskId) || this.#unlisted.has(diskId))) return false;
    const found = new Set(shards.map(({ info }) => info.id.index));
    return found.size < writeQuorum(classes.ofExtent(about));
  }
}

function addShards(byDisk: Map<string, ShardId[]>, { shards }: ListedWrite): void {
  for (const { diskId, info } of shards) {
    const ids = byDisk.get(diskId);
    if (ids) ids.push(info.id);
    else byDisk.set(diskId, [info.id]);
  }
}

/** Groups come in order, and the ids of a group's writes are spread evenly. */
function shareOf({ group, writeId }: ListedWrite, groupCount: number): number {
  return (group + Buffer.from(writeId).readUInt16BE() / 2 ** 16) / groupCount;
}
