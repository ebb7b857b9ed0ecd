/** What makes a commit acceptable, the same for every driver, so that none takes what another would refuse. */
import { asBuffer } from "#metadata/keys.ts";
import {
  COMMIT_BYTES_MAX,
  COMMIT_OPERATIONS_MAX,
  type Commit,
  KEY_BYTES_MAX,
} from "#metadata/metadata-store.ts";

/** Comparing so few keys with each other costs less than naming them. */
const PAIRWISE_MAX = 8;
const NO_KEY = new Uint8Array(0);

/** Throws when the commit breaks a limit or names a key twice in put and remove: nothing has been written then. */
export function checkCommit(commit: Commit): void {
  const { expect, put, remove } = commit;
  if (expect.length > COMMIT_OPERATIONS_MAX || put.length + remove.length > COMMIT_OPERATIONS_MAX) {
    throw new Error(
      `Cannot commit: ${expect.length} expectations and ${put.length + remove.length} changes, at most ${COMMIT_OPERATIONS_MAX} of each`,
    );
  }
  let bytes = 0;
  for (const { key } of expect) bytes += checkedKey(key);
  for (const { key, value } of put) bytes += checkedKey(key) + value.length;
  for (const key of remove) bytes += checkedKey(key);
  if (bytes > COMMIT_BYTES_MAX) {
    throw new Error(`Cannot commit: ${bytes} bytes, at most ${COMMIT_BYTES_MAX}`);
  }
  if (put.length + remove.length > 1) checkDistinct(commit);
}

/** A pure delete is taken even when there is no room for new records (R20). */
export function isPureDelete(commit: Commit): boolean {
  return commit.put.length === 0;
}

function checkedKey(key: Uint8Array): number {
  if (key.length === 0) throw new Error("Cannot commit: a key is empty");
  if (key.length > KEY_BYTES_MAX) {
    throw new Error(`Cannot commit: a key has ${key.length} bytes, at most ${KEY_BYTES_MAX}`);
  }
  return key.length;
}

function checkDistinct({ put, remove }: Commit): void {
  const count = put.length + remove.length;
  const keyAt = (place: number): Uint8Array | undefined =>
    place < put.length ? put[place]?.key : remove[place - put.length];
  const isDistinct =
    count <= PAIRWISE_MAX ? areDistinct(count, keyAt) : haveDistinctNames(count, keyAt);
  if (!isDistinct) throw new Error("Cannot commit: a key is changed twice");
}

type KeyAt = (place: number) => Uint8Array | undefined;

/** Most pairs differ in length or in their last byte. */
function areDistinct(count: number, keyAt: KeyAt): boolean {
  for (let place = 1; place < count; place++) {
    const key = keyAt(place);
    for (let other = 0; other < place; other++) {
      const before = keyAt(other);
      if (key === undefined || before === undefined || key.length !== before.length) continue;
      if (key[key.length - 1] !== before[key.length - 1]) continue;
      if (Buffer.compare(key, before) === 0) return false;
    }
  }
  return true;
}

function haveDistinctNames(count: number, keyAt: KeyAt): boolean {
  const names = new Set<string>();
  for (let place = 0; place < count; place++) {
    names.add(asBuffer(keyAt(place) ?? NO_KEY).toString("latin1"));
  }
  return names.size === count;
}
