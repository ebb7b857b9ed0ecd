/** What the index says of one key at one revision: the bucket's state and the current version, live or marker. */
import { bucketStateKey, liveKey, markerKey, olderVersionKey } from "#metadata/keys.ts";
import type { Entry, Expectation, MetadataStore } from "#metadata/metadata-store.ts";
import { type BucketStateRecord, decodeBucketState } from "#metadata/record-bucket.ts";
import { decodeVersion, type VersionRecord } from "#metadata/record-version.ts";
import { UnreadableRecord } from "#metadata/record-wire.ts";
import type { Bucket } from "#objects/model.ts";

/** The current version of a key and where it stands. */
export interface Head {
  readonly version: VersionRecord;
  readonly entry: Entry;
}

export interface KeyView {
  readonly bucketId: string;
  readonly key: string;
  readonly versioning: BucketStateRecord["versioning"];
  readonly head: Head | undefined;
  /** The bucket's state and both possible heads: every commit of the key compares them. */
  readonly expect: readonly Expectation[];
}

/** A bucket's state as a writer finds it. */
export type BucketPresence = "gone" | "deleting" | BucketStateRecord;

export async function readKey(
  store: MetadataStore,
  bucket: Bucket,
  key: string,
  signal?: AbortSignal,
): Promise<KeyView | "gone" | "deleting"> {
  const state = bucketStateKey(bucket.name);
  const live = liveKey(bucket.id, key);
  const marker = markerKey(bucket.id, key);
  const ahead = bucket.ahead?.take(key)?.whole;
  const [stateEntry, liveEntry, markerEntry] =
    ahead ?? (await store.getMany([state, live, marker], signal));
  const presence = bucketPresence(bucket, stateEntry);
  if (typeof presence === "string") return presence;
  return {
    bucketId: bucket.id,
    key,
    versioning: presence.versioning,
    head: headOf(key, liveEntry, markerEntry),
    expect: [
      { key: state, revision: stateEntry?.revision ?? 0 },
      { key: live, revision: liveEntry?.revision ?? 0 },
      { key: marker, revision: markerEntry?.revision ?? 0 },
    ],
  };
}

export function bucketPresence(bucket: Bucket, entry: Entry | undefined): BucketPresence {
  if (entry === undefined) return "gone";
  const state = decodeBucketState(entry.value);
  if (state.id !== bucket.id) return "gone";
  return state.isDeleting ? "deleting" : state;
}

export function headOf(
  key: string,
  live: Entry | undefined,
  marker: Entry | undefined,
): Head | undefined {
  if (live !== undefined && marker !== undefined) {
    throw new UnreadableRecord(`Cannot tell the current version of ${key}: there are two`);
  }
  const entry = live ?? marker;
  return entry && { entry, version: decodeVersion(key, entry.value) };
}

/** An older version that is known to be there. */
export interface Older {
  readonly version: VersionRecord;
  readonly entry: Entry;
}

export async function readOlder(
  store: MetadataStore,
  place: { bucketId: string; key: string; sequence: number },
  signal?: AbortSignal,
): Promise<Older | undefined> {
  const { bucketId, key, sequence } = place;
  const entry = await store.get(olderVersionKey(bucketId, key, sequence), signal);
  return entry && { entry, version: decodeVersion(key, entry.value) };
}

export function presentExpectation({ key, revision }: Entry): Expectation {
  return { key, revision };
}
