/**
 * The thread through which one process writes to LMDB.
 *
 * A group of commits is one transaction: begun, evaluated, applied, logged, flushed and ended here, without a step of
 * the main thread's event loop in between, so LMDB's writer lock, which all processes share, is held for the disk's
 * time only and not for what the main thread may be busy with. The commits of a group are evaluated one after
 * another against the transaction, each seeing those before it: that order is the order of their revisions.
 */
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
import { freeBytes, isOutOfRoom } from "#metadata/index-files.ts";
import { IndexJournal } from "#metadata/index-journal.ts";
import { type Environment, openEnvironment } from "#metadata/lmdb-environment.ts";
import type {
  Conflict,
  CurrentEntry,
  WriterNotice,
  WriterOptions,
  WriterReply,
  WriterRequest,
} from "#metadata/lmdb-messages.ts";
import type { LoggedCommit } from "#metadata/log-entry.ts";

/** How long an answer about free space is believed. */
const SPACE_CHECK_MS = 1000;
/** ENOSPC, EDQUOT, EFBIG and MDB_MAP_FULL, as the binding reports them. */
const FULL_CODES: ReadonlySet<unknown> = new Set([28, 122, 27, -30792]);
/** LMDB calls it EIO when a write ends early, which is what the last write to a full disk does. */
const EIO = 5;
/** More than a group's pages: a write that fails with this much free did not fail for want of room. */
const NO_ROOM_BYTES = 16 * 1024 * 1024;

interface Applied {
  readonly group: number;
  readonly idle: number[];
  readonly conflicts: Conflict[];
  readonly full: number[];
}

class Writer {
  readonly #environment: Environment;
  readonly #options: WriterOptions;
  readonly #journal: IndexJournal | undefined;
  #spaceCheckedMs = Number.NEGATIVE_INFINITY;
  #hasRoom = true;
  #fault: string | undefined;

  constructor(options: WriterOptions, notify: (notice: WriterNotice) => void) {
    const { folder, layout } = options;
    this.#options = options;
    this.#environment = openEnvironment(folder, () => {
      throw new Error(`Cannot write the index: ${folder} holds none`);
    });
    this.#journal =
      layout && new IndexJournal(layout, (copy) => notify({ kind: "dropped", ...copy }));
  }

  async answer(request: WriterRequest): Promise<WriterReply> {
    if (request.kind === "close") {
      this.#journal?.close();
      await this.#environment.database.close();
      return { kind: "closed" };
    }
    if (this.#fault !== undefined) {
      return { kind: "failed", isIndeterminate: false, reason: this.#fault };
    }
    try {
      switch (request.kind) {
        case "group":
          return await this.#write(unpackGroup(request.bytes));
        case "rotate":
          return { kind: "rotated", log: this.#rotate(request.joining) };
        case "complete":
          return { kind: "completed", isMember: this.#complete(request.folder) };
      }
    } catch (error) {
      // After a failed flush nobody can say what the disk holds, and trying again would only hide it (R5).
      this.#fault = error instanceof Error ? error.message : String(error);
      return { kind: "failed", isIndeterminate: true, reason: this.#fault };
    }
  }

  async #write(commits: readonly PackedCommit[]): Promise<WriterReply> {
    const hasRoom = this.#checkRoom();
    for (const takesPuts of hasRoom ? [true, false] : [false]) {
      try {
        const applied = await this.#transact(commits, takesPuts);
        return { kind: "done", ...applied };
      } catch (error) {
        if (!this.#isFull(error)) throw error;
        this.#cancel();
      }
    }
    const full = commits.map((_, place) => place);
    return { kind: "done", group: 0, idle: [], conflicts: [], full };
  }

  #transact(commits: readonly PackedCommit[], takesPuts: boolean): Applied | Promise<Applied> {
    return this.#environment.database.transactionSync(() => {
      const applied: Applied = { group: this.#group(), idle: [], conflicts: [], full: [] };
      const logged = this.#apply(commits, applied, takesPuts);
      if (this.#journal === undefined || logged.length === 0) return applied;
      return this.#journal
        .append(applied.group, logged, { isUrgent: !takesPuts })
        .then(() => applied);
    });
  }

  /** Answers the commits that changed something. */
  #apply(
    commits: readonly PackedCommit[],
    applied: Applied,
    takesPuts: boolean,
  ): readonly LoggedCommit[] {
    const { database } = this.#environment;
    const logged: LoggedCommit[] = [];
    let revision = 0;
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
      if (commit.puts > 0 && !takesPuts && !commit.isEssential) {
        applied.full.push(place);
      } else if (!everyExpectation(commit, this.#holds)) {
        applied.conflicts.push({ place, current: this.#current(commit) });
      } else {
        revision = applied.group * GROUP_COMMITS_MAX + place;
        hasChanged = false;
        applyChanges(commit, changes);
        if (hasChanged) logged.push({ place, commit });
        else applied.idle.push(place);
      }
    }
    return logged;
  }

  readonly #holds = (key: Buffer, revision: number): boolean => {
    const isPresent = this.#environment.database.getBinaryFast(key) !== undefined;
    return (isPresent ? getLastVersion() : 0) === revision;
  };

  #current(commit: PackedCommit): (CurrentEntry | undefined)[] {
    const current: (CurrentEntry | undefined)[] = [];
    everyExpectation(commit, (key) => {
      const value = this.#environment.database.get(key);
      current.push(value && { value, revision: getLastVersion() });
      return true;
    });
    return current;
  }

  /** The number that this transaction's group will have. */
  #group(): number {
    const { database, record } = this.#environment;
    const transaction = database.getWriteTxnId();
    if (transaction === 0) throw new Error("LMDB began no transaction");
    return record.base + transaction;
  }

  #rotate(joining: readonly string[]): number {
    return this.#underLock((journal) => journal.rotate(this.#group() - 1, joining));
  }

  #complete(folder: string): boolean {
    return this.#underLock((journal) => journal.complete(folder));
  }

  /** What was logged for a transaction that then failed must not come back at the next start. */
  #cancel(): void {
    if (this.#journal !== undefined) this.#underLock((journal) => journal.cancel(this.#group()));
  }

  /** A transaction that changes nothing in LMDB takes no number. */
  #underLock<Result>(step: (journal: IndexJournal) => Result): Result {
    const journal = this.#journal;
    if (journal === undefined) throw new Error("This index has no log");
    return this.#environment.database.transactionSync(() => step(journal));
  }

  /** False when a file system has little room left: then only pure deletes are taken, which need some themselves. */
  #checkRoom(): boolean {
    const nowMs = performance.now();
    if (nowMs - this.#spaceCheckedMs > SPACE_CHECK_MS) {
      this.#spaceCheckedMs = nowMs;
      this.#hasRoom = this.#freeBytes() >= this.#options.reserveBytes;
    }
    return this.#hasRoom;
  }

  /**
   * The transaction was aborted then, and nobody has seen it: LMDB writes its pages to places that nothing refers to.
   * Only a meta page that failed could have counted, and then LMDB begins no further transaction here.
   */
  #isFull(error: unknown): boolean {
    if (isOutOfRoom(error)) return true;
    if (!(error instanceof Error && "code" in error)) return false;
    if (error.code === EIO) return this.#freeBytes() < NO_ROOM_BYTES;
    return FULL_CODES.has(error.code);
  }

  #freeBytes(): number {
    return this.#journal?.freeBytes() ?? freeBytes(this.#options.folder);
  }
}

function serve(port: NonNullable<typeof parentPort>): void {
  const tell = (message: WriterReply | WriterNotice) => port.postMessage(message);
  const writer = new Writer(workerData as WriterOptions, tell);
  const serveOne = async (before: Promise<void>, request: WriterRequest): Promise<void> => {
    await before;
    tell(await writer.answer(request));
    if (request.kind === "close") port.close();
  };
  let last = Promise.resolve();
  port.on("message", (request: WriterRequest) => {
    last = serveOne(last, request);
  });
  tell({ kind: "ready" });
}

if (parentPort !== null) serve(parentPort);
