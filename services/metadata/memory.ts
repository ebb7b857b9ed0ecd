/**
 * Metadata in memory, for tests and simulation. A commit is evaluated and applied in one step of the event loop, so
 * it is serial by construction; faults that a far or a full store shows can be asked for.
 */
import { type Random, systemRandom } from "#lib/random.ts";
import { checkCommit, isPureDelete } from "#metadata/commit-rules.ts";
import {
  type Commit,
  type CommitOutcome,
  type Entry,
  IndeterminateCommit,
  MetadataFull,
  type MetadataStore,
  type RangePage,
  type RangeRequest,
  type Session,
  type WatchEvent,
} from "#metadata/metadata-store.ts";
import { endAllSessions, endSession, openSession } from "#metadata/sessions.ts";
import { SortedEntries } from "#metadata/testing/sorted-entries.ts";
import { WatchHub } from "#metadata/watch-hub.ts";

/** What befalls a commit: no room; nothing learnt, though it was applied, or lost, or is still on its way. */
export type CommitFault = "full" | "unheard" | "lost" | "delayed";

export interface MemoryMetadataOptions {
  readonly random?: Random;
  /** Asked before each commit is evaluated; throws for a fault that leaves nothing written. */
  readonly fault?: (commit: Commit) => CommitFault | undefined;
}

export class MemoryMetadata implements MetadataStore {
  readonly #entries = new SortedEntries();
  readonly #watchers = new WatchHub();
  readonly #random: Random;
  readonly #delayed: Commit[] = [];
  /** Asked before each commit is evaluated; tests may set it. */
  fault: ((commit: Commit) => CommitFault | undefined) | undefined;
  #revision = 0;
  #isClosed = false;

  constructor(options: MemoryMetadataOptions = {}) {
    this.#random = options.random ?? systemRandom;
    this.fault = options.fault;
  }

  /** How many keys there are. */
  get size(): number {
    return this.#entries.size;
  }

  async get(key: Uint8Array, signal?: AbortSignal): Promise<Entry | undefined> {
    this.#assertUsable(signal);
    return this.#entries.get(key);
  }

  async getMany(
    keys: readonly Uint8Array[],
    signal?: AbortSignal,
  ): Promise<readonly (Entry | undefined)[]> {
    this.#assertUsable(signal);
    return keys.map((key) => this.#entries.get(key));
  }

  async range(request: RangeRequest, signal?: AbortSignal): Promise<RangePage> {
    this.#assertUsable(signal);
    const { from, to, limit, reverse } = request;
    const walk = reverse ? this.#entries.downwards(to) : this.#entries.upwards(from);
    const entries: Entry[] = [];
    for (const entry of walk) {
      if (reverse ? entry.key.compare(from) < 0 : entry.key.compare(to) >= 0) break;
      if (entries.length === limit) return { entries, more: true };
      entries.push(entry);
    }
    return { entries, more: false };
  }

  async commit(commit: Commit, signal?: AbortSignal): Promise<CommitOutcome> {
    this.#assertUsable(signal);
    checkCommit(commit);
    const fault = this.fault?.(commit);
    switch (fault) {
      case undefined:
        return this.#apply(commit);
      case "full":
        if (isPureDelete(commit)) return this.#apply(commit);
        throw new MetadataFull("Cannot commit: no room for new records");
      case "unheard":
        this.#apply(commit);
        break;
      case "delayed":
        this.#delayed.push(commit);
        break;
      case "lost":
        break;
    }
    throw new IndeterminateCommit("Cannot learn the commit's outcome");
  }

  /** Delivers the commits that were delayed, in order, each evaluated only now. */
  deliverDelayed(): readonly CommitOutcome[] {
    return this.#delayed.splice(0).map((commit) => this.#apply(commit));
  }

  watch(prefix: Uint8Array, signal: AbortSignal): AsyncIterable<WatchEvent> {
    return this.#watchers.watch(prefix, signal);
  }

  session(signal?: AbortSignal): Promise<Session> {
    return openSession(this, signal, this.#random);
  }

  /** What the supervising process does once it has reaped a worker. */
  endSession(id: string): Promise<void> {
    return endSession(this, id);
  }

  /** What a new boot does. */
  endAllSessions(): Promise<void> {
    return endAllSessions(this);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.#watchers.close();
  }

  #apply(commit: Commit): CommitOutcome {
    const { expect, put, remove } = commit;
    const holds = expect.every(
      ({ key, revision }) => (this.#entries.get(key)?.revision ?? 0) === revision,
    );
    if (!holds) {
      return { kind: "conflict", current: expect.map(({ key }) => this.#entries.get(key)) };
    }
    this.#revision += 1;
    const revision = this.#revision;
    // Copied: callers may reuse the memory of what they put once the commit is answered.
    for (const { key, value } of put) {
      this.#entries.set({ key: Buffer.from(key), value: Buffer.from(value), revision });
    }
    for (const key of remove) this.#entries.delete(key);
    this.#watchers.publish(commit, revision);
    return { kind: "committed", revision };
  }

  #assertUsable(signal: AbortSignal | undefined): void {
    signal?.throwIfAborted();
    if (this.#isClosed) throw new Error("Cannot use metadata: it is closed");
  }
}
