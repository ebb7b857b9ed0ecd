/**
 * Commits that travel together to the writer thread, as one block of bytes that changes hands without a copy.
 *
 *     commit        u16 expectations | u16 puts | u16 removals | u16 is essential | u32 bytes of expectations | u32 bytes of changes
 *     expectation   f64 revision | u16 key length | key
 *     put           u16 key length | u32 value length | key | value
 *     removal       u16 key length | key
 *
 * All little-endian. The changes stand last and in one piece, because the index log keeps them as they are.
 */
import { asBuffer } from "#metadata/keys.ts";
import type { Commit } from "#metadata/metadata-store.ts";

/** Each commit of a group has a revision of its own: group × 128 + place. */
export const GROUP_COMMITS_MAX = 128;
/** Bounds the memory of a group, and how long LMDB's writer lock is held for it. */
export const GROUP_BYTES_MAX = 4 * 1024 * 1024;

const COMMIT_HEAD_BYTES = 16;
const EXPECTATION_HEAD_BYTES = 10;
const PUT_HEAD_BYTES = 6;
const REMOVAL_HEAD_BYTES = 2;

/** Bytes that the commit takes in a group. */
export function packedBytes({ expect, put, remove }: Commit): number {
  let bytes = COMMIT_HEAD_BYTES;
  for (const { key } of expect) bytes += EXPECTATION_HEAD_BYTES + key.length;
  for (const { key, value } of put) bytes += PUT_HEAD_BYTES + key.length + value.length;
  for (const key of remove) bytes += REMOVAL_HEAD_BYTES + key.length;
  return bytes;
}

/** `bytes`: the sum of the commits' own. The result owns its memory, so that it can be handed over. */
export function packGroup(commits: readonly Commit[], bytes: number): Buffer<ArrayBuffer> {
  const group = Buffer.allocUnsafeSlow(bytes);
  let place = 0;
  for (const commit of commits) place = packCommit(group, place, commit);
  return group;
}

function packCommit(group: Buffer, start: number, commit: Commit): number {
  const { expect, put, remove, isEssential } = commit;
  group.writeUInt16LE(expect.length, start);
  group.writeUInt16LE(put.length, start + 2);
  group.writeUInt16LE(remove.length, start + 4);
  group.writeUInt16LE(isEssential === true ? 1 : 0, start + 6);
  let place = start + COMMIT_HEAD_BYTES;
  for (const { key, revision } of expect) {
    group.writeDoubleLE(revision, place);
    group.writeUInt16LE(key.length, place + 8);
    group.set(key, place + EXPECTATION_HEAD_BYTES);
    place += EXPECTATION_HEAD_BYTES + key.length;
  }
  const changes = place;
  for (const { key, value } of put) {
    group.writeUInt16LE(key.length, place);
    group.writeUInt32LE(value.length, place + 2);
    group.set(key, place + PUT_HEAD_BYTES);
    group.set(value, place + PUT_HEAD_BYTES + key.length);
    place += PUT_HEAD_BYTES + key.length + value.length;
  }
  for (const key of remove) {
    group.writeUInt16LE(key.length, place);
    group.set(key, place + REMOVAL_HEAD_BYTES);
    place += REMOVAL_HEAD_BYTES + key.length;
  }
  group.writeUInt32LE(changes - start - COMMIT_HEAD_BYTES, start + 8);
  group.writeUInt32LE(place - changes, start + 12);
  return place;
}

/** A commit as the writer sees it: views into the group's bytes. */
export interface PackedCommit {
  readonly expectations: number;
  readonly puts: number;
  readonly removals: number;
  readonly isEssential: boolean;
  readonly expected: Buffer;
  readonly changes: Buffer;
}

export function unpackGroup(bytes: Uint8Array): readonly PackedCommit[] {
  const group = asBuffer(bytes);
  const commits: PackedCommit[] = [];
  for (let place = 0; place < group.length; ) {
    const expected = place + COMMIT_HEAD_BYTES;
    const changes = expected + group.readUInt32LE(place + 8);
    const end = changes + group.readUInt32LE(place + 12);
    commits.push({
      expectations: group.readUInt16LE(place),
      puts: group.readUInt16LE(place + 2),
      removals: group.readUInt16LE(place + 4),
      isEssential: group.readUInt16LE(place + 6) === 1,
      expected: group.subarray(expected, changes),
      changes: group.subarray(changes, end),
    });
    place = end;
  }
  return commits;
}

/** Calls back for each expectation in order until one answers false; answers whether all held. */
export function everyExpectation(
  { expectations, expected }: PackedCommit,
  holds: (key: Buffer, revision: number) => boolean,
): boolean {
  let place = 0;
  for (let index = 0; index < expectations; index++) {
    const start = place + EXPECTATION_HEAD_BYTES;
    const end = start + expected.readUInt16LE(place + 8);
    if (!holds(expected.subarray(start, end), expected.readDoubleLE(place))) return false;
    place = end;
  }
  return true;
}

/** What a transaction can do to a key. */
export interface Changes {
  put(key: Buffer, value: Buffer): void;
  remove(key: Buffer): void;
}

/** Applies puts, then removals, as they stand in the bytes; throws when the bytes are too few. */
export function applyChanges(
  { puts, removals, changes }: Pick<PackedCommit, "puts" | "removals" | "changes">,
  to: Changes,
): void {
  let place = 0;
  for (let index = 0; index < puts; index++) {
    const start = place + PUT_HEAD_BYTES;
    const middle = start + changes.readUInt16LE(place);
    const end = middle + changes.readUInt32LE(place + 2);
    to.put(changes.subarray(start, middle), changes.subarray(middle, end));
    place = end;
  }
  for (let index = 0; index < removals; index++) {
    const start = place + REMOVAL_HEAD_BYTES;
    const end = start + changes.readUInt16LE(place);
    to.remove(changes.subarray(start, end));
    place = end;
  }
}
