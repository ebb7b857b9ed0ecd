/**
 * The writer thread's side of the index log: every method runs while the thread holds LMDB's writer lock, so calls of
 * all processes come one after another, in the order of the groups.
 *
 * A group is appended to the logs of all copies and synced there before LMDB commits it. So whatever a reader can see
 * is in every copy that counts; and an entry whose group LMDB did not commit after all is the last of its log, and
 * the next one is written over it.
 */
import { randomBytes } from "node:crypto";
import { freeBytes, IndexFile, isOutOfRoom, syncFolder } from "#metadata/index-files.ts";
import {
  type CopyMember,
  cursorFile,
  type IndexLayout,
  logFile,
  type Membership,
  readMembership,
  writeMembership,
} from "#metadata/index-layout.ts";
import { type Cursor, CursorFile } from "#metadata/log-cursor.ts";
import {
  decodeHeader,
  ENTRY_HEAD_BYTES,
  encodeEntry,
  encodeHeader,
  HEADER_BYTES,
  type LoggedCommit,
  NONCE_BYTES,
} from "#metadata/log-entry.ts";

/** A copy that was given up while running: its folder failed. */
export interface DroppedCopy {
  readonly folder: string;
  readonly reason: string;
}

interface OpenLog {
  readonly folder: string;
  readonly file: IndexFile;
}

/** Folders that failed, and why. */
type Failures = Map<string, unknown>;

export class IndexJournal {
  readonly #layout: IndexLayout;
  readonly #onDropped: (copy: DroppedCopy) => void;
  readonly #cursor: CursorFile;
  #membership: Membership;
  #log = -1;
  #nonce: Buffer = Buffer.alloc(0);
  #logs: OpenLog[] = [];

  constructor(layout: IndexLayout, onDropped: (copy: DroppedCopy) => void) {
    this.#layout = layout;
    this.#onDropped = onDropped;
    this.#cursor = new CursorFile(cursorFile(layout.home.path));
    this.#membership = this.#readMembership();
  }

  /** Durable in every copy when it resolves. When a copy has no room it throws, or goes on without that copy if it must. */
  async append(
    group: number,
    commits: readonly LoggedCommit[],
    options: { readonly isUrgent: boolean },
  ): Promise<void> {
    const cursor = this.#follow();
    if (this.#logs.length === 0) return;
    const start = startOf(group, cursor);
    const entry = encodeEntry(group, commits, this.#nonce);
    // Before the entry is anywhere: what only some copies have room for is taken back, too.
    this.#cursor.write({ ...cursor, group, start, end: start + entry.length });
    const failures: Failures = new Map();
    for (const { folder, file } of this.#logs) {
      try {
        file.write(start, entry);
      } catch (error) {
        if (isOutOfRoom(error) && !options.isUrgent) throw error;
        failures.set(folder, error);
      }
    }
    await this.#sync(failures);
    if (failures.size > 0) this.#drop(failures);
  }

  /** Takes back the entry of a group that LMDB did not commit, unless another process has already written over it. */
  cancel(group: number): void {
    const cursor = this.#follow();
    if (cursor.group !== group || this.#logs.length === 0) return;
    const failures: Failures = new Map();
    for (const { folder, file } of this.#logs) {
      try {
        takeBack(file, cursor.start);
        file.sync();
      } catch (error) {
        failures.set(folder, error);
      }
    }
    this.#cursor.write({ ...cursor, group: group - 1, end: cursor.start });
    if (failures.size > 0) this.#drop(failures);
  }

  /**
   * Begins a new log in every copy and in the folders that join; `group` is the last one committed. Answers its
   * number: a copy of the index made from now on needs no earlier log.
   */
  rotate(group: number, joining: readonly string[]): number {
    const log = this.#follow().log + 1;
    const { indexId, copies } = this.#membership;
    const present = copies.map(({ folder }) => folder);
    const added = joining.filter((folder) => !present.includes(folder));
    const nonce = randomBytes(NONCE_BYTES);
    const header = encodeHeader({ log, after: group, indexId, nonce });
    const failures: Failures = new Map();
    for (const folder of [...present, ...added]) {
      try {
        createLog(this.#pathOf(folder), log, header);
      } catch (error) {
        failures.set(folder, error);
      }
    }
    if (added.length > 0) {
      const members = added.map((folder) => ({ folder, state: "joining" }) as const);
      this.#change((before) => [...before, ...members]);
    }
    if (failures.size > 0) this.#drop(failures);
    const { epoch } = this.#membership;
    this.#cursor.write({ epoch, log, group, start: HEADER_BYTES, end: HEADER_BYTES });
    return log;
  }

  /** The folder's copy of the index is durable: from now on it can replace the home. False when it no longer counts. */
  complete(folder: string): boolean {
    const cursor = this.#follow();
    const member = this.#membership.copies.find((copy) => copy.folder === folder);
    if (member?.state === "joining") {
      this.#change((copies) =>
        copies.map((copy) => (copy.folder === folder ? { folder, state: "complete" } : copy)),
      );
      this.#cursor.write({ ...cursor, epoch: this.#membership.epoch });
    }
    return this.#membership.copies.some((copy) => copy.folder === folder);
  }

  /** The least room on any folder that a commit writes to. */
  freeBytes(): number {
    const paths = this.#logs.map(({ folder }) => this.#pathOf(folder));
    return Math.min(...[this.#layout.home.path, ...paths].map(freeBytes));
  }

  close(): void {
    this.#keepLogs(() => false);
    this.#cursor.close();
  }

  /** Other processes begin logs and drop copies: what they changed is in the cursor. */
  #follow(): Cursor {
    const cursor = this.#cursor.read();
    if (cursor.epoch === this.#membership.epoch && cursor.log === this.#log) return cursor;
    this.#membership = this.#readMembership();
    this.#keepLogs(() => false);
    this.#log = cursor.log;
    const failures: Failures = new Map();
    for (const { folder } of this.#membership.copies) {
      try {
        this.#openLog(folder);
      } catch (error) {
        failures.set(folder, error);
      }
    }
    if (failures.size > 0) this.#drop(failures);
    return this.#cursor.read();
  }

  #openLog(folder: string): void {
    const file = new IndexFile(logFile(this.#pathOf(folder), this.#log), "r+");
    this.#logs.push({ folder, file });
    const bytes = Buffer.alloc(HEADER_BYTES);
    file.read(0, bytes);
    const header = decodeHeader(bytes);
    if (header?.log !== this.#log) throw new Error(`Cannot use index log ${file.path}: bad header`);
    this.#nonce = header.nonce;
  }

  async #sync(failures: Failures): Promise<void> {
    const written = this.#logs.filter(({ folder }) => !failures.has(folder));
    const [only] = written;
    if (only === undefined) return;
    if (written.length === 1) {
      try {
        only.file.sync();
      } catch (error) {
        failures.set(only.folder, error);
      }
      return;
    }
    await Promise.all(
      written.map(async ({ folder, file }) => {
        try {
          await file.syncAside();
        } catch (error) {
          failures.set(folder, error);
        }
      }),
    );
  }

  /**
   * Goes on without the copies that failed. That they no longer count is durable in the home and in every copy left
   * before the next group is committed, so that at no later start can they pass for the newest state.
   */
  #drop(failures: Failures): void {
    for (const [folder, error] of failures) this.#onDropped({ folder, reason: reasonOf(error) });
    this.#change((copies) => copies.filter(({ folder }) => !failures.has(folder)));
    this.#cursor.write({ ...this.#cursor.read(), epoch: this.#membership.epoch });
  }

  /**
   * Durable in the home and in all copies that it leaves; in the other folders as far as they can be written. Begins
   * with what the home holds: a process may have been killed between its change and the cursor that tells of it.
   */
  #change(edit: (copies: readonly CopyMember[]) => readonly CopyMember[]): void {
    const before = this.#readMembership();
    const membership = { ...before, epoch: before.epoch + 1, copies: edit(before.copies) };
    writeMembership(this.#layout.home, membership);
    const failures: Failures = new Map();
    for (const folder of this.#layout.folders) {
      if (folder.id === membership.home) continue;
      try {
        writeMembership(folder, membership);
      } catch (error) {
        if (membership.copies.some((copy) => copy.folder === folder.id)) {
          failures.set(folder.id, error);
        }
      }
    }
    this.#membership = membership;
    this.#keepLogs((id) => membership.copies.some(({ folder }) => folder === id));
    if (failures.size > 0) this.#drop(failures);
  }

  #keepLogs(isKept: (folder: string) => boolean): void {
    this.#logs = this.#logs.filter(({ folder, file }) => {
      if (!isKept(folder)) file.close();
      return isKept(folder);
    });
  }

  #readMembership(): Membership {
    const membership = readMembership(this.#layout.home.path);
    if (membership === undefined) {
      throw new Error(`Cannot write the index log: ${this.#layout.home.path} names no members`);
    }
    return membership;
  }

  #pathOf(id: string): string {
    const folder = this.#layout.folders.find((known) => known.id === id);
    if (folder === undefined) throw new Error(`Cannot write the index log: no folder ${id}`);
    return folder.path;
  }
}

/** Behind the last entry, or over it when its group was not committed: by a process that died, or met a full disk. */
function startOf(group: number, cursor: Cursor): number {
  if (cursor.group === group - 1) return cursor.end;
  if (cursor.group === group) return cursor.start;
  throw new Error(
    `Cannot append to the index log: it ends with group ${cursor.group}, and ${group} is to follow`,
  );
}

function takeBack(file: IndexFile, start: number): void {
  try {
    file.write(start, Buffer.alloc(ENTRY_HEAD_BYTES));
  } catch (error) {
    if (!isOutOfRoom(error)) throw error;
    file.truncate(start);
  }
}

export function createLog(path: string, log: number, header: Buffer): void {
  const file = new IndexFile(logFile(path, log), "w");
  try {
    file.write(0, header);
    file.sync();
  } finally {
    file.close();
  }
  syncFolder(path);
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
