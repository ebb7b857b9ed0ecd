/**
 * How the index's LMDB is opened, and what stands in it.
 *
 *     00                 the environment's own record: format, index id, base of its group numbers
 *     01 key             a user's key; LMDB keeps the revision before the value (`useVersions`)
 *
 * Group numbers are LMDB's own transaction ids above a base: they grow by one with each transaction that changes
 * anything, in all processes alike, survive a crash with the transaction, and cost no page. The base moves only
 * when an index is rebuilt in a new environment, whose transaction ids start again.
 *
 * Options, and why:
 * - `overlappingSync: false`. A transaction is then flushed while its writer lock is held, and becomes visible, to
 *   any process, only after its flush: no reader can see what a power cut could take back. With overlapping flushes
 *   (the binding's default) commits are visible before they are durable, and each process only knows its own flushes:
 *   one that opens the environment takes the newest transaction for a flushed one (`me_synced_txn_id` in mdb.c),
 *   may reuse pages that the last flushed one still needs, and one that is killed within a flush makes the others'
 *   next commit fail. README.md says where in the source.
 * - `noMemInit` stays off: else old memory of this process, secrets with it, could reach the file.
 * - `mapSize` is address space, not memory or disk; the binding grows it when it must.
 */
import { type Database, open, type RootDatabase, type RootDatabaseOptions } from "lmdb";
import { dataFile } from "#metadata/index-layout.ts";
import { asBuffer } from "#metadata/keys.ts";
import { assertOpenable } from "#metadata/lmdb-file.ts";

export type EntryDatabase = RootDatabase<Buffer, Uint8Array>;

export interface Environment {
  readonly database: EntryDatabase;
  readonly record: EnvironmentRecord;
}

export interface EnvironmentRecord {
  readonly format: number;
  /** Random: tells the index from every other. */
  readonly indexId: string;
  /** Group number = base + LMDB's transaction id. */
  readonly base: number;
}

const FORMAT = 1;
const OWN_RECORD = 0;
const USER_KEY = 1;
/** 256 GiB of addresses: room for about 600 million objects, and within the smallest address space of 64-bit machines. */
const MAP_BYTES = 2 ** 38;
/** Two slots a process are enough; the rest is for those of killed processes until they are cleared. */
const READERS_MAX = 1000;

/** `indexId` is asked for when there is no index yet; it may throw. */
export function openEnvironment(folder: string, indexId: () => string): Environment {
  assertOpenable(folder, dataFile(folder));
  const options: RootDatabaseOptions & { keyEncoder: unknown; permissionsMode: number } = {
    noSubdir: false,
    encoding: "binary",
    encoder: { encode: asItIs, decode: copyOf },
    useVersions: true,
    compression: false,
    overlappingSync: false,
    noMemInit: false,
    mapSize: MAP_BYTES,
    maxReaders: READERS_MAX,
    maxDbs: 1,
    permissionsMode: 0o600,
    keyEncoder: { writeKey, readKey },
  };
  const database = open<Buffer, Uint8Array>(folder, options);
  try {
    const record = readRecord(database) ?? createRecord(database, indexId());
    return { database, record };
  } catch (error) {
    void database.close();
    throw error;
  }
}

/**
 * Within a transaction: makes it count as `group`, so that the next one is the group after it. A rebuilt index goes
 * on counting where the lost one stopped.
 */
export function continueFrom({ database, record }: Environment, group: number): Environment {
  const moved = { ...record, base: group - database.getWriteTxnId() };
  writeRecord(database, moved);
  return { database, record: moved };
}

/** The newest transaction's group number. */
export function lastGroup({ database, record }: Environment): number {
  return record.base + (database.getStats() as { lastTxnId: number }).lastTxnId;
}

function createRecord(database: EntryDatabase, indexId: string): EnvironmentRecord {
  const record = { format: FORMAT, indexId, base: 0 };
  return database.transactionSync(() => {
    // Another process may have been faster.
    const present = readRecord(database);
    if (present !== undefined) return present;
    writeRecord(database, record);
    return record;
  });
}

function writeRecord(database: EntryDatabase, record: EnvironmentRecord): void {
  void database.put(OWN_KEY, Buffer.from(JSON.stringify(record)), 0);
}

function readRecord(database: Database<Buffer, Uint8Array>): EnvironmentRecord | undefined {
  database.resetReadTxn();
  const bytes = database.get(OWN_KEY);
  if (bytes === undefined) return undefined;
  const record = JSON.parse(asBuffer(bytes).toString()) as EnvironmentRecord;
  if (record.format !== FORMAT) {
    throw new Error(
      `Cannot open index: its format is ${record.format}, the newest known here is ${FORMAT}`,
    );
  }
  return record;
}

/** Stands for the environment's own record, whose key no user key can be. */
const OWN_KEY = new Uint8Array(0);

function asItIs(value: Buffer): Buffer {
  return value;
}

/**
 * Called by the binding with its own buffer, whose `length` it has set to the value's, or with a view of the map. The
 * copy comes from Node's pool, where the binding's own would be a block of memory for each value.
 */
function copyOf(bytes: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafe(bytes.length);
  if (Buffer.isBuffer(bytes)) bytes.copy(copy, 0, 0, copy.length);
  else copy.set(bytes);
  return copy;
}

/** Called by the binding for each key it takes: the target is its own buffer. */
function writeKey(key: Uint8Array, target: Buffer, start: number): number {
  if (key === OWN_KEY) {
    target[start] = OWN_RECORD;
    return start + 1;
  }
  target[start] = USER_KEY;
  target.set(key, start + 1);
  return start + 1 + key.length;
}

function readKey(source: Buffer, start: number, end: number): Buffer {
  const key = Buffer.allocUnsafe(end - start - 1);
  source.copy(key, 0, start + 1, end);
  return key;
}
