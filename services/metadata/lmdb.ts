/**
 * Metadata of one machine, in LMDB; several processes may open one folder at once.
 *
 * Reads run on the caller's thread, straight from the memory map, each on LMDB's newest transaction at the time of
 * the call. Commits that arrive together go to the writer thread as one group, one transaction and one flush; a group
 * is sent when the one before it is answered, or at the end of the event loop's turn when none is under way.
 * README.md argues why what a reader sees is durable, in every process.
 */
import { randomBytes } from "node:crypto";
import { getLastVersion } from "lmdb";
import {
  GROUP_BYTES_MAX,
  GROUP_COMMITS_MAX,
  packedBytes,
  packGroup,
} from "#metadata/commit-group.ts";
import { checkCommit } from "#metadata/commit-rules.ts";
import { makeFolder } from "#metadata/index-files.ts";
import { type Environment, lastGroup, openEnvironment } from "#metadata/lmdb-environment.ts";
import type { Conflict, DoneReply } from "#metadata/lmdb-messages.ts";
import {
  type Commit,
  type CommitOutcome,
  type Entry,
  IndeterminateCommit,
  KEY_BYTES_MAX,
  MetadataFull,
  type MetadataStore,
  type RangePage,
  type RangeRequest,
  type Session,
  type WatchEvent,
} from "#metadata/metadata-store.ts";
import { endAllSessions, endSession, openSession } from "#metadata/sessions.ts";
import { WatchHub } from "#metadata/watch-hub.ts";
import { WriterFault, WriterThread } from "#metadata/writer-thread.ts";

export interface LmdbMetadataOptions {
  /** Where data.mdb and lock.mdb are; made when missing. */
  readonly folder: string;
  /** Free space below which only pure deletes are taken. */
  readonly reserveBytes?: number;
}

/** Deletes need pages before they free any, and the log of another folder may be beside the index. */
const RESERVE_BYTES = 64 * 1024 * 1024;
/** How soon watchers hear that another process has changed something. */
const FOREIGN_CHECK_MS = 500;

interface Pending {
  readonly commit: Commit;
  readonly bytes: number;
  readonly resolve: (outcome: CommitOutcome) => void;
  readonly reject: (error: Error) => void;
}

export class LmdbMetadata implements MetadataStore {
  readonly #environment: Environment;
  readonly #writer: WriterThread;
  readonly #watchers = new WatchHub();
  #queue: Pending[] = [];
  /** The group that the writer has, empty when it is idle. */
  #sent: readonly Pending[] = [];
  #isSendPlanned = false;
  #isClosing = false;
  #idle: (() => void) | undefined;
  /** The newest group that watchers have heard of. */
  #watchedGroup = 0;
  #hasForeignChanges = false;
  /** Whether the snapshot was taken in this turn of the event loop's callbacks. */
  #isFresh = false;
  #foreignTimer: NodeJS.Timeout | undefined;

  /** An index without copies. With them: openIndex of index-log.ts. */
  static async open(options: LmdbMetadataOptions): Promise<LmdbMetadata> {
    const { folder, reserveBytes = RESERVE_BYTES } = options;
    makeFolder(folder);
    const environment = openEnvironment(folder, () => randomBytes(16).toString("hex"));
    try {
      const started = { folder, reserveBytes, layout: undefined };
      return new LmdbMetadata(environment, await WriterThread.start(started, () => undefined));
    } catch (error) {
      await environment.database.close();
      throw error;
    }
  }

  constructor(environment: Environment, writer: WriterThread) {
    this.#environment = environment;
    this.#writer = writer;
  }

  /** Why no commit is taken any more; the process must be restarted then. */
  get fault(): Error | undefined {
    return this.#writer.fault;
  }

  async get(key: Uint8Array, signal?: AbortSignal): Promise<Entry | undefined> {
    this.#renewSnapshot(signal);
    return this.#read(key);
  }

  async getMany(
    keys: readonly Uint8Array[],
    signal?: AbortSignal,
  ): Promise<readonly (Entry | undefined)[]> {
    this.#renewSnapshot(signal);
    const entries: (Entry | undefined)[] = [];
    for (const key of keys) entries.push(this.#read(key));
    return entries;
  }

  async range(request: RangeRequest, signal?: AbortSignal): Promise<RangePage> {
    this.#renewSnapshot(signal);
    const { from, to, limit, reverse } = request;
    const entries: Entry[] = [];
    if (Buffer.compare(from, to) >= 0) return { entries, more: false };
    const rows = this.#environment.database.getRange(
      reverse ? rangeDown(from, to, limit + 1) : rangeUp(from, to, limit + 1),
    ) as Iterable<{ key: Buffer; value: Buffer; version: number }>;
    for (const { key, value, version } of rows) entries.push({ key, value, revision: version });
    if (entries.length <= limit) return { entries, more: false };
    entries.pop();
    return { entries, more: true };
  }

  async commit(commit: Commit, signal?: AbortSignal): Promise<CommitOutcome> {
    this.#assertOpen(signal);
    checkCommit(commit);
    return new Promise((resolve, reject) => {
      this.#queue.push({ commit, bytes: packedBytes(commit), resolve, reject });
      if (this.#sent.length === 0 && !this.#isSendPlanned) {
        this.#isSendPlanned = true;
        setImmediate(this.#sendFirst);
      }
    });
  }

  watch(prefix: Uint8Array, signal: AbortSignal): AsyncIterable<WatchEvent> {
    this.#assertOpen(undefined);
    const events = this.#watchers.watch(prefix, signal);
    this.#startForeignChecks();
    return events;
  }

  session(signal?: AbortSignal): Promise<Session> {
    return openSession(this, signal);
  }

  /** For the supervising process, once it has reaped the worker whose session this was. */
  async endSession(id: string): Promise<void> {
    await endSession(this, id);
    // A killed process leaves its readers' slots behind, which keep the pages of their transactions from reuse.
    this.#environment.database.readerCheck();
  }

  /** Copies the index as of one revision to data.mdb in the folder, not yet durable, while commits go on. */
  async backup(folder: string): Promise<void> {
    this.#assertOpen(undefined);
    await this.#environment.database.backup(folder, false);
  }

  /** For the supervising process, on a new boot, before any worker is started. */
  endAllSessions(): Promise<void> {
    return endAllSessions(this);
  }

  /** Waits for the commits under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.#watchers.close();
    clearInterval(this.#foreignTimer);
    if (this.#sent.length > 0 || this.#queue.length > 0) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
    }
    await this.#writer.close();
    await this.#environment.database.close();
  }

  #read(key: Uint8Array): Entry | undefined {
    // The binding would refuse a longer key, which cannot have been put.
    if (key.length > KEY_BYTES_MAX) return undefined;
    const value = this.#environment.database.get(key);
    return value && { key, value, revision: getLastVersion() };
  }

  /**
   * The binding keeps a snapshot until the event loop's next turn, older than what other processes have acknowledged. One
   * that was taken since the callback at hand began will do: whatever somebody was told of since then, that it happened
   * before this read can be known to nobody before a later callback.
   */
  #renewSnapshot(signal: AbortSignal | undefined): void {
    this.#assertOpen(signal);
    if (this.#isFresh) return;
    this.#environment.database.resetReadTxn();
    this.#isFresh = true;
    queueMicrotask(this.#endTurnLater);
  }

  /** A tick that is asked for by a microtask comes once no microtask of the callback is left, before the next callback. */
  readonly #endTurnLater = (): void => process.nextTick(this.#endTurn);

  readonly #endTurn = (): void => {
    this.#isFresh = false;
  };

  #assertOpen(signal: AbortSignal | undefined): void {
    signal?.throwIfAborted();
    if (this.#isClosing) throw new Error("Cannot use the index: it is closed");
  }

  readonly #sendFirst = (): void => {
    this.#isSendPlanned = false;
    if (this.#sent.length === 0) void this.#sendAll();
  };

  /** One group after another until none waits. */
  async #sendAll(): Promise<void> {
    while (this.#queue.length > 0) {
      const { group, bytes, rest } = nextGroup(this.#queue);
      this.#sent = group;
      this.#queue = rest;
      const commits = group.map(({ commit }) => commit);
      try {
        this.#settle(group, await this.#writer.write(packGroup(commits, bytes)));
      } catch (error) {
        for (const { reject } of group) reject(asRejection(error));
      }
    }
    this.#sent = [];
    this.#idle?.();
  }

  #settle(group: readonly Pending[], reply: DoneReply): void {
    const failures = new Map<number, CommitOutcome | MetadataFull>();
    for (const { place, current } of reply.conflicts) {
      const expect = group[place]?.commit.expect ?? [];
      failures.set(place, { kind: "conflict", current: entriesOf(expect, current) });
    }
    for (const place of reply.full) {
      failures.set(place, new MetadataFull("Cannot commit: no room for new records"));
    }
    const first = reply.group * GROUP_COMMITS_MAX;
    const idle = new Set(reply.idle);
    this.#noteGroup(reply.group, failures.size + idle.size < group.length);
    for (const [place, { commit, resolve, reject }] of group.entries()) {
      const failure = failures.get(place);
      if (failure instanceof MetadataFull) {
        reject(failure);
      } else if (failure !== undefined) {
        resolve(failure);
      } else {
        // What changed nothing takes no revision: it gets the last one before its group.
        const revision = idle.has(place) ? first - 1 : first + place;
        resolve({ kind: "committed", revision });
        if (this.#watchers.isWatched) this.#watchers.publish(commit, revision);
      }
    }
  }

  /** Groups count up by one in all processes together: a gap is another process's. */
  #noteGroup(group: number, hasChanged: boolean): void {
    if (!hasChanged || !this.#watchers.isWatched) return;
    if (group !== this.#watchedGroup + 1) this.#hasForeignChanges = true;
    this.#watchedGroup = group;
  }

  #startForeignChecks(): void {
    if (this.#foreignTimer !== undefined || this.#isClosing) return;
    this.#renewSnapshot(undefined);
    this.#watchedGroup = lastGroup(this.#environment);
    this.#foreignTimer = setInterval(this.#checkForeign, FOREIGN_CHECK_MS);
    this.#foreignTimer.unref();
  }

  readonly #checkForeign = (): void => {
    if (!this.#watchers.isWatched) {
      clearInterval(this.#foreignTimer);
      this.#foreignTimer = undefined;
      return;
    }
    if (this.#sent.length === 0) {
      const group = lastGroup(this.#environment);
      if (group !== this.#watchedGroup) this.#hasForeignChanges = true;
      this.#watchedGroup = group;
    }
    if (this.#hasForeignChanges) this.#watchers.reset();
    this.#hasForeignChanges = false;
  };
}

/** What was not handed to the writer, or was refused by it, has certainly not been written. */
function asRejection(error: unknown): Error {
  if (error instanceof WriterFault && error.isIndeterminate) {
    return new IndeterminateCommit(error.message, { cause: error });
  }
  return error instanceof Error ? error : new Error(String(error));
}

/** As many as fit a group, in order of arrival. */
function nextGroup(queue: Pending[]): { group: Pending[]; bytes: number; rest: Pending[] } {
  let bytes = 0;
  let count = 0;
  for (const pending of queue) {
    if (count === GROUP_COMMITS_MAX || (count > 0 && bytes + pending.bytes > GROUP_BYTES_MAX))
      break;
    bytes += pending.bytes;
    count += 1;
  }
  if (count === queue.length) return { group: queue, bytes, rest: [] };
  return { group: queue.slice(0, count), bytes, rest: queue.slice(count) };
}

function rangeUp(from: Uint8Array, to: Uint8Array, limit: number) {
  return { start: from, end: to, limit, versions: true };
}

/** The binding walks down from `start` inclusive to `end` exclusive; ours holds its lower bound and not its upper. */
function rangeDown(from: Uint8Array, to: Uint8Array, limit: number) {
  return {
    start: to,
    exclusiveStart: true,
    end: from,
    inclusiveEnd: true,
    limit,
    reverse: true,
    versions: true,
  };
}

function entriesOf(
  expect: Commit["expect"],
  current: Conflict["current"],
): readonly (Entry | undefined)[] {
  return current.map((found, place) => {
    const key = expect[place]?.key;
    return found === undefined || key === undefined ? undefined : { key, ...found };
  });
}
