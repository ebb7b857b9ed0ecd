/**
 * How keys are spelled so that they sort as S3 lists: one capital letter for the kind, then the bucket, then the rest.
 *
 *     B name                          configuration of a bucket
 *     I name                          its state: incarnation, active or being removed, versioning
 *     L id key                        the current version of a key, when it is an object
 *     M id key                        the current version of a key, when it is a delete marker
 *     V id key 00 ~sequence           older versions of a key, newest first
 *     U id key 00 uploadId            uploads not yet completed or aborted, in order of initiation
 *     P id uploadId number            their parts
 *     F id uploadId                   what became of finished uploads, kept for replays of Complete
 *     T id slot key 00 nonce          removed versions and parts whose bytes wait for the end of the retention
 *
 * `id` is the bucket's 16 bytes. Object keys stand there as their UTF-8 bytes, unescaped: byte order is then S3's
 * order, and no part of a key is hidden from a range. The byte 00 ends a key where something follows: the gateway
 * refuses keys that contain U+0000, no other character's UTF-8 contains the byte 00, and 00 sorts before every
 * byte that could go on instead, so `a` with all its versions comes before `a\x01`. The longest: 1 + 16 + 4 +
 * 1,024 + 1 + 14 = 1,060 bytes, well under LMDB's 1,978.
 *
 * Other folders' keys begin with a lower-case word and a slash (`session/…`, `placement/…`), so kinds never meet.
 */

export const KEY = {
  bucket: 0x42,
  state: 0x49,
  live: 0x4c,
  marker: 0x4d,
  version: 0x56,
  upload: 0x55,
  part: 0x50,
  finished: 0x46,
  trash: 0x54,
} as const;

export type KeyKind = (typeof KEY)[keyof typeof KEY];

/** From, inclusive, and to, exclusive. */
export interface KeyRange {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
}

/** S3's limit on an object key, in UTF-8. */
export const OBJECT_KEY_BYTES_MAX = 1024;
/** Random bytes that tell one write of the index from every other. */
export const NONCE_BYTES = 14;
/** Six bytes of time and a nonce. */
export const UPLOAD_ID_BYTES = 20;
/** Sequence numbers and times are six bytes in ids: 2^48 − 1. */
export const SEQUENCE_MAX = 2 ** 48 - 1;

const BUCKET_ID_BYTES = 16;
const KEY_START = 1 + BUCKET_ID_BYTES;
const SEQUENCE_BYTES = 6;
const VERSION_SUFFIX_BYTES = 1 + SEQUENCE_BYTES;
const SLOT_BYTES = 4;
/** 2^22 ms: 70 minutes. Short enough that little waits too long, long enough that a lookup by key tries few slots. */
const SLOT_MS = 2 ** 22;

// Buckets.

export function bucketKey(name: string): Buffer {
  return named(KEY.bucket, name);
}

export function bucketStateKey(name: string): Buffer {
  return named(KEY.state, name);
}

export function bucketNameOf(key: Uint8Array): string {
  return asBuffer(key).toString("utf8", 1);
}

/** Bucket records with names that begin with `prefix` and come after `after`. */
export function bucketRange(request: { prefix: string; after: string }): KeyRange {
  const prefix = named(KEY.bucket, request.prefix);
  const after = named(KEY.bucket, `${request.after}\0`);
  const from = request.after !== "" && after.compare(prefix) > 0 ? after : prefix;
  return { from, to: afterPrefix(prefix) };
}

// Versions.

/** The two keys of which at most one exists: where a key's current version is. */
export function liveKey(bucketId: string, key: string): Buffer {
  return keyed(KEY.live, bucketId, key, 0);
}

export function markerKey(bucketId: string, key: string): Buffer {
  return keyed(KEY.marker, bucketId, key, 0);
}

export function olderVersionKey(bucketId: string, key: string, sequence: number): Buffer {
  const bytes = keyed(KEY.version, bucketId, key, VERSION_SUFFIX_BYTES);
  writeInverted(bytes, bytes.length - SEQUENCE_BYTES, sequence);
  bytes[bytes.length - VERSION_SUFFIX_BYTES] = 0;
  return bytes;
}

/** A key's older versions; `below`: only those with a smaller sequence number. */
export function olderVersionsRange(
  bucketId: string,
  key: string,
  below = SEQUENCE_MAX + 1,
): KeyRange {
  const to = keyed(KEY.version, bucketId, key, 1);
  to[to.length - 1] = 1;
  return { from: olderVersionKey(bucketId, key, below - 1), to };
}

/** The object key in a live or marker key. */
export function objectKeyOf(key: Uint8Array): string {
  return asBuffer(key).toString("utf8", KEY_START);
}

export function olderVersionOf(key: Uint8Array): { key: string; sequence: number } {
  const bytes = asBuffer(key);
  return {
    key: bytes.toString("utf8", KEY_START, bytes.length - VERSION_SUFFIX_BYTES),
    sequence: readInverted(bytes, bytes.length - SEQUENCE_BYTES),
  };
}

// Uploads.

export function uploadKey(bucketId: string, key: string, uploadId: Uint8Array): Buffer {
  const bytes = keyed(KEY.upload, bucketId, key, 1 + UPLOAD_ID_BYTES);
  bytes[bytes.length - UPLOAD_ID_BYTES - 1] = 0;
  bytes.set(uploadId, bytes.length - UPLOAD_ID_BYTES);
  return bytes;
}

export function uploadOf(key: Uint8Array): { key: string; uploadId: Buffer } {
  const bytes = asBuffer(key);
  const end = bytes.length - UPLOAD_ID_BYTES;
  return { key: bytes.toString("utf8", KEY_START, end - 1), uploadId: bytes.subarray(end) };
}

export function partKey(bucketId: string, uploadId: Uint8Array, number: number): Buffer {
  const bytes = underUpload(KEY.part, bucketId, uploadId, 2);
  bytes.writeUInt16BE(number, bytes.length - 2);
  return bytes;
}

export function partNumberOf(key: Uint8Array): number {
  return asBuffer(key).readUInt16BE(key.length - 2);
}

/** Parts of one upload with numbers above `after`. */
export function partsRange(bucketId: string, uploadId: Uint8Array, after = 0): KeyRange {
  const from = partKey(bucketId, uploadId, after + 1);
  return { from, to: afterPrefix(underUpload(KEY.part, bucketId, uploadId, 0)) };
}

export function finishedUploadKey(bucketId: string, uploadId: Uint8Array): Buffer {
  return underUpload(KEY.finished, bucketId, uploadId, 0);
}

export function finishedUploadOf(key: Uint8Array): { bucketId: string; uploadId: Buffer } {
  const bytes = asBuffer(key);
  return { bucketId: bytes.toString("hex", 1, KEY_START), uploadId: bytes.subarray(KEY_START) };
}

/** Finished uploads of all buckets. */
export const FINISHED_UPLOADS: KeyRange = kindRange(KEY.finished);

// Trash.

/** All trash; within a bucket in order of time, to the slot. */
export const TRASH: KeyRange = kindRange(KEY.trash);

export function trashKey(trash: {
  bucketId: string;
  trashedMs: number;
  key: string;
  nonce: Uint8Array;
}): Buffer {
  const bytes = trashKeyed(trash, 1 + NONCE_BYTES);
  bytes[bytes.length - NONCE_BYTES - 1] = 0;
  bytes.set(trash.nonce, bytes.length - NONCE_BYTES);
  return bytes;
}

export function trashOf(key: Uint8Array): {
  bucketId: string;
  slot: number;
  key: string;
  nonce: Buffer;
} {
  const bytes = asBuffer(key);
  const end = bytes.length - NONCE_BYTES;
  return {
    bucketId: bytes.toString("hex", 1, KEY_START),
    slot: bytes.readUInt32BE(KEY_START),
    key: bytes.toString("utf8", KEY_START + SLOT_BYTES, end - 1),
    nonce: bytes.subarray(end),
  };
}

/** One bucket's trash of the slots up to that of `untilMs`, this one included: compare each record's `trashedMs`. */
export function trashUntil(bucketId: string, untilMs: number): KeyRange {
  const from = keyed(KEY.trash, bucketId, "", 0);
  const last = trashKeyed({ bucketId, trashedMs: untilMs, key: "" }, 0);
  return { from, to: afterPrefix(last) };
}

/** What one slot holds of one object key. */
export function trashInSlot(bucketId: string, slot: number, key: string): KeyRange {
  const from = trashKeyed({ bucketId, trashedMs: slotMs(slot), key }, 1);
  from[from.length - 1] = 0;
  return { from, to: afterPrefix(from) };
}

/** Where the trash of a slot begins. */
export function trashSlotStart(bucketId: string, slot: number): Buffer {
  return trashKeyed({ bucketId, trashedMs: slotMs(slot), key: "" }, 0);
}

export function trashSlot(ms: number): number {
  return Math.floor(ms / SLOT_MS);
}

/** The first moment of a slot. */
export function slotMs(slot: number): number {
  return slot * SLOT_MS;
}

// Ranges.

/** A whole kind, or what one bucket has of it. */
export function kindRange(kind: KeyKind, bucketId?: string): KeyRange {
  const from = bucketId === undefined ? Buffer.of(kind) : keyed(kind, bucketId, "", 0);
  return { from, to: afterPrefix(from) };
}

/** First key behind all keys of the bucket that `key` belongs to: how to seek from bucket to bucket within a kind. */
export function afterBucket(key: Uint8Array): Buffer {
  return afterPrefix(key.subarray(0, KEY_START));
}

export function bucketIdOf(key: Uint8Array): string {
  return asBuffer(key).toString("hex", 1, KEY_START);
}

/** The prefix of live, marker, version and upload keys: an object key's first characters may be cut anywhere between two. */
export function keyPrefix(
  kind: typeof KEY.live | typeof KEY.marker | typeof KEY.version | typeof KEY.upload,
  bucketId: string,
  prefix: string,
): Buffer {
  return keyed(kind, bucketId, prefix, 0);
}

/** The smallest key greater than every key that begins with `prefix`. */
export function afterPrefix(prefix: Uint8Array): Buffer {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length -= 1;
  if (length === 0) throw new Error("Cannot end a range: its prefix holds nothing but 0xff");
  const bytes = Buffer.from(prefix.subarray(0, length));
  bytes[length - 1] = (bytes[length - 1] ?? 0) + 1;
  return bytes;
}

/** The smallest key greater than `key`. */
export function afterKey(key: Uint8Array): Buffer {
  const bytes = Buffer.alloc(key.length + 1);
  bytes.set(key);
  return bytes;
}

export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes)
    ? bytes
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function named(kind: KeyKind, name: string): Buffer {
  const bytes = Buffer.from(`?${name}`);
  bytes[0] = kind;
  return bytes;
}

/** Kind, bucket id and object key, with `extra` bytes behind them for the caller to fill. */
function keyed(kind: KeyKind, bucketId: string, key: string, extra: number): Buffer {
  const length = Buffer.byteLength(key);
  const bytes = Buffer.allocUnsafe(KEY_START + length + extra);
  bytes[0] = kind;
  writeBucketId(bytes, bucketId);
  bytes.write(key, KEY_START, "utf8");
  return bytes;
}

function trashKeyed(
  trash: { bucketId: string; trashedMs: number; key: string },
  extra: number,
): Buffer {
  const start = KEY_START + SLOT_BYTES;
  const length = Buffer.byteLength(trash.key);
  const bytes = Buffer.allocUnsafe(start + length + extra);
  bytes[0] = KEY.trash;
  writeBucketId(bytes, trash.bucketId);
  bytes.writeUInt32BE(trashSlot(trash.trashedMs), KEY_START);
  bytes.write(trash.key, start, "utf8");
  return bytes;
}

function underUpload(kind: KeyKind, bucketId: string, uploadId: Uint8Array, extra: number): Buffer {
  const bytes = Buffer.allocUnsafe(KEY_START + UPLOAD_ID_BYTES + extra);
  bytes[0] = kind;
  writeBucketId(bytes, bucketId);
  bytes.set(uploadId, KEY_START);
  return bytes;
}

function writeBucketId(bytes: Buffer, bucketId: string): void {
  // A shorter id would leave bytes of an earlier use of this memory in the key.
  if (
    bucketId.length !== 2 * BUCKET_ID_BYTES ||
    bytes.write(bucketId, 1, "hex") !== BUCKET_ID_BYTES
  ) {
    throw new Error(`Cannot spell a key: ${bucketId} is not a bucket id`);
  }
}

function writeInverted(bytes: Buffer, offset: number, sequence: number): void {
  bytes.writeUIntBE(SEQUENCE_MAX - sequence, offset, SEQUENCE_BYTES);
}

function readInverted(bytes: Buffer, offset: number): number {
  return SEQUENCE_MAX - bytes.readUIntBE(offset, SEQUENCE_BYTES);
}
