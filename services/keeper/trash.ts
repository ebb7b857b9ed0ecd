/**
 * Takes away the bytes of what was deleted or overwritten, once the retention has passed; earlier, the oldest first,
 * while a disk is nearly full (R10), or the index, of which trash takes about as much as what it was (R20).
 *
 * Safe to stop and repeat anywhere: shards go first, from all disks of their group, then the key, by a commit that
 * compares it. What a trash key names is named by nothing else and never will be again, so removing it twice, or
 * long after, harms nothing. A disk that is away now keeps its shards: the same commit notes that it missed
 * removals, and garbage collection goes through all of it when it is back.
 */
import type { Job, JobContext, StepOutcome } from "#keeper/job.ts";
import { missedPut } from "#keeper/missed.ts";
import { IndexWentBack } from "#keeper/removal-terms.ts";
import { PLAIN_REMOVALS, type Removals } from "#keeper/removals.ts";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import { afterBucket, bucketIdOf, TRASH, trashUntil } from "#metadata/keys.ts";
import type { Entry, MetadataStore, Put } from "#metadata/metadata-store.ts";
import { decodeTrash, type TrashRecord } from "#metadata/records.ts";
import { ExtentGone } from "#objects/data-plane.ts";
import type { Extent } from "#objects/model.ts";
import type { StorageClasses } from "#objects/storage-classes.ts";
import type { CurrentMap } from "#placement/current-map.ts";
import { placesOf } from "#placement/placement-map.ts";
import type { ShardId, ShardStore } from "#shards/shard-store.ts";

export const TRASH_RETENTION_MS = 24 * 60 * 60_000;
const EVERY_MS = 5 * 60_000;
/** Share of a disk in use above which trash goes before its time. */
const PRESSURE = 0.92;
/** While it lasts the retention shrinks by steps, so that the oldest of all buckets goes first. */
const PRESSURE_STEPS = [1 / 2, 1 / 4, 1 / 8, 1 / 24, 0];
/** Two keys a record at most, half of what a commit may have. */
const RECORDS_A_STEP = 40;
/** A clock that was set forward may make trash older than it is by no more than this (R22). */
const CLOCK_LEAP_MS = 60 * 60_000;

export interface TrashParts {
  readonly metadata: MetadataStore;
  readonly stores: ReadonlyMap<string, ShardStore>;
  readonly map: CurrentMap;
  readonly classes: StorageClasses;
  /** Reads the list of parts of what was uploaded in parts; its own extent comes last. */
  readonly manifests: {
    extentsOfTrash(trash: TrashRecord, signal: AbortSignal): Promise<readonly Extent[]>;
  };
  /** undefined: the disks are of this machine. */
  readonly removals?: Removals | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  readonly retentionMs: number;
  /** Whether too much of the index is used; undefined: it has no bounds of its own. */
  readonly room?: { readonly needsRemovals: boolean } | undefined;
}

interface Removal {
  readonly entry: Entry;
  readonly extents: readonly Extent[];
}

export class TrashJob implements Job {
  readonly name = "trash";
  readonly everyMs = EVERY_MS;
  readonly #parts: TrashParts;
  readonly #startedMs: number;
  readonly #startedMonotonicMs: number;
  /** Where the round is; undefined between rounds. */
  #from: Uint8Array | undefined;
  #cutoffMs = 0;
  /** Steps of PRESSURE_STEPS already taken. */
  #pressure = 0;

  constructor(parts: TrashParts) {
    this.#parts = parts;
    this.#startedMs = parts.clock.now();
    this.#startedMonotonicMs = parts.clock.monotonic();
  }

  async step(context: JobContext): Promise<StepOutcome> {
    const { metadata } = this.#parts;
    if (!this.#from) await this.#begin(context.signal);
    const from = this.#from ?? TRASH.from;
    const first = await metadata.range({ from, to: TRASH.to, limit: 1 }, context.signal);
    const [next] = first.entries;
    if (!next) return this.#endRound();
    const until = trashUntil(bucketIdOf(next.key), this.#cutoffMs);
    const { to } = until;
    if (Buffer.compare(next.key, to) >= 0) {
      this.#from = afterBucket(next.key);
      return "more";
    }
    const page = await metadata.range({ from, to, limit: RECORDS_A_STEP }, context.signal);
    await this.#removeAll(page.entries, context);
    const last = page.entries.at(-1);
    this.#from = page.more && last ? Buffer.concat([last.key, ZERO]) : afterBucket(next.key);
    return "more";
  }

  async #begin(signal: AbortSignal): Promise<void> {
    const { retentionMs, clock, log, map } = this.#parts;
    // What lies where an old map does not look would stay until the weekly sweep.
    await map.refresh(signal);
    const full = await this.#nearlyFull();
    const isFull = full !== undefined;
    const share = isFull ? (PRESSURE_STEPS[this.#pressure] ?? 0) : 1;
    if (isFull) log.warn({ share }, `${full} is nearly full: trash goes before its time`);
    this.#pressure = isFull ? this.#pressure + 1 : 0;
    const elapsedMs = clock.monotonic() - this.#startedMonotonicMs;
    const nowMs = Math.min(clock.now(), this.#startedMs + elapsedMs + CLOCK_LEAP_MS);
    this.#cutoffMs = nowMs - retentionMs * share;
    this.#from = TRASH.from;
  }

  #endRound(): StepOutcome {
    this.#from = undefined;
    const goesOn = this.#pressure > 0 && this.#pressure < PRESSURE_STEPS.length;
    if (!goesOn) this.#pressure = 0;
    return goesOn ? "more" : "done";
  }

  async #nearlyFull(): Promise<"the index" | "a disk" | undefined> {
    if (this.#parts.room?.needsRemovals === true) return "the index";
    for (const store of this.#parts.stores.values()) {
      // Of a disk that does not answer nobody knows.
      const { capacity, free } = await store.health().catch(() => ({ capacity: 0, free: 0 }));
      if (capacity > 0 && 1 - free / capacity >= PRESSURE) return "a disk";
    }
    return undefined;
  }

  async #removeAll(entries: readonly Entry[], context: JobContext): Promise<void> {
    const removals: Removal[] = [];
    for (const entry of entries) {
      try {
        const trash = decodeTrash(entry.value);
        if (trash.trashedMs > this.#cutoffMs) continue;
        removals.push({ entry, extents: await this.#extentsOf(trash, context.signal) });
      } catch (error) {
        context.signal.throwIfAborted();
        context.progress.failed(Buffer.from(entry.key).toString("hex"), error);
      }
    }
    // Lists of parts go after what they list: until then they are how it is found.
    const lists = removals.map(({ extents }) => extents.slice(-1));
    const away = await this.#removeShards(
      removals.flatMap(({ extents }) => extents.slice(0, -1)),
      context,
    );
    for (const diskId of await this.#removeShards(lists.flat(), context)) away.add(diskId);
    await this.#forget(removals, away, context);
  }

  async #extentsOf(trash: TrashRecord, signal: AbortSignal): Promise<readonly Extent[]> {
    try {
      return await this.#parts.manifests.extentsOfTrash(trash, signal);
    } catch (error) {
      // The list went in an earlier turn that was cut short, and the list goes last.
      if (!(error instanceof ExtentGone) || !trash.manifest) throw error;
      return [...trash.extents, trash.manifest];
    }
  }

  /** Answers the disks that could not be reached. */
  async #removeShards(extents: readonly Extent[], { signal }: JobContext): Promise<Set<string>> {
    const { map, classes, stores, log, removals = PLAIN_REMOVALS } = this.#parts;
    const byDisk = new Map<string, ShardId[]>();
    for (const extent of extents) {
      const { k, m } = classes.ofExtent(extent);
      const group = map.group(extent.group);
      for (let index = 0; index < k + m; index++) {
        const id = { group: extent.group, writeId: extent.writeId, index };
        for (const diskId of placesOf(group, index)) {
          const ids = byDisk.get(diskId);
          if (ids) ids.push(id);
          else byDisk.set(diskId, [id]);
        }
      }
    }
    const away = new Set<string>();
    const removing = [...byDisk].map(async ([diskId, ids]) => {
      try {
        const store = stores.get(diskId);
        if (store) await removals.remove({ store, ids, mayStill: always, signal });
        else away.add(diskId);
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof IndexWentBack) throw error;
        log.warn(
          { disk: diskId, err: error },
          "trash could not be removed; garbage collection will",
        );
        away.add(diskId);
      }
    });
    await Promise.all(removing);
    return away;
  }

  async #forget(
    removals: readonly Removal[],
    away: ReadonlySet<string>,
    { fence, progress, signal }: JobContext,
  ): Promise<void> {
    if (removals.length === 0) return;
    const put: readonly Put[] = [...away].map(missedPut);
    const keys = removals.map(({ entry: { key, revision } }) => ({ key, revision }));
    const outcome = await this.#parts.metadata.commit(
      { expect: [...keys, ...fence], put, remove: keys.map(({ key }) => key) },
      signal,
    );
    // Somebody else took some of it, or the lease: the keys that are left are seen again in the next round.
    if (outcome.kind === "conflict") return;
    const extents = removals.flatMap((removal) => removal.extents);
    const bytes = extents.reduce((sum, { size }) => sum + size, 0);
    progress.did({ bytes, items: removals.length });
  }
}

/** What a trash key names is named by nothing else, and never will be. */
async function always(): Promise<boolean> {
  return true;
}

const ZERO = Buffer.alloc(1);
