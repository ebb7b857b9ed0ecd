/**
 * The bytes of an index log.
 *
 *     header   u32 magic | u32 format | f64 log number | f64 group before the first | 16 B index id | 16 B nonce | u32 CRC | 0…   64 bytes
 *     entry    u32 magic | u32 CRC of the rest of the head | f64 group | u32 payload length | u32 payload CRC | u32 commits | 0…  32 bytes
 *              payload: for each commit  u16 place | u16 puts | u16 removals | u16 0 | u32 bytes | changes as in commit-group.ts
 *              padded with zeros to a multiple of 64
 *
 * Little-endian; every CRC is CRC32C. Those of entries begin with the log's nonce, which no client knows: bytes that
 * a client chose, or that an earlier log left, are never taken for an entry.
 */
import { crc32c } from "#lib/crc32c.ts";
import type { PackedCommit } from "#metadata/commit-group.ts";

export interface LogHeader {
  readonly log: number;
  /** The last group committed before this log began: its first entry has the next number. */
  readonly after: number;
  readonly indexId: string;
  readonly nonce: Buffer;
}

export interface EntryHead {
  readonly group: number;
  readonly payloadBytes: number;
  readonly payloadCrc: number;
  readonly commits: number;
}

/** A commit of a group, by its place there, with what it changes. */
export interface LoggedCommit {
  readonly place: number;
  readonly commit: Pick<PackedCommit, "puts" | "removals" | "changes">;
}

export const HEADER_BYTES = 64;
export const ENTRY_HEAD_BYTES = 32;
export const ENTRY_ALIGNMENT = 64;
export const NONCE_BYTES = 16;
const HEADER_MAGIC = 0x6c69_6241;
const ENTRY_MAGIC = 0x6e65_6241;
const FORMAT = 1;
const COMMIT_HEAD_BYTES = 12;
const INDEX_ID_BYTES = 16;

export function encodeHeader({ log, after, indexId, nonce }: LogHeader): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.writeUInt32LE(HEADER_MAGIC, 0);
  bytes.writeUInt32LE(FORMAT, 4);
  bytes.writeDoubleLE(log, 8);
  bytes.writeDoubleLE(after, 16);
  bytes.write(indexId, 24, INDEX_ID_BYTES, "hex");
  bytes.set(nonce, 40);
  bytes.writeUInt32LE(crc32c(bytes.subarray(0, 56)), 56);
  return bytes;
}

/** Undefined when these bytes are no header. */
export function decodeHeader(bytes: Buffer): LogHeader | undefined {
  if (bytes.length < HEADER_BYTES || bytes.readUInt32LE(0) !== HEADER_MAGIC) return undefined;
  if (bytes.readUInt32LE(56) !== crc32c(bytes.subarray(0, 56))) return undefined;
  const format = bytes.readUInt32LE(4);
  if (format !== FORMAT) {
    throw new Error(
      `Cannot read index log: its format is ${format}, the newest known here is ${FORMAT}`,
    );
  }
  return {
    log: bytes.readDoubleLE(8),
    after: bytes.readDoubleLE(16),
    indexId: bytes.toString("hex", 24, 24 + INDEX_ID_BYTES),
    nonce: Buffer.from(bytes.subarray(40, 56)),
  };
}

export function encodeEntry(
  group: number,
  commits: readonly LoggedCommit[],
  nonce: Buffer,
): Buffer {
  let payloadBytes = 0;
  for (const { commit } of commits) payloadBytes += COMMIT_HEAD_BYTES + commit.changes.length;
  const entry = Buffer.allocUnsafe(entryBytes(payloadBytes));
  let place = ENTRY_HEAD_BYTES;
  for (const { place: number, commit } of commits) {
    entry.writeUInt16LE(number, place);
    entry.writeUInt16LE(commit.puts, place + 2);
    entry.writeUInt16LE(commit.removals, place + 4);
    entry.writeUInt16LE(0, place + 6);
    entry.writeUInt32LE(commit.changes.length, place + 8);
    entry.set(commit.changes, place + COMMIT_HEAD_BYTES);
    place += COMMIT_HEAD_BYTES + commit.changes.length;
  }
  entry.fill(0, place);
  const seed = crc32c(nonce);
  entry.writeUInt32LE(ENTRY_MAGIC, 0);
  entry.writeDoubleLE(group, 8);
  entry.writeUInt32LE(payloadBytes, 16);
  entry.writeUInt32LE(crc32c(entry.subarray(ENTRY_HEAD_BYTES, place), seed), 20);
  entry.writeUInt32LE(commits.length, 24);
  entry.writeUInt32LE(0, 28);
  entry.writeUInt32LE(crc32c(entry.subarray(8, ENTRY_HEAD_BYTES), seed), 4);
  return entry;
}

/** Undefined when no entry of this log begins here. */
export function decodeEntryHead(bytes: Buffer, nonce: Buffer): EntryHead | undefined {
  if (bytes.length < ENTRY_HEAD_BYTES || bytes.readUInt32LE(0) !== ENTRY_MAGIC) return undefined;
  if (bytes.readUInt32LE(4) !== crc32c(bytes.subarray(8, ENTRY_HEAD_BYTES), crc32c(nonce))) {
    return undefined;
  }
  return {
    group: bytes.readDoubleLE(8),
    payloadBytes: bytes.readUInt32LE(16),
    payloadCrc: bytes.readUInt32LE(20),
    commits: bytes.readUInt32LE(24),
  };
}

export function isPayloadOf({ payloadCrc }: EntryHead, payload: Buffer, nonce: Buffer): boolean {
  return crc32c(payload, crc32c(nonce)) === payloadCrc;
}

export function decodeCommits(payload: Buffer, count: number): readonly LoggedCommit[] {
  const commits: LoggedCommit[] = [];
  for (let place = 0; commits.length < count; ) {
    const start = place + COMMIT_HEAD_BYTES;
    const end = start + payload.readUInt32LE(place + 8);
    commits.push({
      place: payload.readUInt16LE(place),
      commit: {
        puts: payload.readUInt16LE(place + 2),
        removals: payload.readUInt16LE(place + 4),
        changes: payload.subarray(start, end),
      },
    });
    place = end;
  }
  return commits;
}

/** With head and padding. */
export function entryBytes(payloadBytes: number): number {
  return Math.ceil((ENTRY_HEAD_BYTES + payloadBytes) / ENTRY_ALIGNMENT) * ENTRY_ALIGNMENT;
}
