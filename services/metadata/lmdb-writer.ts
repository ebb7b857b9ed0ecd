/**
 * The thread through which one process writes to LMDB.
 *
 * A group of commits is one transaction: begun, evaluated, applied, flushed and ended here, without a step of the
 * main thread's event loop in between, so LMDB's writer lock, which all processes share, is held for the disk's
 * time only and not for what the main thread may be busy with. The commits of a group are evaluated one after
 * another against the transaction, each seeing those before it: that order is the order of their revisions.
 */
import { statfsSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { getLastVersion } from "lmdb";
import {
  applyChanges,
  type Changes,
  everyExpectation,
  GROUP_COMMITS_MAX,
  type PackedCommit,
  unpackGroup,
} from "#metadata/commit-group.ts";
import { type Environment, openEnvironment } from "#metadata/lmdb-environment.ts";
import type {
  Conflict,
  CurrentEntry,
  WriterOptions,
  WriterReply,
  WriterRequest,
} from "#metadata/lmdb-messages.ts";

/** How long an answer about free space is believed. */
const SPACE_CHECK_MS = 1000;
/** ENOSPC, EDQUOT, EFBIG and MDB_MAP_FULL, as the binding reports them. */
const FULL_CODES: ReadonlySet<unknown> = new Set([28, 122, 27, -30792]);

interface Applied {
  readonly group: number;
  readonly idle: number[];
  readonly conflicts: Conflict[];
  readonly full: number[];
}

class Writer {
  readonly #environment: Environment;
  readonly #options: WriterOptions;
  #spaceCheckedMs = Number.NEGATIVE_INFINITY;
  #hasRoom = true;
  #fault: string | undefined;

  constructor(options: WriterOptions) {
    this.#options = options;
    this.#environment = openEnvironment(options.folder, () => {
      throw new Error(`Cannot write the index: ${options.folder} holds none`);
    });
  }

  write(bytes: Uint8Array): WriterReply {
    if (this.#fault !== undefined) {
      return { kind: "failed", isIndeterminate: false, reason: this.#fault };
    }
    const commits = unpackGroup(bytes);
    try {
      return this.#transact(commits, this.#checkRoom());
    } catch (error) {
      if (!isFull(error)) return this.#fail(error);
    }
    try {
      return this.#transact(commits, false);
    } catch (error) {
      if (!isFull(error)) return this.#fail(error);
      const full = commits.map((_, place) => place);
      return { kind: "done", group: 0, idle: [], conflicts: [], full };
    }
  }

  async close(): Promise<void> {
    await this.#environment.database.close();
  }

  #transact(commits: readonly PackedCommit[], hasRoom: boolean): WriterReply {
    const { database } = this.#environment;
    const applied = database.transactionSync(() => this.#apply(commits, hasRoom));
    return { kind: "done", ...applied };
  }

  #apply(commits: readonly PackedCommit[], hasRoom: boolean): Applied {
    const { database, record } = this.#environment;
    const transaction = database.getWriteTxnId();
    if (transaction === 0) throw new Error("LMDB began no transaction");
    const group = record.base + transaction;
    const applied: Applied = { group, idle: [], conflicts: [], full: [] };
    let revision = group * GROUP_COMMITS_MAX;
    let hasChanged = false;
    const changes: Changes = {
      put: (key, value) => {
        hasChanged = true;
        void database.put(key, value, revision);
      },
      remove: (key) => {
        if (database.removeSync(key)) hasChanged = true;
      },
    };
    for (const [place, commit] of commits.entries()) {
      revision = group * GROUP_COMMITS_MAX + place;
      if (commit.puts > 0 && !hasRoom) {
        applied.full.push(place);
      } else if (!everyExpectation(commit, this.#holds)) {
        applied.conflicts.push({ place, current: this.#current(commit) });
      } else {
        hasChanged = false;
        applyChanges(commit, changes);
        if (!hasChanged) applied.idle.push(place);
      }
    }
    return applied;
  }

  readonly #holds = (key: Buffer, revision: number): boolean => {
    const isPresent = this.#environment.database.getBinaryFast(key) !== undefined;
    return (isPresent ? getLastVersion() : 0) === revision;
  };

  #current(commit: PackedCommit): (CurrentEntry | undefined)[] {
    const current: (CurrentEntry | undefined)[] = [];
    everyExpectation(commit, (key) => {
      const value = this.#environment.database.getBinary(key);
      current.push(value && { value, revision: getLastVersion() });
      return true;
    });
    return current;
  }

  /** False when the file system has little room left: then only pure deletes are taken, which need some themselves. */
  #checkRoom(): boolean {
    const nowMs = performance.now();
    if (nowMs - this.#spaceCheckedMs > SPACE_CHECK_MS) {
      this.#spaceCheckedMs = nowMs;
      const { bavail, bsize } = statfsSync(this.#options.folder);
      this.#hasRoom = bavail * bsize >= this.#options.reserveBytes;
    }
    return this.#hasRoom;
  }

  /** After a failed flush nobody can say what the disk holds, and trying again would only hide it (R5). */
  #fail(error: unknown): WriterReply {
    this.#fault = error instanceof Error ? error.message : String(error);
    return { kind: "failed", isIndeterminate: true, reason: this.#fault };
  }
}

function isFull(error: unknown): boolean {
  return error instanceof Error && "code" in error && FULL_CODES.has(error.code);
}

function serve(port: NonNullable<typeof parentPort>): void {
  const writer = new Writer(workerData as WriterOptions);
  const reply = (message: WriterReply) => port.postMessage(message);
  port.on("message", (request: WriterRequest) => {
    switch (request.kind) {
      case "group":
        reply(writer.write(request.bytes));
        break;
      case "close":
        void writer.close().then(() => {
          reply({ kind: "closed" });
          port.close();
        });
        break;
    }
  });
  reply({ kind: "ready" });
}

if (parentPort !== null) serve(parentPort);
