/**
 * What the records of all volumes mean, as rows of an IndexStore: which shards there are, where their
 * bytes stand, what each volume still holds that is needed.
 *
 * Every function here may be told the same record again, and records in any order: a seal counts
 * unless a tombstone names its tag, whichever of the two is seen first. So scanning the volumes, from
 * where the index stopped or from nothing, gives the same index as having written them.
 */
import type { ShardId } from "#shards/shard-store.ts";
import {
  decodeEntry,
  decodeTombstoneRow,
  decodeVolumeRow,
  encodeEntry,
  encodeTombstoneRow,
  encodeVolumeRow,
  linkCountKey,
  linkKey,
  linkRange,
  pinRange,
  type ShardEntry,
  shardKey,
  shardOfKey,
  type TombstoneRow,
  tombstoneKey,
  type VolumeRow,
  volumeKey,
} from "#storage/index-rows.ts";
import type { IndexTransaction, IndexView } from "#storage/index-store.ts";
import {
  blockRecordBytes,
  type Content,
  type Location,
  type SealRecord,
  sameShard,
} from "#storage/record.ts";

export type Sealing =
  /** Reads use this seal now. */
  | "sealed"
  /** Another seal of the shard, with equal bytes, was there before. */
  | "twin"
  /** Another seal of the shard, with other bytes, was there before. */
  | "conflict"
  /** A tombstone names this seal. */
  | "removed";

export function findShard(index: IndexView, id: ShardId): ShardEntry | undefined {
  const value = index.get(shardKey(id));
  return value === undefined ? undefined : decodeEntry(id, value);
}

export function findVolume(index: IndexView, volume: number): VolumeRow | undefined {
  const value = index.get(volumeKey(volume));
  return value === undefined ? undefined : decodeVolumeRow(value);
}

export function findTombstone(index: IndexView, tag: string): TombstoneRow | undefined {
  const value = index.get(tombstoneKey(tag));
  return value === undefined ? undefined : decodeTombstoneRow(value);
}

/** A volume must have its row before its records are told. */
export function putVolume(index: IndexTransaction, volume: number, row: VolumeRow): void {
  index.put(volumeKey(volume), encodeVolumeRow(row));
}

export function changeVolume(
  index: IndexTransaction,
  volume: number,
  change: (row: VolumeRow) => Partial<VolumeRow>,
): void {
  const row = findVolume(index, volume);
  // A volume that compaction took away: nothing is counted for it any more.
  if (row !== undefined) putVolume(index, volume, { ...row, ...change(row) });
}

/**
 * A seal stands durably at `place`. It is "new" to him who just wrote it, under a tag that nobody else
 * has seen; found in a volume, it may have tombstones and links already.
 */
export function applySeal(
  index: IndexTransaction,
  record: SealRecord,
  place: Location & { bytes: number },
  origin: "new" | "found",
): Sealing {
  const tombstone = origin === "new" ? undefined : findTombstone(index, record.tag);
  if (tombstone !== undefined) {
    rememberSeal(index, record.tag, tombstone, place.volume);
    return "removed";
  }
  const entry = entryOf(record, place);
  const existing = findShard(index, record.id);
  if (existing === undefined) {
    insert(index, record.id, entry, { isUnshared: origin === "new" && isOwnContent(record) });
    return "sealed";
  }
  if (existing.seal.volume === place.volume && existing.seal.offset === place.offset) {
    return "sealed";
  }
  if (existing.tag === record.tag && !isWhole(index, existing) && isWhole(index, entry)) {
    // Compaction moved the shard, and the seal left behind says where it was before.
    replace(index, record.id, { from: existing, to: withOther(entry, existing) });
    return "sealed";
  }
  const remembered = withOther(existing, entry);
  if (remembered !== existing) index.put(shardKey(record.id), encodeEntry(record.id, remembered));
  if (existing.tag === record.tag) return "sealed";
  return existing.digest === record.digest && existing.length === record.length
    ? "twin"
    : "conflict";
}

/**
 * A tombstone stands durably in that volume. Answers tags that still name the shard: seals that came
 * after the tombstone was written, and need one more.
 */
export function applyRemoval(
  index: IndexTransaction,
  removal: { id: ShardId; tags: readonly string[] },
  place: { volume: number; bytes: number },
): readonly string[] {
  const existing = findShard(index, removal.id);
  const named = new Set(removal.tags);
  for (const tag of named) {
    const seals = new Set<number>();
    if (existing?.tag === tag) seals.add(existing.seal.volume);
    for (const other of existing?.others ?? []) if (other.tag === tag) seals.add(other.volume);
    const bytes = Math.ceil(place.bytes / removal.tags.length);
    rememberTombstone(index, tag, { volume: place.volume, bytes, seals: [...seals] });
  }
  if (existing === undefined) return [];
  const left = existing.others.filter(({ tag }) => !named.has(tag));
  if (named.has(existing.tag)) {
    take(index, removal.id, existing);
    for (const { tag, volume } of left) {
      rememberSeal(index, tag, findTombstone(index, tag) ?? { tombstones: [], seals: [] }, volume);
    }
    return [...new Set(left.map(({ tag }) => tag))];
  }
  if (left.length < existing.others.length) {
    index.put(shardKey(removal.id), encodeEntry(removal.id, { ...existing, others: left }));
  }
  return [];
}

/** A seal that compaction wrote anew: the shard as it was before, and where its new seal stands. */
export interface SealMove {
  readonly before: ShardEntry;
  readonly record: SealRecord;
  readonly place: Location & { readonly bytes: number };
}

/**
 * The seals of one content, all written anew with its blocks where they are now. If any of its names is
 * not as it was before, all stay; the new seals are only remembered, as ones that tombstones must outlast.
 */
export function applyMoves(
  index: IndexTransaction,
  moves: readonly SealMove[],
  { users }: { users: number | undefined },
): void {
  const content = moves[0]?.record.content;
  if (content === undefined) return;
  const haveUsersStayed =
    users === undefined ||
    (contentUsers(index, content).length === users && !isPinned(index, content.tag));
  const current = moves.map((move) => ({ ...move, now: asBefore(index, move) }));
  const moving = current.filter(({ now }) => now !== undefined);
  if (!haveUsersStayed || moving.length < moves.length) {
    for (const { record, place } of moves) rememberCopy(index, record, place);
    return;
  }
  // All leave before any comes back, so that the blocks are counted where they are now.
  for (const { record, now } of moving) if (now !== undefined) take(index, record.id, now);
  for (const { record, place, now } of moving) {
    if (now !== undefined) insert(index, record.id, withOther(entryOf(record, place), now));
  }
}

/** The shard, if it is as compaction found it. */
function asBefore(index: IndexView, { before, record }: SealMove): ShardEntry | undefined {
  const now = findShard(index, record.id);
  const isSame =
    now?.tag === before.tag &&
    sameLocation(now.seal, before.seal) &&
    now.blocks.every((block, number) => sameLocation(block, before.blocks[number]));
  return isSame ? now : undefined;
}

function rememberCopy(
  index: IndexTransaction,
  record: SealRecord,
  place: Location & { readonly bytes: number },
): void {
  const tombstone = findTombstone(index, record.tag);
  if (tombstone !== undefined) rememberSeal(index, record.tag, tombstone, place.volume);
  const now = findShard(index, record.id);
  if (now === undefined) return;
  const remembered = withOther(now, entryOf(record, place));
  if (remembered !== now) index.put(shardKey(record.id), encodeEntry(record.id, remembered));
}

/** The tombstone of that tag stands elsewhere now, or is not needed any more. */
export function moveTombstone(
  index: IndexTransaction,
  tag: string,
  { from, to }: { from: number; to: { volume: number; bytes: number } | undefined },
): void {
  const row = findTombstone(index, tag);
  const old = row?.tombstones.find(({ volume }) => volume === from);
  if (row === undefined || old === undefined) return;
  changeVolume(index, from, ({ kept }) => ({ kept: Math.max(0, kept - old.bytes) }));
  const rest = row.tombstones.filter((each) => each !== old);
  if (to !== undefined && !rest.some(({ volume }) => volume === to.volume)) {
    rest.push(to);
    changeVolume(index, to.volume, ({ kept }) => ({ kept: kept + to.bytes }));
  }
  if (rest.length === 0) index.remove(tombstoneKey(tag));
  else index.put(tombstoneKey(tag), encodeTombstoneRow({ ...row, tombstones: rest }));
}

/** The seal's volume is gone; a tombstone that nothing is left for may go, too. */
export function forgetSealIn(
  index: IndexTransaction,
  volume: number,
  { id, tag }: { id: ShardId; tag: string },
): void {
  const row = findTombstone(index, tag);
  if (row !== undefined) forgetSeal(index, tag, row);
  const entry = findShard(index, id);
  if (entry === undefined) return;
  const others = entry.others.filter((each) => each.volume !== volume);
  if (others.length === entry.others.length) return;
  index.put(shardKey(id), encodeEntry(id, { ...entry, others }));
}

/** Keeps of a tombstone's seals those whose volumes are still there; without any, no tombstone is needed. */
function forgetSeal(index: IndexTransaction, tag: string, row: TombstoneRow): void {
  const seals = row.seals.filter((volume) => findVolume(index, volume) !== undefined);
  if (seals.length > 0) {
    index.put(tombstoneKey(tag), encodeTombstoneRow({ ...row, seals }));
    return;
  }
  index.remove(tombstoneKey(tag));
  for (const { volume, bytes } of row.tombstones) {
    changeVolume(index, volume, ({ kept }) => ({ kept: Math.max(0, kept - bytes) }));
  }
}

/** Whether anything needs the blocks of the content: its first name, a link, or a link being made. */
export function contentUsers(index: IndexView, content: Content): readonly ShardId[] {
  const users: ShardId[] = [];
  const origin = findShard(index, content.id);
  if (origin?.content.tag === content.tag && origin.tag === content.tag) users.push(content.id);
  if (index.get(linkCountKey(content.tag)) === undefined) return users;
  const { from, to } = linkRange(content.tag);
  for (const [key] of index.range(from, to, LINKS_MAX)) users.push(shardOfKey(key));
  return users;
}

/** Names that one content may have; a copy beyond writes its own bytes. */
export const LINKS_MAX = 10_000;

export function isPinned(index: IndexView, contentTag: string): boolean {
  const { from, to } = pinRange(contentTag);
  return index.range(from, to, 1).length > 0;
}

export function entryOf(record: SealRecord, place: Location & { bytes: number }): ShardEntry {
  return {
    tag: record.tag,
    content: record.content,
    length: record.length,
    digest: record.digest,
    seal: place,
    blockBytes: record.blockBytes,
    blocks: record.blocks,
    others: [],
  };
}

/** Puts `to` in the place of `from`, a seal of the same shard, and counts the bytes anew. */
export function replace(
  index: IndexTransaction,
  id: ShardId,
  { from, to }: { from: ShardEntry; to: ShardEntry },
): void {
  take(index, id, from);
  insert(index, id, to);
}

/** Length of the block with that number. */
export function blockLength(
  entry: Pick<ShardEntry, "length" | "blockBytes">,
  number: number,
): number {
  return Math.min(entry.blockBytes, entry.length - number * entry.blockBytes);
}

function insert(
  index: IndexTransaction,
  id: ShardId,
  entry: ShardEntry,
  { isUnshared = false } = {},
): void {
  const isFirst = isUnshared || contentUsers(index, entry.content).length === 0;
  countBytes(index, entry, { blocks: isFirst, sign: 1 });
  index.put(shardKey(id), encodeEntry(id, entry));
  if (isLink(id, entry)) {
    index.put(linkKey(entry.content.tag, id), Buffer.alloc(0));
    countLinks(index, entry.content.tag, 1);
  }
}

function take(index: IndexTransaction, id: ShardId, entry: ShardEntry): void {
  index.remove(shardKey(id));
  if (isLink(id, entry)) {
    index.remove(linkKey(entry.content.tag, id));
    countLinks(index, entry.content.tag, -1);
  }
  countBytes(index, entry, { blocks: contentUsers(index, entry.content).length === 0, sign: -1 });
}

function countLinks(index: IndexTransaction, contentTag: string, change: 1 | -1): void {
  const key = linkCountKey(contentTag);
  const count = (index.get(key)?.readUInt32LE(0) ?? 0) + change;
  const value = Buffer.alloc(4);
  value.writeUInt32LE(count);
  if (count > 0) index.put(key, value);
  else index.remove(key);
}

function isOwnContent(record: SealRecord): boolean {
  return record.content.tag === record.tag;
}

function isLink(id: ShardId, entry: ShardEntry): boolean {
  return entry.content.tag !== entry.tag || !sameShard(entry.content.id, id);
}

/** The blocks count for the first of the names of a content to come and the last to go. */
function countBytes(
  index: IndexTransaction,
  entry: ShardEntry,
  { blocks, sign }: { blocks: boolean; sign: 1 | -1 },
): void {
  const bytes = new Map([[entry.seal.volume, entry.seal.bytes]]);
  if (blocks) {
    entry.blocks.forEach(({ volume }, number) => {
      const length = blockRecordBytes(blockLength(entry, number));
      bytes.set(volume, (bytes.get(volume) ?? 0) + length);
    });
  }
  for (const [volume, count] of bytes) {
    changeVolume(index, volume, ({ live }) => ({ live: Math.max(0, live + sign * count) }));
  }
}

function sameLocation(left: Location, right: Location | undefined): boolean {
  return left.volume === right?.volume && left.offset === right.offset;
}

/** Whether every volume that the entry points to is still there. */
function isWhole(index: IndexView, entry: ShardEntry): boolean {
  const volumes = new Set([entry.seal.volume, ...entry.blocks.map(({ volume }) => volume)]);
  return [...volumes].every((volume) => findVolume(index, volume) !== undefined);
}

/** The entry, remembering that `other` is a seal of the same shard. */
function withOther(entry: ShardEntry, other: ShardEntry): ShardEntry {
  const seals = [{ tag: other.tag, volume: other.seal.volume }, ...other.others];
  const isNew = (seal: { tag: string; volume: number }) =>
    !(seal.tag === entry.tag && seal.volume === entry.seal.volume) &&
    !entry.others.some(({ tag, volume }) => tag === seal.tag && volume === seal.volume);
  const added = seals.filter(isNew);
  return added.length === 0 ? entry : { ...entry, others: [...entry.others, ...added] };
}

function rememberSeal(
  index: IndexTransaction,
  tag: string,
  row: TombstoneRow,
  volume: number,
): void {
  if (row.seals.includes(volume)) return;
  index.put(tombstoneKey(tag), encodeTombstoneRow({ ...row, seals: [...row.seals, volume] }));
}

function rememberTombstone(
  index: IndexTransaction,
  tag: string,
  { volume, bytes, seals }: { volume: number; bytes: number; seals: readonly number[] },
): void {
  const row = findTombstone(index, tag) ?? { tombstones: [], seals: [] };
  const isKnown = row.tombstones.some((each) => each.volume === volume);
  const next: TombstoneRow = {
    tombstones: isKnown ? row.tombstones : [...row.tombstones, { volume, bytes }],
    seals: [...new Set([...row.seals, ...seals])],
  };
  index.put(tombstoneKey(tag), encodeTombstoneRow(next));
  if (!isKnown) changeVolume(index, volume, ({ kept }) => ({ kept: kept + bytes }));
}
