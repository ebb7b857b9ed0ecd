/**
 * Opens the disk's shard index and brings it up to date before anybody is served (R28).
 *
 * One process at a time does this, under a lock. A volume that is not closed has a living writer,
 * which keeps the index up to date itself, or a dead one, whose lock is free: then it is recovered.
 */
import type { Clock } from "#lib/clock.ts";
import type { Disk, DiskLock } from "#lib/disk.ts";
import type { Logger } from "#lib/log.ts";
import type { DiskIdentity } from "#storage/disk-identity.ts";
import {
  ALL_PINS,
  decodeVolumeRow,
  META_KEY,
  ownerOfPin,
  VOLUME_RANGE,
  volumeKey,
  volumeOfKey,
} from "#storage/index-rows.ts";
import {
  type IndexRow,
  type IndexStore,
  type IndexView,
  MemoryIndexStore,
} from "#storage/index-store.ts";
import { MAIN_FOLDER, openLmdbIndexStore, RECENT_FOLDER } from "#storage/lmdb-index-store.ts";
import { NEW_VOLUME, type RecoveryReport, readOwner, recoverVolumes } from "#storage/recovery.ts";
import { findVolume, putVolume } from "#storage/shard-index.ts";
import { volumeIdOf } from "#storage/volume.ts";

const INDEX_VERSION = 1;
const LOCK_POLL_MS = 10;

export interface IndexParts {
  readonly disk: Disk;
  readonly identity: DiskIdentity;
  /** Names this process's own lock. */
  readonly owner: string;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What opening found; `damage` is worth a scrub and a repair. */
/** `alive` is held as long as this process may write volumes. */
export async function openIndex(
  parts: IndexParts,
  given?: IndexStore,
): Promise<{ index: IndexStore; report: RecoveryReport; alive: DiskLock }> {
  return alone(parts, async () => {
    const index = given ?? (await openUsableIndex(parts));
    try {
      const report = await recoverDead(parts, index);
      await index.transact((rows) => rows.put(META_KEY, metaOf(parts.identity)));
      // Taken only now: until then this process has written nothing that others must believe.
      const alive = await parts.disk.lock(ownerLockPath(parts.owner));
      if (alive === undefined) throw new Error(`Cannot lock ${ownerLockPath(parts.owner)}`);
      return { index, report, alive };
    } catch (error) {
      if (given === undefined) await index[Symbol.asyncDispose]();
      throw error;
    }
  });
}

/** Recovers the volumes of processes that are gone; those that live go on meanwhile. */
export async function recoverIndex(parts: IndexParts, index: IndexStore): Promise<RecoveryReport> {
  return alone(parts, () => recoverDead(parts, index));
}

function ownerLockPath(owner: string): string {
  return `locks/${owner}`;
}

async function recoverDead(
  { disk, identity, owner: self, log }: IndexParts,
  index: IndexStore,
): Promise<RecoveryReport> {
  // Rows first: a volume made meanwhile has its file before its row.
  const known = index.range(VOLUME_RANGE.from, VOLUME_RANGE.to, Number.MAX_SAFE_INTEGER);
  const present = (await disk.list("volumes")).map(volumeIdOf).filter((id) => id !== undefined);
  await dropAbsent(index, { known, present: new Set(present), log });
  const dead = new DeadOwners(disk);
  try {
    const left: number[] = [];
    for (const volume of present.toSorted((one, other) => one - other)) {
      const row = findVolume(index, volume);
      if (row?.isClosed === true) continue;
      const owner = row?.owner ?? (await readOwner({ disk, secret: identity.secret }, volume));
      // A volume without a first record may be just being made.
      const isAlive = owner === undefined ? await dead.isAnyAlive(self) : !(await dead.has(owner));
      if (isAlive) continue;
      left.push(volume);
      if (row !== undefined) continue;
      // All have their rows before any is read: a seal is judged by which of its volumes there are.
      await index.transact((rows) =>
        putVolume(rows, volume, { ...NEW_VOLUME, owner: owner ?? "" }),
      );
    }
    const report = await recoverVolumes({ disk, index, secret: identity.secret, log }, left);
    await dropPins(index, dead);
    return report;
  } finally {
    await dead.release();
  }
}

/** Rows of volumes that compaction took away just before a crash, or that are lost. */
async function dropAbsent(
  index: IndexStore,
  {
    known,
    present,
    log,
  }: { known: readonly IndexRow[]; present: ReadonlySet<number>; log: Logger },
): Promise<void> {
  for (const [key, value] of known) {
    const volume = volumeOfKey(key);
    if (present.has(volume)) continue;
    const { live } = decodeVolumeRow(value);
    if (live > 0) log.error({ volume, live }, "Volume is missing: its shards read as corrupt");
    await index.transact((changes) => changes.remove(volumeKey(volume)));
  }
}

/** Nobody is making a link any more for whom a dead process pinned a content. */
async function dropPins(index: IndexStore, dead: DeadOwners): Promise<void> {
  for (const [key] of index.range(ALL_PINS.from, ALL_PINS.to, Number.MAX_SAFE_INTEGER)) {
    if (await dead.has(ownerOfPin(key))) await index.transact((rows) => rows.remove(key));
  }
}

/** Takes the locks of owners that hold them no more; what is taken belongs to the dead. */
class DeadOwners {
  readonly #disk: Disk;
  readonly #locks = new Map<string, DiskLock | undefined>();

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  async has(owner: string): Promise<boolean> {
    if (owner === "") return true;
    if (!this.#locks.has(owner)) {
      this.#locks.set(owner, await this.#disk.lock(ownerLockPath(owner)));
    }
    return this.#locks.get(owner) !== undefined;
  }

  /** Anybody but the one given. */
  async isAnyAlive(self: string): Promise<boolean> {
    for (const owner of await this.#disk.list("locks")) {
      if (isOwner(owner) && owner !== self && !(await this.has(owner))) return true;
    }
    return false;
  }

  /** Their names are never used again. */
  async release(): Promise<void> {
    for (const lock of this.#locks.values()) {
      if (lock === undefined) continue;
      await this.#disk.remove(lock.path);
      await lock[Symbol.asyncDispose]();
    }
  }
}

function isOwner(name: string): boolean {
  return /^[0-9a-f]{32}$/.test(name);
}

async function openUsableIndex(parts: IndexParts): Promise<IndexStore> {
  const { disk, identity, owner, log } = parts;
  if (disk.root === undefined) return new MemoryIndexStore();
  const dead = new DeadOwners(disk);
  try {
    if (await dead.isAnyAlive(owner)) {
      const shared = openLmdb(disk.root, parts);
      if (isUsable(shared, identity)) return shared;
      await shared[Symbol.asyncDispose]();
      throw new Error(`Cannot open the shard index of ${disk.root}: it is another disk's`);
    }
    // Never flushed, it cannot be believed once the processes that wrote it are gone.
    await disk.remove(RECENT_FOLDER);
    if (!(await isWholeLmdb(disk))) await disk.remove(MAIN_FOLDER);
    await disk.writeFile(OPENING, Buffer.alloc(0));
    let index = openLmdb(disk.root, parts);
    if (!isUsable(index, identity)) {
      await index[Symbol.asyncDispose]();
      if ((await disk.list("volumes")).length > 0) {
        log.info({ folder: disk.root }, "Making the shard index from the volumes");
      }
      await disk.remove(MAIN_FOLDER);
      await disk.remove(RECENT_FOLDER);
      index = openLmdb(disk.root, parts);
    }
    await disk.remove(OPENING);
    return index;
  } finally {
    await dead.release();
  }
}

/** There while the index is being opened: LMDB does not refuse a damaged file, it brings the process down. */
const OPENING = "index-opening";
const LMDB_MAGIC = 0xbeefc0de;
const LMDB_MAGIC_AT = 24;
const LMDB_PAGE_BYTES_AT = 48;

/** Whether there is an index that can be opened, as far as that can be told before it is tried. */
async function isWholeLmdb(disk: Disk): Promise<boolean> {
  const path = `${MAIN_FOLDER}/data.mdb`;
  if (!(await disk.list(MAIN_FOLDER)).includes("data.mdb")) return false;
  if ((await disk.list("")).includes(OPENING)) return false;
  await using file = await disk.open(path, "read");
  const first = Buffer.alloc(64);
  const second = Buffer.alloc(64);
  await file.read(0, [first]);
  const pageBytes = first.readUInt32LE(LMDB_PAGE_BYTES_AT);
  await file.read(pageBytes, [second]);
  return [first, second].every((page) => page.readUInt32LE(LMDB_MAGIC_AT) === LMDB_MAGIC);
}

function openLmdb(root: string, { disk, clock, log }: IndexParts): IndexStore {
  return openLmdbIndexStore(root, {
    clock,
    lockMoves: () => disk.lock("locks/index"),
    onFault: (error) => log.error({ err: error }, "Cannot move rows of the shard index"),
  });
}

function isUsable(index: IndexView, identity: DiskIdentity): boolean {
  return index.get(META_KEY)?.equals(metaOf(identity)) === true;
}

function metaOf(identity: DiskIdentity): Buffer {
  return Buffer.from(`${INDEX_VERSION} ${identity.diskId}`);
}

/** One process at a time; a process that dies meanwhile gives the lock back. */
async function alone<T>({ disk, clock }: IndexParts, work: () => Promise<T>): Promise<T> {
  let lock = await disk.lock("locks/recovery");
  while (lock === undefined) {
    await clock.sleep(LOCK_POLL_MS);
    lock = await disk.lock("locks/recovery");
  }
  try {
    return await work();
  } finally {
    await lock[Symbol.asyncDispose]();
  }
}
