/**
 * The bytes of a volume's records; pure. README.md has the format as a picture.
 *
 * A record is a head, then its payload (blocks only), then zeros up to a multiple of eight bytes. The
 * head's CRC begins with the volume's own salt and covers the record's own offset: bytes that look like
 * a record, but stand in a client's payload or come from another place, are never taken for one.
 */
import { crc32c } from "#lib/crc32c.ts";
import { BLOCK_BYTES_MAX, CHUNK_BYTES, type ShardId, type ShardSeal } from "#shards/shard-store.ts";

/** First bytes of every record. */
export const MAGIC = Buffer.from("AYBR", "latin1");
const MAGIC_NUMBER = MAGIC.readUInt32LE(0);
const FORMAT_VERSION = 1;
export const RECORD_ALIGNMENT = 8;
const COMMON_BYTES = 24;
/** A seal's head holds the shard's block table and what the object says of itself. */
export const HEAD_BYTES_MAX = 1024 * 1024;
export const SHARD_ID_BYTES = 19;
export const TAG_BYTES = 8;
const SECRET_BYTES = 16;
const LOCATION_BYTES = 10;

const BLOCK_FIXED_BYTES = COMMON_BYTES + SHARD_ID_BYTES + 1 + TAG_BYTES + 4;
const SEAL_FIXED_BYTES = COMMON_BYTES + (SHARD_ID_BYTES + 1 + TAG_BYTES) * 2 + 6 + 4 + 6 + 4 + 4;

/** Where a record begins. */
export interface Location {
  volume: number;
  offset: number;
}

/** The bytes that seals share: those written by one write, under its first name. */
export interface Content {
  readonly id: ShardId;
  /** Random, hex: tells this write of the id from any other. */
  readonly tag: string;
}

export interface VolumeRecord {
  readonly kind: "volume";
  readonly volume: number;
  readonly diskId: string;
  /** The disk's, from its `disk.json`; the salt of checksums is made of it. */
  readonly secret: Buffer;
  /** Names the lock that its writer holds while it lives; 32 hex digits. */
  readonly owner: string;
}
/** Opens what was written at one go; everything below `durable` had been synced by then. */
export interface BatchRecord {
  readonly kind: "batch";
  readonly durable: number;
}
export interface BlockRecord {
  readonly kind: "block";
  readonly content: Content;
  readonly number: number;
  readonly length: number;
  readonly checksums: Uint32Array;
}
export interface SealRecord extends ShardSeal {
  readonly kind: "seal";
  readonly id: ShardId;
  /** Random, hex; what a tombstone names. */
  readonly tag: string;
  readonly content: Content;
  readonly length: number;
  readonly digest: number;
  /** Length of every block but the last. */
  readonly blockBytes: number;
  readonly blocks: readonly Location[];
}
/** A tombstone: the seals with these tags no longer count, wherever copies of them stand. */
export interface RemoveRecord {
  readonly kind: "remove";
  readonly id: ShardId;
  readonly tags: readonly string[];
}
/** The volume was closed in order; nothing follows, and nothing before it may be cut. */
export interface EndRecord {
  readonly kind: "end";
}
export type Record =
  | VolumeRecord
  | BatchRecord
  | BlockRecord
  | SealRecord
  | RemoveRecord
  | EndRecord;

const KINDS = ["volume", "batch", "block", "seal", "remove", "end"] as const;

export function headBytes(record: Record): number {
  switch (record.kind) {
    case "volume":
      return COMMON_BYTES + 4 + SECRET_BYTES * 3;
    case "batch":
      return COMMON_BYTES + 6;
    case "block":
      return blockHeadBytes(record.length);
    case "seal":
      return (
        SEAL_FIXED_BYTES +
        record.blocks.length * LOCATION_BYTES +
        2 +
        Buffer.byteLength(record.session) +
        record.siblings.length * 4 +
        4 +
        record.about.length
      );
    case "remove":
      return COMMON_BYTES + SHARD_ID_BYTES + 1 + 4 + record.tags.length * TAG_BYTES;
    case "end":
      return COMMON_BYTES;
  }
}

/** Known from the block's length alone, so that head and payload of a small shard are read together. */
export function blockHeadBytes(length: number): number {
  return BLOCK_FIXED_BYTES + Math.ceil(length / CHUNK_BYTES) * 4;
}

export function payloadBytes(record: Record): number {
  return record.kind === "block" ? record.length : 0;
}

/** Bytes that a record takes in a volume, padding included. */
export function recordBytes(record: Record): number {
  return padded(headBytes(record) + payloadBytes(record));
}

export function blockRecordBytes(length: number): number {
  return padded(blockHeadBytes(length) + length);
}

function padded(length: number): number {
  return Math.ceil(length / RECORD_ALIGNMENT) * RECORD_ALIGNMENT;
}

/** What the checksums of a volume's heads begin with. Clients cannot know it, so no payload can pose as records. */
export function saltOf(secret: Uint8Array, volume: number): number {
  return crc32c(Uint8Array.of(volume, volume >>> 8, volume >>> 16, volume >>> 24), crc32c(secret));
}

/** Writes the record's head at the start of `target`, which is `headBytes(record)` long. */
export function encodeHead(
  record: Record,
  target: Buffer,
  place: { offset: number; salt: number },
): void {
  target.writeUInt32LE(MAGIC_NUMBER, 0);
  target.writeUInt32LE(target.length, 8);
  target.writeUInt32LE(payloadBytes(record), 12);
  target[16] = KINDS.indexOf(record.kind);
  target[17] = FORMAT_VERSION;
  target.writeUIntLE(place.offset, 18, 6);
  encodeBody(record, target);
  // The first record of a volume is what tells the salt.
  const salt = record.kind === "volume" ? 0 : place.salt;
  target.writeUInt32LE(crc32c(target.subarray(8), salt), 4);
}

function encodeBody(record: Record, target: Buffer): void {
  let at = COMMON_BYTES;
  switch (record.kind) {
    case "volume":
      at = target.writeUInt32LE(record.volume, at);
      at += target.write(record.diskId, at, "hex");
      at += record.secret.copy(target, at);
      target.write(record.owner, at, "hex");
      return;
    case "batch":
      target.writeUIntLE(record.durable, at, 6);
      return;
    case "block":
      at = writeNamed(target, record.content, at);
      at = target.writeUInt32LE(record.number, at);
      for (const checksum of record.checksums) at = target.writeUInt32LE(checksum, at);
      return;
    case "seal":
      at = writeNamed(target, record, at);
      at = writeNamed(target, record.content, at);
      at = target.writeUIntLE(record.length, at, 6);
      at = target.writeUInt32LE(record.digest, at);
      at = target.writeUIntLE(record.sequence, at, 6);
      at = target.writeUInt32LE(record.blockBytes, at);
      at = target.writeUInt32LE(record.blocks.length, at);
      for (const { volume, offset } of record.blocks) {
        at = target.writeUInt32LE(volume, at);
        at = target.writeUIntLE(offset, at, 6);
      }
      target[at] = target.write(record.session, at + 1);
      at += 1 + (target[at] ?? 0);
      target[at] = record.siblings.length;
      at += 1;
      for (const sibling of record.siblings) at = target.writeUInt32LE(sibling, at);
      at = target.writeUInt32LE(record.about.length, at);
      target.set(record.about, at);
      return;
    case "remove":
      at = writeShardId(target, record.id, at);
      at = target.writeUInt8(0, at);
      at = target.writeUInt32LE(record.tags.length, at);
      for (const tag of record.tags) at += target.write(tag, at, "hex");
      return;
    case "end":
  }
}

/** Id and tag, with a byte between that keeps numbers aligned. */
function writeNamed(target: Buffer, { id, tag }: Content, at: number): number {
  const next = writeShardId(target, id, at);
  target[next] = 0;
  return next + 1 + target.write(tag, next + 1, "hex");
}

export function writeShardId(target: Buffer, id: ShardId, at: number): number {
  target.writeUInt16BE(id.group, at);
  target.set(id.writeId, at + 2);
  target[at + 18] = id.index;
  return at + SHARD_ID_BYTES;
}

export function readShardId(source: Buffer, at: number): ShardId {
  return {
    group: source.readUInt16BE(at),
    writeId: Buffer.from(source.subarray(at + 2, at + 18)),
    index: source.readUInt8(at + 18),
  };
}

/** What the first bytes of a head say, before its checksum is known to hold; undefined when it cannot be a head. */
export function peekHead(
  source: Buffer,
  at: number,
): { headBytes: number; payloadBytes: number } | undefined {
  if (source.length - at < COMMON_BYTES || source.readUInt32LE(at) !== MAGIC_NUMBER)
    return undefined;
  const head = source.readUInt32LE(at + 8);
  const payload = source.readUInt32LE(at + 12);
  if (head < COMMON_BYTES || head > HEAD_BYTES_MAX || payload > BLOCK_BYTES_MAX) return undefined;
  return { headBytes: head, payloadBytes: payload };
}

/** Bytes that `peekHead` needs. */
export const PEEK_BYTES = COMMON_BYTES;

export interface DecodedRecord {
  readonly record: Record;
  readonly headBytes: number;
  readonly payloadBytes: number;
  /** From the head's first byte to the next record's. */
  readonly bytes: number;
}

/**
 * The record whose head stands at `at`; undefined unless it is whole, intact, and meant for this place.
 * Throws when it is intact but of a later format, which must not be mistaken for damage.
 */
export function decodeHead(
  source: Buffer,
  at: number,
  place: { offset: number; salt: number },
): DecodedRecord | undefined {
  const size = peekHead(source, at);
  if (size === undefined || source.length - at < size.headBytes) return undefined;
  const head = source.subarray(at, at + size.headBytes);
  const kind = KINDS[head.readUInt8(16)];
  const salt = kind === "volume" ? 0 : place.salt;
  if (crc32c(head.subarray(8), salt) !== head.readUInt32LE(4)) return undefined;
  if (head.readUIntLE(18, 6) !== place.offset) return undefined;
  const version = head.readUInt8(17);
  if (kind === undefined || version > FORMAT_VERSION) {
    throw new Error(
      `Cannot read volume record: format version is ${version}, newest known is ${FORMAT_VERSION}`,
    );
  }
  const record = decodeBody(kind, head, size.payloadBytes);
  return { record, ...size, bytes: padded(size.headBytes + size.payloadBytes) };
}

function decodeBody(kind: (typeof KINDS)[number], head: Buffer, payload: number): Record {
  let at = COMMON_BYTES;
  switch (kind) {
    case "volume":
      return {
        kind,
        volume: head.readUInt32LE(at),
        diskId: head.toString("hex", at + 4, at + 20),
        secret: Buffer.from(head.subarray(at + 20, at + 36)),
        owner: head.toString("hex", at + 36, at + 52),
      };
    case "batch":
      return { kind, durable: head.readUIntLE(at, 6) };
    case "block": {
      const content = readNamed(head, at);
      at += NAMED_BYTES;
      const number = head.readUInt32LE(at);
      const checksums = new Uint32Array(Math.ceil(payload / CHUNK_BYTES));
      for (let index = 0; index < checksums.length; index++) {
        checksums[index] = head.readUInt32LE(at + 4 + index * 4);
      }
      return { kind, content, number, length: payload, checksums };
    }
    case "seal":
      return decodeSeal(head);
    case "remove": {
      const id = readShardId(head, at);
      const count = head.readUInt32LE(at + SHARD_ID_BYTES + 1);
      at += SHARD_ID_BYTES + 5;
      const tags = Array.from({ length: count }, (_, index) =>
        head.toString("hex", at + index * TAG_BYTES, at + (index + 1) * TAG_BYTES),
      );
      return { kind, id, tags };
    }
    case "end":
      return { kind };
  }
}

const NAMED_BYTES = SHARD_ID_BYTES + 1 + TAG_BYTES;

function readNamed(source: Buffer, at: number): Content {
  const tag = at + SHARD_ID_BYTES + 1;
  return { id: readShardId(source, at), tag: source.toString("hex", tag, tag + TAG_BYTES) };
}

function decodeSeal(head: Buffer): SealRecord {
  const name = readNamed(head, COMMON_BYTES);
  const content = readNamed(head, COMMON_BYTES + NAMED_BYTES);
  let at = COMMON_BYTES + NAMED_BYTES * 2;
  const length = head.readUIntLE(at, 6);
  const digest = head.readUInt32LE(at + 6);
  const sequence = head.readUIntLE(at + 10, 6);
  const blockBytes = head.readUInt32LE(at + 16);
  const count = head.readUInt32LE(at + 20);
  at += 24;
  const blocks: Location[] = [];
  for (let index = 0; index < count; index++, at += LOCATION_BYTES) {
    blocks.push({ volume: head.readUInt32LE(at), offset: head.readUIntLE(at + 4, 6) });
  }
  const sessionEnd = at + 1 + head.readUInt8(at);
  const session = head.toString("utf8", at + 1, sessionEnd);
  const siblingCount = head.readUInt8(sessionEnd);
  at = sessionEnd + 1;
  const siblings: number[] = [];
  for (let index = 0; index < siblingCount; index++, at += 4) siblings.push(head.readUInt32LE(at));
  const about = Buffer.from(head.subarray(at + 4, at + 4 + head.readUInt32LE(at)));
  return {
    kind: "seal",
    ...name,
    content,
    length,
    digest,
    sequence,
    blockBytes,
    blocks,
    session,
    siblings,
    about,
  };
}

/** Whether this is the head of that block of that content: what a read asks before it believes the bytes. */
export function isBlockOf(record: Record, content: Content, number: number): record is BlockRecord {
  return (
    record.kind === "block" &&
    record.number === number &&
    record.content.tag === content.tag &&
    sameShard(record.content.id, content.id)
  );
}

export function sameShard(left: ShardId, right: ShardId): boolean {
  return (
    left.group === right.group &&
    left.index === right.index &&
    Buffer.compare(left.writeId, right.writeId) === 0
  );
}
