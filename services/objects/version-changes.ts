/**
 * How a key's versions change, as one transaction each; pure. Every change keeps what the index promises of a key:
 *
 * 1. At most one of its live key and its marker key exists: its head, the newest version.
 * 2. Older versions exist only below a head, with smaller sequence numbers than the head's and than each newer one's.
 * 3. At most one version is the null version; when it is an older one, the head's `nullSequence` says which.
 * 4. Bytes that a version loses go to the trash in the same transaction.
 */
import { liveKey, markerKey, olderVersionKey, trashKey } from "#metadata/keys.ts";
import type { Commit, Expectation, Put } from "#metadata/metadata-store.ts";
import { encodeVersion, type VersionRecord } from "#metadata/record-version.ts";
import { encodeTrash } from "#metadata/records.ts";
import { type KeyView, type Older, presentExpectation } from "#objects/key-view.ts";

/** A version before it has its place in the order. */
export type NewVersion = Omit<
  VersionRecord,
  "versionId" | "sequence" | "isNull" | "nullSequence"
> & { readonly isNull: boolean };

export interface VersionChange {
  readonly commit: Commit;
  /** The put that carries the new version, or the trash of the one removed. */
  readonly proof: Put | undefined;
}

/**
 * Makes a version the head. `older` is the null version among the older ones, which a new null version replaces;
 * undefined when the view names none.
 */
export function pushVersion(change: {
  view: KeyView;
  version: VersionRecord;
  replaced: Older | undefined;
  trashedMs: number;
}): VersionChange {
  const { view, version, replaced, trashedMs } = change;
  const expect: Expectation[] = [...view.expect];
  const put: Put[] = [];
  const remove: Uint8Array[] = [];
  const headKey = headKeyOf(view, version);
  const proof = { key: headKey, value: encodeVersion(version) };
  put.push(proof);
  if (view.head !== undefined) {
    const previous = view.head.version;
    if (previous.isDeleteMarker !== version.isDeleteMarker) remove.push(view.head.entry.key);
    if (previous.isNull && version.isNull) putTrash(put, view, previous, trashedMs);
    else put.push(asOlder(view, view.head));
  }
  if (replaced !== undefined) {
    expect.push(presentExpectation(replaced.entry));
    remove.push(replaced.entry.key);
    putTrash(put, view, replaced.version, trashedMs);
  }
  return { commit: { expect, put, remove }, proof };
}

/** The sequence number of the null version that a new version leaves among the older ones. */
export function nullSequenceBelow(view: KeyView, version: { isNull: boolean }): number {
  const previous = view.head?.version;
  if (previous === undefined || version.isNull) return 0;
  return previous.isNull ? previous.sequence : previous.nullSequence;
}

export function nextSequence(view: KeyView): number {
  return (view.head?.version.sequence ?? 0) + 1;
}

/** Removes the head; `next`, the newest older version, takes its place. */
export function removeHead(change: {
  view: KeyView;
  next: Older | undefined;
  trashedMs: number;
}): VersionChange {
  const { view, next, trashedMs } = change;
  const { head } = view;
  if (head === undefined) throw new Error(`Cannot remove the head of ${view.key}: there is none`);
  const expect: Expectation[] = [...view.expect];
  const put: Put[] = [];
  const remove: Uint8Array[] = [];
  const proof = putTrash(put, view, head.version, trashedMs);
  if (next === undefined) {
    remove.push(head.entry.key);
  } else {
    expect.push(presentExpectation(next.entry));
    remove.push(next.entry.key);
    const nullSequence = next.version.isNull ? 0 : head.version.nullSequence;
    const promoted = { ...next.version, nullSequence };
    put.push({ key: headKeyOf(view, promoted), value: encodeVersion(promoted) });
    if (promoted.isDeleteMarker !== head.version.isDeleteMarker) remove.push(head.entry.key);
  }
  return { commit: { expect, put, remove }, proof };
}

/** Removes an older version. */
export function removeOlder(change: {
  view: KeyView;
  older: Older;
  trashedMs: number;
}): VersionChange {
  const { view, older, trashedMs } = change;
  const expect = [...view.expect, presentExpectation(older.entry)];
  const put: Put[] = [];
  const proof = putTrash(put, view, older.version, trashedMs);
  if (older.version.isNull && view.head !== undefined) {
    const head = { ...view.head.version, nullSequence: 0 };
    put.push({ key: view.head.entry.key, value: encodeVersion(head) });
  }
  return { commit: { expect, put, remove: [older.entry.key] }, proof };
}

/** Stores a version again at its place, with other tags or another ACL. */
export function replaceVersion(change: {
  view: KeyView;
  place: Older;
  version: VersionRecord;
}): VersionChange {
  const { view, place, version } = change;
  const proof = { key: place.entry.key, value: encodeVersion(version) };
  const expect =
    view.head?.entry === place.entry
      ? view.expect
      : [...view.expect, presentExpectation(place.entry)];
  return { commit: { expect, put: [proof], remove: [] }, proof };
}

function headKeyOf(view: KeyView, version: VersionRecord): Buffer {
  return version.isDeleteMarker
    ? markerKey(view.bucketId, view.key)
    : liveKey(view.bucketId, view.key);
}

function asOlder(view: KeyView, head: Older): Put {
  const { version, entry } = head;
  return {
    key: olderVersionKey(view.bucketId, view.key, version.sequence),
    value:
      version.nullSequence === 0 ? entry.value : encodeVersion({ ...version, nullSequence: 0 }),
  };
}

function putTrash(
  put: Put[],
  view: KeyView,
  version: VersionRecord,
  trashedMs: number,
): Put | undefined {
  const trash = trashOfVersion(view.bucketId, version, trashedMs);
  if (trash !== undefined) put.push(trash);
  return trash;
}

/** undefined when the version has no bytes. */
export function trashOfVersion(
  bucketId: string,
  version: VersionRecord,
  trashedMs: number,
): Put | undefined {
  const { key, nonce, manifest } = version;
  const extents = [...version.extents, ...version.parts.flatMap((part) => part.extents)];
  if (extents.length === 0 && manifest === undefined) return undefined;
  return {
    key: trashKey({ bucketId, trashedMs, key, nonce }),
    value: encodeTrash({ trashedMs, extents, manifest }),
  };
}
