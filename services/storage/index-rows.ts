/** The rows of the shard index and their bytes; pure. README.md says what each is for. */
import type { ShardId } from "#shards/shard-store.ts";
import {
  type Content,
  type Location,
  readShardId,
  SHARD_ID_BYTES,
  sameShard,
  TAG_BYTES,
  writeShardId,
} from "#storage/record.ts";

const PREFIX = {
  meta: 0,
  shard: 1,
  volume: 2,
  tombstone: 3,
  link: 4,
  pin: 5,
  linkCount: 6,
} as const;

export const META_KEY = Buffer.from([PREFIX.meta]);

/** A seal somewhere in a volume that names the same shard, but is not the one that reads use. */
export interface OtherSeal {
  readonly tag: string;
  readonly volume: number;
}

/** What the index knows of a sealed shard; the rest stands in its seal. */
export interface ShardEntry {
  readonly tag: string;
  readonly content: Content;
  readonly length: number;
  readonly digest: number;
  readonly seal: Location & { readonly bytes: number };
  readonly blockBytes: number;
  readonly blocks: readonly Location[];
  readonly others: readonly OtherSeal[];
}

export interface VolumeRow {
  /** Everything below is durable and in the index. */
  readonly scannedTo: number;
  readonly isClosed: boolean;
  /** Bytes of records that a live shard needs. */
  readonly live: number;
  /** Bytes of tombstones still needed. */
  readonly kept: number;
  readonly owner: string;
}

export interface TombstoneRow {
  /** Volumes with a tombstone that names the tag, and its length. */
  readonly tombstones: readonly { readonly volume: number; readonly bytes: number }[];
  /** Volumes that hold, or once held, a seal with the tag. */
  readonly seals: readonly number[];
}

export function shardKey(id: ShardId): Buffer {
  const key = Buffer.allocUnsafe(1 + SHARD_ID_BYTES);
  key[0] = PREFIX.shard;
  writeShardId(key, id, 1);
  return key;
}

export function shardOfKey(key: Buffer): ShardId {
  return readShardId(key, key.length - SHARD_ID_BYTES);
}

/** From the first shard of the group, or of all, to the end. */
export function shardRange(group: number | undefined): { from: Buffer; to: Buffer } {
  if (group === undefined) {
    return { from: Buffer.from([PREFIX.shard]), to: Buffer.from([PREFIX.shard + 1]) };
  }
  const from = Buffer.from([PREFIX.shard, group >>> 8, group & 0xff]);
  const to = Buffer.from(
    group === 0xffff ? [PREFIX.shard + 1] : [PREFIX.shard, (group + 1) >>> 8, (group + 1) & 0xff],
  );
  return { from, to };
}

export function volumeKey(volume: number): Buffer {
  const key = Buffer.allocUnsafe(5);
  key[0] = PREFIX.volume;
  key.writeUInt32BE(volume, 1);
  return key;
}

export function isVolumeKey(key: Buffer): boolean {
  return key[0] === PREFIX.volume;
}

export const VOLUME_RANGE = {
  from: Buffer.from([PREFIX.volume]),
  to: Buffer.from([PREFIX.volume + 1]),
};

export function volumeOfKey(key: Buffer): number {
  return key.readUInt32BE(1);
}

export function tombstoneKey(tag: string): Buffer {
  const key = Buffer.allocUnsafe(1 + TAG_BYTES);
  key[0] = PREFIX.tombstone;
  key.write(tag, 1, "hex");
  return key;
}

export const TOMBSTONE_RANGE = {
  from: Buffer.from([PREFIX.tombstone]),
  to: Buffer.from([PREFIX.tombstone + 1]),
};

export function tagOfKey(key: Buffer): string {
  return key.toString("hex", 1, 1 + TAG_BYTES);
}

/** How many further names a content has; no row when none, which a look-up tells sooner than a range. */
export function linkCountKey(contentTag: string): Buffer {
  const key = Buffer.allocUnsafe(1 + TAG_BYTES);
  key[0] = PREFIX.linkCount;
  key.write(contentTag, 1, "hex");
  return key;
}

/** One row for each further name of a content. */
export function linkKey(contentTag: string, id: ShardId): Buffer {
  const key = Buffer.allocUnsafe(1 + TAG_BYTES + SHARD_ID_BYTES);
  key[0] = PREFIX.link;
  key.write(contentTag, 1, "hex");
  writeShardId(key, id, 1 + TAG_BYTES);
  return key;
}

export function linkRange(contentTag: string): { from: Buffer; to: Buffer } {
  return prefixRange(PREFIX.link, contentTag);
}

/** Held while a further name for a content is being written, so that its blocks stay where they are. */
export function pinKey(contentTag: string, pin: { owner: string; tag: string }): Buffer {
  const key = Buffer.allocUnsafe(1 + TAG_BYTES + pin.owner.length + pin.tag.length);
  key[0] = PREFIX.pin;
  key.write(contentTag, 1, "hex");
  key.write(pin.owner + pin.tag, 1 + TAG_BYTES, "latin1");
  return key;
}

export function pinRange(contentTag: string): { from: Buffer; to: Buffer } {
  return prefixRange(PREFIX.pin, contentTag);
}

export function contentOfPin(key: Buffer): string {
  return key.toString("hex", 1, 1 + TAG_BYTES);
}

export const ALL_PINS = { from: Buffer.from([PREFIX.pin]), to: Buffer.from([PREFIX.pin + 1]) };

export function ownerOfPin(key: Buffer): string {
  return key.toString("latin1", 1 + TAG_BYTES, 1 + TAG_BYTES + OWNER_DIGITS);
}

const OWNER_DIGITS = 32;

function prefixRange(prefix: number, tag: string): { from: Buffer; to: Buffer } {
  const from = Buffer.allocUnsafe(1 + TAG_BYTES);
  from[0] = prefix;
  from.write(tag, 1, "hex");
  // A tag is followed by an id or an owner, none of which is all ones throughout.
  return { from, to: Buffer.concat([from, Buffer.alloc(SHARD_ID_BYTES + 64, 0xff)]) };
}

const FLAG_LINKED = 1;
const ENTRY_FIXED_BYTES = 1 + TAG_BYTES + 6 + 4 + 10 + 4 + 4 + 2 + 4;

export function encodeEntry(id: ShardId, entry: ShardEntry): Buffer {
  const isLinked = entry.content.tag !== entry.tag || !sameShard(entry.content.id, id);
  const value = Buffer.allocUnsafe(
    ENTRY_FIXED_BYTES +
      (isLinked ? TAG_BYTES + SHARD_ID_BYTES : 0) +
      entry.blocks.length * 10 +
      entry.others.length * (TAG_BYTES + 4),
  );
  value[0] = isLinked ? FLAG_LINKED : 0;
  let at = 1 + value.write(entry.tag, 1, "hex");
  at = value.writeUIntLE(entry.length, at, 6);
  at = value.writeUInt32LE(entry.digest, at);
  at = writeLocation(value, entry.seal, at);
  at = value.writeUInt32LE(entry.seal.bytes, at);
  at = value.writeUInt32LE(entry.blockBytes, at);
  at = value.writeUInt16LE(entry.others.length, at);
  at = value.writeUInt32LE(entry.blocks.length, at);
  for (const block of entry.blocks) at = writeLocation(value, block, at);
  for (const { tag, volume } of entry.others) {
    at += value.write(tag, at, "hex");
    at = value.writeUInt32LE(volume, at);
  }
  if (isLinked) {
    at += value.write(entry.content.tag, at, "hex");
    writeShardId(value, entry.content.id, at);
  }
  return value;
}

export function decodeEntry(id: ShardId, value: Buffer): ShardEntry {
  const tag = value.toString("hex", 1, 1 + TAG_BYTES);
  let at = 1 + TAG_BYTES;
  const length = value.readUIntLE(at, 6);
  const digest = value.readUInt32LE(at + 6);
  const seal = {
    volume: value.readUInt32LE(at + 10),
    offset: value.readUIntLE(at + 14, 6),
    bytes: value.readUInt32LE(at + 20),
  };
  const blockBytes = value.readUInt32LE(at + 24);
  const otherCount = value.readUInt16LE(at + 28);
  const blockCount = value.readUInt32LE(at + 30);
  at += 34;
  const blocks: Location[] = [];
  for (let index = 0; index < blockCount; index++, at += 10) {
    blocks.push({ volume: value.readUInt32LE(at), offset: value.readUIntLE(at + 4, 6) });
  }
  const others: OtherSeal[] = [];
  for (let index = 0; index < otherCount; index++, at += TAG_BYTES + 4) {
    others.push({
      tag: value.toString("hex", at, at + TAG_BYTES),
      volume: value.readUInt32LE(at + TAG_BYTES),
    });
  }
  const content =
    value[0] === FLAG_LINKED
      ? {
          tag: value.toString("hex", at, at + TAG_BYTES),
          id: readShardId(value, at + TAG_BYTES),
        }
      : { tag, id };
  return { tag, content, length, digest, seal, blockBytes, blocks, others };
}

function writeLocation(value: Buffer, { volume, offset }: Location, at: number): number {
  return value.writeUIntLE(offset, value.writeUInt32LE(volume, at), 6);
}

export function encodeVolumeRow(row: VolumeRow): Buffer {
  const value = Buffer.allocUnsafe(19 + row.owner.length / 2);
  value[0] = row.isClosed ? 1 : 0;
  let at = value.writeUIntLE(row.scannedTo, 1, 6);
  at = value.writeUIntLE(row.live, at, 6);
  at = value.writeUIntLE(row.kept, at, 6);
  value.write(row.owner, at, "hex");
  return value;
}

export function decodeVolumeRow(value: Buffer): VolumeRow {
  return {
    isClosed: value[0] === 1,
    scannedTo: value.readUIntLE(1, 6),
    live: value.readUIntLE(7, 6),
    kept: value.readUIntLE(13, 6),
    owner: value.toString("hex", 19),
  };
}

export function encodeTombstoneRow({ tombstones, seals }: TombstoneRow): Buffer {
  const value = Buffer.allocUnsafe(2 + tombstones.length * 8 + seals.length * 4);
  let at = value.writeUInt16LE(tombstones.length, 0);
  for (const { volume, bytes } of tombstones) {
    at = value.writeUInt32LE(volume, at);
    at = value.writeUInt32LE(bytes, at);
  }
  for (const volume of seals) at = value.writeUInt32LE(volume, at);
  return value;
}

export function decodeTombstoneRow(value: Buffer): TombstoneRow {
  const tombstones: { volume: number; bytes: number }[] = [];
  let at = 2;
  for (let left = value.readUInt16LE(0); left > 0; left--, at += 8) {
    tombstones.push({ volume: value.readUInt32LE(at), bytes: value.readUInt32LE(at + 4) });
  }
  const seals: number[] = [];
  for (; at < value.length; at += 4) seals.push(value.readUInt32LE(at));
  return { tombstones, seals };
}
