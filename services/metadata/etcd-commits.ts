/**
 * Commits on their way to etcd: in batches, each sent at most once. What became of a batch is known from etcd's answer
 * alone; without one, each commit in it is indeterminate.
 */
import type { Clock } from "#lib/clock.ts";
import { isPureDelete } from "#metadata/commit-rules.ts";
import { BATCH_COMMITS_MAX, type PendingCommit, takeBatch } from "#metadata/etcd-batch.ts";
import { TXN_PATH } from "#metadata/etcd-calls.ts";
import { EtcdFailure } from "#metadata/etcd-failure.ts";
import { Lane } from "#metadata/etcd-lane.ts";
import type { Members } from "#metadata/etcd-members.ts";
import { Answer, type TxnAnswer, type TxnEncoder } from "#metadata/etcd-wire.ts";
import {
  type Commit,
  type CommitOutcome,
  IndeterminateCommit,
  MetadataUnavailable,
} from "#metadata/metadata-store.ts";

export interface CommitParts {
  readonly members: Members;
  readonly encoder: TxnEncoder;
  readonly clock: Clock;
  /** Told of every revision that an answer shows. */
  readonly note: (revision: number) => void;
  /** Told when etcd has no space left. */
  readonly onFull: () => void;
}

/** Once it is sent nobody else is asked, so the wait is longer than an election. */
const LIMITS = { answerMs: 5_000, totalMs: 5_000, isRepeatable: false } as const;

export class CommitLanes {
  readonly #parts: CommitParts;
  readonly #puts: Lane<PendingCommit>;
  /** By themselves: a full etcd refuses a whole request for one put in it (R20). */
  readonly #removals: Lane<PendingCommit>;

  constructor(parts: CommitParts) {
    this.#parts = parts;
    const options = {
      clock: parts.clock,
      take: takeBatch,
      fullBatch: BATCH_COMMITS_MAX,
      send: (batch: readonly PendingCommit[]) => this.#send(batch),
    };
    this.#puts = new Lane(options);
    this.#removals = new Lane(options);
  }

  commit(commit: Commit, lease = 0): Promise<CommitOutcome> {
    const { promise, resolve, reject } = Promise.withResolvers<CommitOutcome>();
    const bytes = this.#parts.encoder.size({ commit, lease });
    const since = this.#parts.clock.monotonic();
    const lane = isPureDelete(commit) ? this.#removals : this.#puts;
    lane.push({ commit, lease, bytes, since, resolve, reject });
    return promise;
  }

  async drain(): Promise<void> {
    await Promise.all([this.#puts.drain(), this.#removals.drain()]);
  }

  async #send(batch: readonly PendingCommit[]): Promise<void> {
    const { members, encoder } = this.#parts;
    const request = encoder.batch(
      batch,
      batch.map(({ bytes }) => bytes),
    );
    try {
      const reply = await members.askRaw({
        ...LIMITS,
        path: TXN_PATH,
        request,
      });
      this.#settle(batch, new Answer(reply));
    } catch (error) {
      if (isRefusal(error) && batch.length > 1) {
        // Nothing of it was written, for the fault of one: a lease that has ended, a key that this user may not write.
        await Promise.all(batch.map((item) => this.#send([item])));
        return;
      }
      const rejection = this.#rejection(error);
      for (const { reject } of batch) reject(rejection);
    }
  }

  #settle(batch: readonly PendingCommit[], answer: Answer): void {
    const { top } = answer;
    this.#parts.note(top.revision);
    if (batch.length > 1 && top.responses.length !== batch.length) {
      throw new Error("etcd answered for another number of commits");
    }
    for (const [place, item] of batch.entries()) {
      const response = top.responses[place];
      const own = batch.length === 1 || response === undefined ? top : answer.nested(response);
      item.resolve(
        own.succeeded
          ? { kind: "committed", revision: top.revision }
          : { kind: "conflict", current: currentOf(item.commit, own, answer) },
      );
    }
  }

  #rejection(error: unknown): Error {
    const found = error instanceof Error ? error.message : String(error);
    if (error instanceof EtcdFailure) {
      if (error.kind === "unsent") {
        return new MetadataUnavailable(`Cannot commit: ${found}`, { cause: error });
      }
      if (isRefusal(error)) return new Error(`Cannot commit: ${found}`, { cause: error });
      if (error.kind === "full") this.#parts.onFull();
    }
    return new IndeterminateCommit(`Cannot learn the commit's outcome: ${found}`, {
      cause: error,
    });
  }
}

/** etcd reads all that was expected when any of it does not hold. */
function currentOf({ expect }: Commit, { responses }: TxnAnswer, answer: Answer) {
  return expect.map(({ key }, place) => {
    const response = responses[place];
    if (response === undefined) throw new Error("etcd left out what it found");
    return answer.entry(response, key);
  });
}

function isRefusal(error: unknown): boolean {
  return error instanceof EtcdFailure && (error.kind === "refused" || error.kind === "compacted");
}
