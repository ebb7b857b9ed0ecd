/** The shard index's bytes in LMDB, shared by the processes of a machine. */
import { open, type RootDatabase, type RootDatabaseOptionsWithPath } from "lmdb";
import type { IndexRow, IndexStore, IndexTransaction } from "#storage/index-store.ts";

export function openLmdbIndexStore(path: string): IndexStore {
  const options: RootDatabaseOptionsWithPath & { safeRestore: boolean } = {
    path,
    noSubdir: false,
    encoding: "binary",
    keyEncoding: "binary",
    cache: false,
    // Commits are visible at once and flushed behind; after a crash LMDB goes back to the last one
    // that was flushed whole, even when the machine itself did not restart.
    overlappingSync: true,
    safeRestore: true,
    maxReaders: 512,
  };
  return new LmdbIndexStore(open<Buffer, Buffer>(options));
}

class LmdbIndexStore implements IndexStore {
  readonly #database: RootDatabase<Buffer, Buffer>;
  readonly #transaction: IndexTransaction;

  constructor(database: RootDatabase<Buffer, Buffer>) {
    this.#database = database;
    this.#transaction = {
      get: (key) => lookUp(database, key),
      range: (from, to, limit) => rows(database, from, to, limit),
      put: (key, value) => {
        database.putSync(key, value);
      },
      remove: (key) => {
        database.removeSync(key);
      },
    };
  }

  get(key: Buffer): Buffer | undefined {
    // Without this a read could see what was true before another process's acknowledged write.
    this.#database.resetReadTxn();
    return lookUp(this.#database, key);
  }

  range(from: Buffer, to: Buffer, limit: number): readonly IndexRow[] {
    this.#database.resetReadTxn();
    return rows(this.#database, from, to, limit);
  }

  async transact<T>(work: (index: IndexTransaction) => T): Promise<T> {
    return this.#database.transaction(() => work(this.#transaction));
  }

  async flush(): Promise<void> {
    await this.#database.flushed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#database.close();
  }
}

/** LMDB answers its one large buffer, of which only the first `length` bytes are the value. */
function lookUp(database: RootDatabase<Buffer, Buffer>, key: Buffer): Buffer | undefined {
  const shared = database.getBinaryFast(key);
  return shared?.subarray(0, shared.length);
}

function rows(
  database: RootDatabase<Buffer, Buffer>,
  from: Buffer,
  to: Buffer,
  limit: number,
): IndexRow[] {
  const found: IndexRow[] = [];
  for (const { key, value } of database.getRange({ start: from, end: to, limit })) {
    found.push([key, value]);
  }
  return found;
}
