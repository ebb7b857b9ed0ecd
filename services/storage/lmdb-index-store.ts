/**
 * The shard index's bytes in LMDB, shared by the processes of a machine, in two layers.
 *
 * Writing keys in random order to a tree that is flushed behind every commit costs a page for each.
 * So commits go to a small tree, the recent one, which is never flushed: it lives in the page cache, which
 * all processes share, and is thrown away when the last of them is gone. Its rows move to the main
 * tree some thousand at a time, in one transaction. After a crash the main tree is as it was at some such
 * move, whole, and the volumes are scanned from there.
 */
import { join } from "node:path";
import { open, type RootDatabase, type RootDatabaseOptionsWithPath, TransactionFlags } from "lmdb";
import type { Clock } from "#lib/clock.ts";
import type { DiskLock } from "#lib/disk.ts";
import type { IndexRow, IndexStore, IndexTransaction } from "#storage/index-store.ts";

type Tree = RootDatabase<Buffer, Buffer>;

/** Folders of the two trees, in the disk's root. */
export const MAIN_FOLDER = "index";
export const RECENT_FOLDER = "index-recent";

/** Rows written here before they are moved: enough to fill pages, few enough to move in some milliseconds. */
const MOVE_ROWS = 2048;
/** And they are moved after a while anyway, so that a crash leaves little to scan. */
const MOVE_MS = 5000;
/** A move takes some milliseconds. */
const MOVE_WAIT_MS = 5;
/** Rows forgotten in one transaction, while other processes wait for the recent tree. */
const FORGET_ROWS = 512;
const PAGE_ROWS = 1000;
/** The commit is visible to all processes when the call returns; nobody waits for a flush. */
const COMMIT_UNFLUSHED: TransactionFlags =
  TransactionFlags.SYNCHRONOUS_COMMIT | TransactionFlags.NO_SYNC_FLUSH;

const REMOVED = Buffer.of(0);
const PRESENT = 1;

export function openLmdbIndexStore(
  root: string,
  parts: {
    clock: Clock;
    /** Only one process at a time moves rows; undefined when another does. */
    lockMoves: () => Promise<DiskLock | undefined>;
    onFault: (error: unknown) => void;
  },
): IndexStore {
  const common = {
    encoding: "binary",
    keyEncoding: "binary",
    cache: false,
    noSubdir: false,
  } as const;
  const main: RootDatabaseOptionsWithPath & { safeRestore: boolean } = {
    ...common,
    path: join(root, MAIN_FOLDER),
    overlappingSync: true,
    // Back to the last commit that was flushed whole, even when the machine itself did not restart.
    safeRestore: true,
    maxReaders: 512,
  };
  const recent: RootDatabaseOptionsWithPath = {
    ...common,
    path: join(root, RECENT_FOLDER),
    noSync: true,
    overlappingSync: false,
    maxReaders: 512,
  };
  return new LmdbIndexStore(open<Buffer, Buffer>(main), open<Buffer, Buffer>(recent), parts);
}

type Parts = Parameters<typeof openLmdbIndexStore>[1];

class LmdbIndexStore implements IndexStore {
  readonly #main: Tree;
  readonly #recent: Tree;
  readonly #parts: Parts;
  readonly #transaction: IndexTransaction;
  #written = 0;
  #movedAt: number;
  #moving: Promise<void> | undefined;

  constructor(main: Tree, recent: Tree, parts: Parts) {
    this.#main = main;
    this.#recent = recent;
    this.#parts = parts;
    this.#movedAt = parts.clock.monotonic();
    this.#transaction = {
      get: (key) => this.#find(key),
      range: (from, to, limit) => this.#merge(from, to, limit),
      put: (key, value) => {
        const marked = Buffer.allocUnsafe(value.length + 1);
        marked[0] = PRESENT;
        value.copy(marked, 1);
        recent.putSync(key, marked);
        this.#written += 1;
      },
      remove: (key) => {
        // Also where the main tree has no such row: it may be moving there just now.
        recent.putSync(key, REMOVED);
        this.#written += 1;
      },
    };
  }

  get(key: Buffer): Buffer | undefined {
    // Without this a read could see what was true before another process's acknowledged write.
    this.#recent.resetReadTxn();
    return this.#find(key, true);
  }

  range(from: Buffer, to: Buffer, limit: number): readonly IndexRow[] {
    this.#recent.resetReadTxn();
    return this.#merge(from, to, limit);
  }

  async transact<T>(work: (index: IndexTransaction) => T): Promise<T> {
    const result = this.#recent.transactionSync(() => {
      this.#main.resetReadTxn();
      return work(this.#transaction);
    }, COMMIT_UNFLUSHED);
    const { clock, onFault } = this.#parts;
    const isDue = this.#written >= MOVE_ROWS || clock.monotonic() - this.#movedAt > MOVE_MS;
    if (isDue && this.#moving === undefined) this.#move().catch(onFault);
    return result;
  }

  async flush(): Promise<void> {
    await this.#moving;
    // Another process that is at it may have begun before what is to survive.
    while (!(await this.#move())) await this.#parts.clock.sleep(MOVE_WAIT_MS);
    await this.#main.flushed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#moving;
    await this.#recent.close();
    await this.#main.close();
  }

  /** The recent tree first: a row leaves it only after the main tree has it. */
  #find(key: Buffer, isFresh = false): Buffer | undefined {
    const recent = lookUp(this.#recent, key);
    if (recent !== undefined) return recent[0] === PRESENT ? recent.subarray(1) : undefined;
    if (isFresh) this.#main.resetReadTxn();
    return lookUp(this.#main, key);
  }

  #merge(from: Buffer, to: Buffer, limit: number): IndexRow[] {
    const found: IndexRow[] = [];
    const recent = new Cursor(this.#recent, from, to, limit);
    const main = new Cursor(this.#main, from, to, limit);
    let newer = recent.next();
    this.#main.resetReadTxn();
    let older = main.next();
    while (found.length < limit && (newer !== undefined || older !== undefined)) {
      const order = compareRows(newer, older);
      if (newer !== undefined && order <= 0) {
        const [key, marked] = newer;
        if (marked[0] === PRESENT) found.push([key, marked.subarray(1)]);
        if (order === 0) older = main.next();
        newer = recent.next();
      } else {
        if (older !== undefined) found.push(older);
        older = main.next();
      }
    }
    return found;
  }

  /** Moves what the recent tree holds now to the main tree; false when somebody else is moving rows. */
  async #move(): Promise<boolean> {
    const done = Promise.withResolvers<void>();
    this.#moving = done.promise;
    try {
      await using lock = await this.#parts.lockMoves();
      if (lock === undefined) return false;
      this.#written = 0;
      this.#movedAt = this.#parts.clock.monotonic();
      await this.#moveRows();
      return true;
    } finally {
      this.#moving = undefined;
      done.resolve();
    }
  }

  async #moveRows(): Promise<void> {
    this.#recent.resetReadTxn();
    // One snapshot, so that the main tree never says of a volume more, or less, than of its shards.
    const rows = [...this.#recent.getRange({})].map(({ key, value }) => ({ key, value }));
    if (rows.length === 0) return;
    await this.#main.transaction(() => {
      for (const { key, value } of rows) {
        if (value[0] === PRESENT) this.#main.putSync(key, value.subarray(1));
        else this.#main.removeSync(key);
      }
    });
    for (let start = 0; start < rows.length; start += FORGET_ROWS) {
      const part = rows.slice(start, start + FORGET_ROWS);
      this.#recent.transactionSync(() => {
        for (const { key, value } of part) {
          if (lookUp(this.#recent, key)?.equals(value) === true) this.#recent.removeSync(key);
        }
      }, COMMIT_UNFLUSHED);
      await Promise.resolve();
    }
  }
}

/** Rows of one tree in order, a page at a time. */
class Cursor {
  readonly #tree: Tree;
  readonly #to: Buffer;
  readonly #pageRows: number;
  #from: Buffer;
  #page: IndexRow[] = [];
  #at = 0;
  #isDone = false;

  constructor(tree: Tree, from: Buffer, to: Buffer, limit: number) {
    this.#tree = tree;
    this.#from = from;
    this.#to = to;
    this.#pageRows = Math.min(limit + 1, PAGE_ROWS);
  }

  next(): IndexRow | undefined {
    if (this.#at === this.#page.length && !this.#isDone) this.#load();
    return this.#page[this.#at++];
  }

  #load(): void {
    const range = { start: this.#from, end: this.#to, limit: this.#pageRows };
    this.#page = [];
    this.#at = 0;
    for (const { key, value } of this.#tree.getRange(range)) this.#page.push([key, value]);
    this.#isDone = this.#page.length < this.#pageRows;
    const last = this.#page.at(-1)?.[0];
    if (last !== undefined) this.#from = Buffer.concat([last, Buffer.of(0)]);
  }
}

function compareRows(newer: IndexRow | undefined, older: IndexRow | undefined): number {
  if (newer === undefined) return 1;
  if (older === undefined) return -1;
  return Buffer.compare(newer[0], older[0]);
}

/** LMDB answers its one large buffer, of which only the first `length` bytes are the value. */
function lookUp(tree: Tree, key: Buffer): Buffer | undefined {
  const shared = tree.getBinaryFast(key);
  return shared?.subarray(0, shared.length);
}
