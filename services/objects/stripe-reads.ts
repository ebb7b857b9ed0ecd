/** Pieces of stripes, verified, from the disks that have them; falls to other shards and to a newer placement map. */
import type { Codec } from "#codec/codec.ts";
import { Unavailable } from "#lib/unavailable.ts";
import { ExtentGone } from "#objects/data-plane.ts";
import type { DiskStandings } from "#objects/disk-standings.ts";
import { type BlockRange, blocksOf, type StripeRange } from "#objects/extents.ts";
import type { Extent } from "#objects/model.ts";
import type { ReadPace } from "#objects/read-pace.ts";
import { readShard, type ShardFault } from "#objects/shard-read.ts";
import type { StorageClasses } from "#objects/storage-classes.ts";
import type { StripeBuffers } from "#objects/stripe-buffers.ts";
import { StripeGather, TooFewShards } from "#objects/stripe-gather.ts";
import type { CurrentMap } from "#placement/current-map.ts";
import type { PlacementGroup } from "#placement/placement-map.ts";
import type { ShardId, ShardStore } from "#shards/shard-store.ts";

/** A shard that a reader found missing or corrupt: repair looks at it. */
export interface Suspicion {
  readonly id: ShardId;
  readonly diskId: string;
  readonly fault: "missing" | "corrupt";
}

export interface ReadParts {
  readonly stores: ReadonlyMap<string, ShardStore>;
  readonly map: CurrentMap;
  readonly classes: StorageClasses;
  readonly standings: DiskStandings;
  readonly pace: ReadPace;
  readonly suspects: (suspicion: Suspicion) => void;
}

interface ReadOptions {
  readonly signal: AbortSignal;
  /** Where blocks are put; undefined: into memory of their own. */
  readonly buffers?: StripeBuffers | undefined;
}

interface GatherOptions extends ReadOptions {
  readonly codec: Codec;
  readonly group: PlacementGroup;
}

export class StripeReads {
  readonly #parts: ReadParts;

  constructor(parts: ReadParts) {
    this.#parts = parts;
  }

  dataShards(extent: Extent): number {
    return this.#parts.classes.ofExtent(extent).k;
  }

  /** The bytes in order. Throws ExtentGone, Unavailable, or an error that says which shards are corrupt: never fewer bytes. */
  async read(range: StripeRange, options: ReadOptions): Promise<readonly Uint8Array[]> {
    const codec = this.#parts.classes.ofExtent(range.extent);
    const group = this.#parts.map.group(range.extent.group);
    if (codec.m === 0 && codec.k === 1) {
      const bytes = await this.#readOnly(range, group, options);
      if (bytes) return [bytes];
    }
    try {
      return await this.#gather(range, { ...options, codec, group });
    } catch (error) {
      if (!(error instanceof TooFewShards)) throw error;
      return await this.#readAnew(range, { ...options, codec, group, found: error });
    }
  }

  /** The one copy there is. Anything but success goes the long way. */
  async #readOnly(
    { extent, shardOffset, from, to }: StripeRange,
    group: PlacementGroup,
    { signal, buffers }: ReadOptions,
  ): Promise<Uint8Array | undefined> {
    const store = this.#parts.stores.get(group.members[0] ?? "");
    if (!store) return undefined;
    const id = { group: extent.group, writeId: extent.writeId, index: 0 };
    try {
      const part = { offset: shardOffset + from, length: to - from };
      if (buffers === undefined) return await store.read(id, part, { signal });
      return await buffers.fill(part.length, (into) => store.read(id, part, { signal, into }));
    } catch {
      signal.throwIfAborted();
      return undefined;
    }
  }

  #gather(
    range: StripeRange,
    { codec, group, signal, buffers }: GatherOptions,
  ): Promise<readonly Uint8Array[]> {
    const { stores, pace } = this.#parts;
    const order = this.#order(range.extent, { codec, group });
    const wanted = blocksOf(range).map((block) =>
      codec.k === 1 ? { ...block, index: order[0] ?? 0 } : block,
    );
    const readBlock = async ({ index, from, to }: BlockRange) => {
      const startedMs = pace.now();
      const id = { group: range.extent.group, writeId: range.extent.writeId, index };
      const shardRange = { id, offset: range.shardOffset + from, length: to - from };
      const read = (into?: Uint8Array) =>
        readShard(stores, group, { range: shardRange, signal, into });
      const bytes = await (buffers === undefined ? read() : buffers.fill(to - from, read));
      pace.took(group.members[index] ?? "", pace.now() - startedMs);
      return bytes;
    };
    const onFault = (index: number, fault: ShardFault) =>
      this.#suspect(range.extent, index, fault, group);
    const delays = wanted.map(({ index }) => pace.delayMs(group.members[index] ?? ""));
    const delayMs = Math.max(...delays);
    return new StripeGather({ codec, wanted, order, readBlock, pace, delayMs, onFault }).run();
  }

  /** The map may be behind: only what the newest map's disks say counts. */
  async #readAnew(
    range: StripeRange,
    { found, ...options }: GatherOptions & { found: TooFewShards },
  ): Promise<readonly Uint8Array[]> {
    const { group, signal } = options;
    await this.#parts.map.refresh(signal);
    const newest = this.#parts.map.group(range.extent.group);
    if (isSameGroup(group, newest)) throw verdict(range.extent, found);
    try {
      return await this.#gather(range, { ...options, group: newest });
    } catch (error) {
      throw error instanceof TooFewShards ? verdict(range.extent, error) : error;
    }
  }

  /** Data before parity, disks that work before those that failed lately; copies in turns, so that all disks share the reads. */
  #order(
    extent: Extent,
    { codec, group }: { codec: Codec; group: PlacementGroup },
  ): readonly number[] {
    const shards = codec.k + codec.m;
    const turn = codec.k === 1 ? (extent.writeId[15] ?? 0) % shards : 0;
    const good: number[] = [];
    const doubtful: number[] = [];
    for (let place = 0; place < shards; place++) {
      const index = (place + turn) % shards;
      const diskId = group.members[index];
      const isGood =
        diskId !== undefined &&
        this.#parts.stores.has(diskId) &&
        this.#parts.standings.isUsable(diskId);
      (isGood ? good : doubtful).push(index);
    }
    return doubtful.length === 0 ? good : [...good, ...doubtful];
  }

  #suspect(
    extent: Extent,
    index: number,
    { fault, diskId }: ShardFault,
    group: PlacementGroup,
  ): void {
    if (fault === "away" || diskId === undefined) return;
    // A group under way to other disks lacks shards by plan, and repair is at it.
    if (fault === "missing" && group.earlier.length > 0) return;
    const { group: number, writeId } = extent;
    this.#parts.suspects({ id: { group: number, writeId, index }, diskId, fault });
  }
}

/** Absent only when every disk that may have a shard says that it has none (I11). */
function verdict(extent: Extent, { faults }: TooFewShards): Error {
  const name = Buffer.from(extent.writeId).toString("hex");
  const kinds = [...faults.values()].map(({ fault }) => fault);
  const options = { cause: [...faults.values()][0] };
  const list = [...faults].map(([index, { fault }]) => `${index} ${fault}`).join(", ");
  if (kinds.every((fault) => fault === "missing")) {
    return new ExtentGone(`Cannot read ${name}: no disk has its shards`, options);
  }
  if (kinds.includes("away")) {
    return new Unavailable(`Cannot read ${name}: too few disks answer (shards ${list})`, options);
  }
  return new Error(`Cannot read ${name}: too many shards are bad (${list})`, options);
}

function isSameGroup(one: PlacementGroup, other: PlacementGroup): boolean {
  return one === other || askedDisks(one) === askedDisks(other);
}

/** All that a reader may ask, place by place. */
function askedDisks({ members, earlier }: PlacementGroup): string {
  const before = earlier.map(({ index, diskId }) => `${index}:${diskId}`).toSorted();
  return [...members, ...before].join();
}
