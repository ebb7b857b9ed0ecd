/**
 * Takes away shards that nothing names: what crashed and abandoned writes left behind (R9 to R11).
 *
 * A write may go only when it can no longer be committed and nothing names it. In this order, because each step is
 * final only after the one before: its shards are listed; its session is found to be gone, or its number below the
 * session's low-water mark; then the index is asked, linearizably. What cannot be read, or is not ours, stays. No
 * clock is part of that, and any process may be stopped, paused or doubled at any point: "named by nothing and
 * not committable" never becomes untrue again, so taking a shard away late or twice harms nothing.
 *
 * What it costs: a write that was asked about after its session's end is named, and leaves through the trash when it
 * no longer is. So sweeps only ask about sessions that ended since the last sweep, and of those whose marks were seen
 * only about writes above the mark; the rest costs its place in a listing. Every week, and for a disk that was
 * away while shards were removed, all are asked about.
 *
 * Against an index that is not the right one, or lost its latest changes: it acts only with the cluster's identity,
 * not after a restore, and stops to ask when one sweep would take more than a hundredth, or when an index that was
 * never swept names less than half of what the disks hold. Leftovers of removals that a disk missed do not count: they are
 * many after a day without it, and fewer than any write that was acknowledged (Sweep.takeLeftovers).
 */
import {
  decodeGarbageQuestion,
  encodeGarbageQuestion,
  GARBAGE_QUESTION_KEY,
} from "#keeper/garbage-question.ts";
import {
  decodeGarbageState,
  encodeGarbageState,
  GARBAGE_KEY,
  type GarbageState,
} from "#keeper/garbage-state.ts";
import { disarmedBecause } from "#keeper/identity.ts";
import type { IndexHistory } from "#keeper/index-history.ts";
import type { Job, JobContext, StepOutcome } from "#keeper/job.ts";
import { MISSED, missedDisk, missedPut } from "#keeper/missed.ts";
import { Pace } from "#keeper/pace.ts";
import { IndexWentBack } from "#keeper/removal-terms.ts";
import { PLAIN_REMOVALS, type Removals } from "#keeper/removals.ts";
import { type ShardsByDisk, Sweep, type SweepVerdict } from "#keeper/sweep.ts";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { Entry, MetadataStore } from "#metadata/metadata-store.ts";
import { listSessions, type SessionState } from "#metadata/sessions.ts";
import type { WriteName } from "#objects/references.ts";
import type { StorageClasses } from "#objects/storage-classes.ts";
import type { CurrentMap } from "#placement/current-map.ts";
import { DIRTY_MARK, dirtyKey } from "#placement/placement-record.ts";
import type { ShardStore } from "#shards/shard-store.ts";

/** A session that is never seen alive is swept a day later; few live shorter than this. */
const EVERY_MS = 60_000;
const SWEEP_AGAIN_MS = 24 * 60 * 60_000;
const SWEEP_FULL_AGAIN_MS = 7 * SWEEP_AGAIN_MS;
/** Questions a second: a twentieth of what one process can ask. */
const QUESTIONS_PER_SECOND = 2000;
/** A sweep may always take so many: what a few crashes leave in a small store is more than a hundredth of it. */
const DOOMED_ALWAYS = 64;
/** And never more than this without being told to. */
export const DOOMED_MAX = 10_000;
const DOOMED_SHARE = 0.01;
/** Names shown with a question. */
const EXAMPLES_MAX = 10;
/** Shards of one request. */
const REMOVE_BATCH = 100;
const MARKS_A_COMMIT = 50;

export interface GarbageParts {
  readonly metadata: MetadataStore;
  readonly stores: ReadonlyMap<string, ShardStore>;
  readonly map: CurrentMap;
  readonly clusterId: string;
  readonly classes: StorageClasses;
  readonly references: { isReferenced(write: WriteName, signal: AbortSignal): Promise<boolean> };
  readonly clock: Clock;
  readonly log: Logger;
  /** undefined: the disks are of this machine. */
  readonly removals?: Removals | undefined;
  /** undefined: the index is on this machine, and nobody puts another in its place while it runs. */
  readonly history?: Pick<IndexHistory, "look"> | undefined;
}

interface Round {
  readonly sweep: Sweep;
  readonly isFull: boolean;
  readonly isFirst: boolean;
  readonly seen: readonly SessionState[];
  readonly state: Entry | undefined;
  /** Confirmed, or there is none. */
  readonly question: Entry | undefined;
  /** Marks that were there before, of disks that are back. */
  readonly missed: readonly Entry[];
  /** Disks of which not all could be removed so far. */
  readonly away: Set<string>;
}

export class GarbageJob implements Job {
  readonly name = "garbage";
  readonly everyMs = EVERY_MS;
  readonly #parts: GarbageParts;
  readonly #pace: Pace;
  readonly #removals: Removals;
  #round: Round | undefined;
  #hasSwept = false;
  #isFullWanted = false;

  constructor(parts: GarbageParts) {
    this.#parts = parts;
    this.#removals = parts.removals ?? PLAIN_REMOVALS;
    this.#pace = new Pace(parts.clock, QUESTIONS_PER_SECOND);
  }

  /** The next round asks about every shard. */
  sweepFully(): void {
    this.#isFullWanted = true;
  }

  async step(context: JobContext): Promise<StepOutcome> {
    try {
      await this.#assertArmed(context.signal);
      this.#round ??= await this.#begin(context);
      if (!this.#round) return "done";
      const { sweep } = this.#round;
      const outcome = await sweep.step(context);
      await this.#removeLeftovers(sweep.takeLeftovers(), this.#round, context);
      if (outcome === "more") return "more";
      await this.#finish(this.#round, context);
    } catch (error) {
      // A broken sweep is worth nothing: partial is not the same as unreferenced.
      this.#round = undefined;
      throw error;
    }
    this.#round = undefined;
    return "done";
  }

  /** undefined: nothing has happened that would leave garbage. */
  async #begin({ signal, fence }: JobContext): Promise<Round | undefined> {
    const { metadata, clock, stores, map } = this.#parts;
    // Also when there is nothing to sweep: disks that know of late terms show that the index lost what came after early ones.
    await this.#removals.begin(stores, { signal, fence });
    const [entry, question] = await metadata.getMany([GARBAGE_KEY, GARBAGE_QUESTION_KEY], signal);
    if (question) {
      const { isConfirmed, text } = decodeGarbageQuestion(question.value);
      if (!isConfirmed) throw new Error(text);
    }
    const state = entry ? decodeGarbageState(entry.value) : EMPTY;
    const marks = await metadata.range({ ...MISSED, limit: 1000 }, signal);
    const missed = marks.entries.filter(({ key }) => stores.has(missedDisk(key)));
    const seen = await listSessions(metadata, signal);
    const alive = new Set(seen.map(({ id }) => id));
    const now = clock.now();
    const isFull =
      this.#isFullWanted ||
      question !== undefined ||
      missed.length > 0 ||
      now - state.sweptFullMs >= SWEEP_FULL_AGAIN_MS;
    const hasEnded = state.seen.some(({ id }) => !alive.has(id));
    const isDue = isFull || hasEnded || !this.#hasSwept || now - state.sweptMs >= SWEEP_AGAIN_MS;
    if (!isDue) {
      const value = encodeGarbageState({ ...state, seen });
      if (entry && value.equals(entry.value)) return undefined;
      const put = [{ key: GARBAGE_KEY, value }];
      const expect = [{ key: GARBAGE_KEY, revision: entry?.revision ?? 0 }, ...fence];
      await metadata.commit({ expect, put, remove: [] }, signal);
      return undefined;
    }
    // By an old map every write would seem to lack shards, and to have some where none belong.
    await map.refresh(signal);
    const sweep = new Sweep({ ...this.#parts, pace: this.#pace }, { state, isFull });
    return {
      sweep,
      isFull,
      isFirst: !entry,
      seen,
      state: entry,
      question,
      missed,
      away: new Set(),
    };
  }

  async #finish(round: Round, context: JobContext): Promise<void> {
    const { metadata, log, clock } = this.#parts;
    const verdict = round.sweep.verdict();
    const objection = objectionTo(verdict, round);
    await this.#markDirty(verdict, context);
    if (objection !== undefined) {
      await this.#ask(objection, { verdict, round, context });
      log.error({ doomed: verdict.doomed.length, writes: verdict.writes }, objection);
      throw new Error(objection);
    }
    const away = await this.#remove(verdict, round, context);
    this.#isFullWanted = false;
    this.#hasSwept = true;
    const now = clock.now();
    const before = round.state && decodeGarbageState(round.state.value);
    const state: GarbageState = {
      sweptMs: now,
      sweptFullMs: round.isFull ? now : (before?.sweptFullMs ?? now),
      settled: verdict.settled,
      seen: round.seen,
    };
    const cleared = round.missed.filter(({ key }) => !away.has(missedDisk(key)));
    const stillMissed = [...away].filter((diskId) => {
      return !cleared.some(({ key }) => missedDisk(key) === diskId);
    });
    await metadata.commit(
      {
        expect: [
          { key: GARBAGE_KEY, revision: round.state?.revision ?? 0 },
          { key: GARBAGE_QUESTION_KEY, revision: round.question?.revision ?? 0 },
          ...(round.isFull ? cleared.map(({ key, revision }) => ({ key, revision })) : []),
          ...context.fence,
        ],
        put: [
          { key: GARBAGE_KEY, value: encodeGarbageState(state) },
          ...stillMissed.map(missedPut),
        ],
        remove: [
          ...(round.isFull ? cleared.map(({ key }) => key) : []),
          ...(round.question ? [GARBAGE_QUESTION_KEY] : []),
        ],
      },
      context.signal,
    );
  }

  /** Another process may have the lease by the time that the operator answers: the question is in the index. */
  async #ask(
    text: string,
    { verdict, round, context }: { verdict: SweepVerdict; round: Round; context: JobContext },
  ): Promise<void> {
    const { metadata, clock } = this.#parts;
    const { doomed, byDisk, writes } = verdict;
    const key = GARBAGE_QUESTION_KEY;
    const value = encodeGarbageQuestion({
      text,
      askedMs: clock.now(),
      doomed: doomed.length,
      shards: [...byDisk.values()].reduce((sum, ids) => sum + ids.length, 0),
      writes,
      examples: doomed.slice(0, EXAMPLES_MAX).map((write) => `${write.bucketId}/${write.key}`),
      isConfirmed: false,
    });
    const expect = [{ key, revision: round.question?.revision ?? 0 }, ...context.fence];
    await metadata.commit({ expect, put: [{ key, value }], remove: [] }, context.signal);
  }

  async #markDirty({ dirty }: SweepVerdict, { signal, fence }: JobContext): Promise<void> {
    for (let start = 0; start < dirty.length; start += MARKS_A_COMMIT) {
      const put = dirty
        .slice(start, start + MARKS_A_COMMIT)
        .map((mark) => ({ key: dirtyKey(mark), value: DIRTY_MARK }));
      await this.#parts.metadata.commit({ expect: fence, put, remove: [] }, signal);
    }
  }

  async #whyDisarmed(signal: AbortSignal): Promise<string | undefined> {
    const { metadata, clusterId, history } = this.#parts;
    await history?.look(signal);
    return disarmedBecause(metadata, clusterId, signal);
  }

  async #assertArmed(signal: AbortSignal): Promise<void> {
    const reason = await this.#whyDisarmed(signal);
    if (reason !== undefined) throw new Error(`Cannot collect garbage: ${reason}`);
  }

  /** Answers the disks whose shards could not all be seen or removed. */
  async #remove(
    verdict: SweepVerdict,
    round: Round,
    context: JobContext,
  ): Promise<ReadonlySet<string>> {
    const { stores, map, log } = this.#parts;
    await this.#removeShards(verdict.byDisk, round, context);
    if (verdict.doomed.length > 0) {
      log.info({ writes: verdict.doomed.length, of: verdict.writes }, "garbage removed");
    }
    const absent = map.map.disks.filter(({ id, state }) => state !== "gone" && !stores.has(id));
    return new Set([...round.away, ...verdict.unlisted, ...absent.map(({ id }) => id)]);
  }

  async #removeLeftovers(byDisk: ShardsByDisk, round: Round, context: JobContext): Promise<void> {
    if (byDisk.size === 0) return;
    await this.#removeShards(byDisk, round, context);
    const shards = [...byDisk.values()].reduce((sum, ids) => sum + ids.length, 0);
    this.#parts.log.info({ shards, disks: byDisk.size }, "leftovers of missed removals removed");
  }

  async #removeShards(
    byDisk: ShardsByDisk,
    { away }: Round,
    { signal, progress }: JobContext,
  ): Promise<void> {
    const { stores } = this.#parts;
    const mayStill = async () => (await this.#whyDisarmed(signal)) === undefined;
    for (const [diskId, ids] of byDisk) {
      for (let start = 0; start < ids.length; start += REMOVE_BATCH) {
        const batch = ids.slice(start, start + REMOVE_BATCH);
        const store = stores.get(diskId);
        if (!store) {
          away.add(diskId);
          break;
        }
        let isArmed = true;
        try {
          isArmed = await this.#removals.remove({ store, ids: batch, mayStill, signal });
          if (isArmed) progress.did({ items: batch.length });
        } catch (error) {
          signal.throwIfAborted();
          if (error instanceof IndexWentBack) throw error;
          away.add(diskId);
          progress.failed(`disk ${diskId}`, error);
        }
        if (!isArmed) await this.#assertArmed(signal);
      }
    }
  }
}

const EMPTY: GarbageState = { sweptMs: 0, sweptFullMs: 0, settled: new Set(), seen: [] };

function objectionTo(verdict: SweepVerdict, { isFirst, question }: Round): string | undefined {
  const { doomed, writes, asked } = verdict;
  const confirmed = question && decodeGarbageQuestion(question.value).doomed;
  if (confirmed !== undefined && doomed.length <= confirmed + DOOMED_ALWAYS) return undefined;
  const found = `${doomed.length} of ${writes} writes are named by nothing`;
  if (isFirst && doomed.length > asked / 2) {
    return `Garbage collection asks: this index was never swept and ${found}; is it the right one?`;
  }
  if (doomed.length > Math.min(DOOMED_MAX, Math.max(DOOMED_ALWAYS, writes * DOOMED_SHARE))) {
    return `Garbage collection asks: ${found}, more than one sweep may take`;
  }
  return undefined;
}
