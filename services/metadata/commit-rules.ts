/** What makes a commit acceptable, the same for every driver, so that none takes what another would refuse. */
import { asBuffer } from "#metadata/keys.ts";
import {
  COMMIT_BYTES_MAX,
  COMMIT_OPERATIONS_MAX,
  type Commit,
  KEY_BYTES_MAX,
} from "#metadata/metadata-store.ts";

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
  const seen = new Set<string>();
  for (const { key } of put) seen.add(asBuffer(key).toString("latin1"));
  for (const key of remove) seen.add(asBuffer(key).toString("latin1"));
  if (seen.size < put.length + remove.length) {
    throw new Error("Cannot commit: a key is changed twice");
  }
}
