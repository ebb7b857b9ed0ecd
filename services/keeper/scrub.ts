/**
 * Reads every byte of every disk in turn and notes for repair what is bad (R31, the deep scrub). The light one, whether
 * all shards are there, is part of the daily sweep (sweep.ts).
 *
 * Its place on each disk stands in the index, so a restart goes on where it was.
 */
import type { Job, JobContext, StepOutcome } from "#keeper/job.ts";
import { Pace } from "#keeper/pace.ts";
import {
  decodeScrubState,
  encodeScrubState,
  type ScrubState,
  scrubKey,
} from "#keeper/scrub-state.ts";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { MetadataStore, Put } from "#metadata/metadata-store.ts";
import { encodeSuspicion, suspicionKey } from "#objects/suspicions.ts";
import type { ShardInfo, ShardStore } from "#shards/shard-store.ts";

/** How often it looks whether a disk is due. */
const EVERY_MS_MAX = 10 * 60_000;
/** From one round's beginning to the next; and half of that is how long all disks together may take. */
export const SCRUB_ROUND_MS = 10 * 24 * 60 * 60_000;
const BYTES_PER_SECOND_MIN = 4 * 1024 * 1024;
const SHARDS_A_STEP = 40;
/** A first "bad" may be a passing fault of the machine (H15). */
const SECOND_LOOK_MS = 100;

export interface ScrubParts {
  readonly metadata: MetadataStore;
  readonly stores: ReadonlyMap<string, ShardStore>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly roundMs: number;
}

interface Turn {
  readonly diskId: string;
  readonly store: ShardStore;
  readonly pace: Pace;
  readonly bytesTotal: number;
  bytes: number;
}

export class ScrubJob implements Job {
  readonly name = "scrub";
  readonly everyMs: number;
  readonly #parts: ScrubParts;
  #turn: Turn | undefined;

  constructor(parts: ScrubParts) {
    this.#parts = parts;
    this.everyMs = Math.min(EVERY_MS_MAX, parts.roundMs);
  }

  async step(context: JobContext): Promise<StepOutcome> {
    const found = await this.#nextDisk(context.signal);
    if (!found) return "done";
    const { diskId, store, state, revision } = found;
    const turn = await this.#turnOf(diskId, store);
    const { signal, progress, fence } = context;
    const after = state.after ? { after: state.after } : {};
    const page = await store.list({ ...after, limit: SHARDS_A_STEP }, signal);
    const put: Put[] = [];
    for (const info of page.shards) {
      await turn.pace.take(info.length, signal);
      if (!(await this.#isGood(store, info, signal))) {
        put.push({ key: suspicionKey(info.id), value: encodeSuspicion(diskId) });
      }
      turn.bytes += info.length;
      progress.did({ bytes: info.length });
    }
    if (turn.bytesTotal > 0) progress.reached(Math.min(1, turn.bytes / turn.bytesTotal));
    const next: ScrubState = page.next
      ? { ...state, after: page.next }
      : { begunMs: state.begunMs, endedMs: this.#parts.clock.now(), after: undefined };
    put.push({ key: scrubKey(diskId), value: encodeScrubState(next) });
    const expect = [{ key: scrubKey(diskId), revision }, ...fence];
    await this.#parts.metadata.commit({ expect, put, remove: [] }, signal);
    return "more";
  }

  /** One whose round is under way, else the one that has waited longest of those that are due. */
  async #nextDisk(signal: AbortSignal) {
    const { metadata, stores, clock, roundMs } = this.#parts;
    const now = clock.now();
    const disks = [...stores];
    const keys = disks.map(([diskId]) => scrubKey(diskId));
    const entries = await metadata.getMany(keys, signal);
    let oldest:
      | { begunMs: number; diskId: string; store: ShardStore; revision: number }
      | undefined;
    for (const [place, [diskId, store]] of disks.entries()) {
      const entry = entries[place];
      const state = entry && decodeScrubState(entry.value);
      const revision = entry?.revision ?? 0;
      if (state?.after) return { diskId, store, state, revision };
      const begunMs = state?.begunMs ?? 0;
      if (state && now - begunMs < roundMs) continue;
      if (!oldest || begunMs < oldest.begunMs) oldest = { begunMs, diskId, store, revision };
    }
    return oldest && { ...oldest, state: { begunMs: now, endedMs: 0, after: undefined } };
  }

  async #turnOf(diskId: string, store: ShardStore): Promise<Turn> {
    if (this.#turn?.diskId === diskId) return this.#turn;
    const { clock, roundMs, stores } = this.#parts;
    const { live } = await store.health();
    // The disks have their turns one after another.
    const turnMs = roundMs / 2 / stores.size;
    const bytesPerSecond = Math.max(BYTES_PER_SECOND_MIN, (live * 1000) / turnMs);
    const pace = new Pace(clock, bytesPerSecond);
    this.#turn = { diskId, store, pace, bytesTotal: live, bytes: 0 };
    return this.#turn;
  }

  async #isGood(store: ShardStore, { id }: ShardInfo, signal: AbortSignal): Promise<boolean> {
    if ((await store.verify(id, signal)) !== "bad") return true;
    await this.#parts.clock.sleep(SECOND_LOOK_MS, signal);
    if ((await store.verify(id, signal)) !== "bad") return true;
    const shard = suspicionKey(id).toString("hex");
    this.#parts.log.error({ disk: store.diskId, shard }, "scrub found a bad shard");
    return false;
  }
}
