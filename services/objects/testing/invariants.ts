/** What the index promises of a bucket at every moment (version-changes.ts), checked over all of its keys. */
import { KEY, type KeyKind, kindRange, objectKeyOf, olderVersionOf } from "#metadata/keys.ts";
import type { Entry, MetadataStore } from "#metadata/metadata-store.ts";
import { decodeVersion, type VersionRecord } from "#metadata/record-version.ts";

/** Each broken promise as a sentence; none when all is well. */
export async function brokenInvariants(
  store: MetadataStore,
  bucketId: string,
): Promise<readonly string[]> {
  const broken: string[] = [];
  const heads = new Map<string, VersionRecord>();
  for (const [kind, isMarker] of [
    [KEY.live, false],
    [KEY.marker, true],
  ] as const) {
    for (const entry of await all(store, kind, bucketId)) {
      const key = objectKeyOf(entry.key);
      const version = decodeVersion(key, entry.value);
      if (heads.has(key)) broken.push(`${key} has a live head and a marker`);
      if (version.isDeleteMarker !== isMarker) broken.push(`${key} has a head of the other kind`);
      heads.set(key, version);
    }
  }
  const older = new Map<string, VersionRecord[]>();
  for (const entry of await all(store, KEY.version, bucketId)) {
    const { key, sequence } = olderVersionOf(entry.key);
    const version = decodeVersion(key, entry.value);
    if (version.sequence !== sequence) broken.push(`${key} has a version at another's place`);
    if (version.nullSequence !== 0)
      broken.push(`${key} has an older version that names a null one`);
    const versions = older.get(key) ?? [];
    if ((versions.at(-1)?.sequence ?? Number.MAX_VALUE) <= sequence) {
      broken.push(`${key} has older versions out of order`);
    }
    older.set(key, [...versions, version]);
  }
  for (const [key, versions] of older) {
    const head = heads.get(key);
    if (head === undefined) broken.push(`${key} has older versions and no head`);
    else if (head.sequence <= (versions[0]?.sequence ?? 0)) {
      broken.push(`${key} has an older version above its head`);
    }
  }
  for (const [key, head] of heads) {
    const nulls = [head, ...(older.get(key) ?? [])].filter(({ isNull }) => isNull);
    if (nulls.length > 1) broken.push(`${key} has ${nulls.length} null versions`);
    const named = head.isNull ? 0 : (nulls[0]?.sequence ?? 0);
    if (head.nullSequence !== named) {
      broken.push(`${key} names null version ${head.nullSequence}, but it is ${named}`);
    }
  }
  return broken;
}

export async function all(
  store: MetadataStore,
  kind: KeyKind,
  bucketId?: string,
): Promise<readonly Entry[]> {
  return (await store.range({ ...kindRange(kind, bucketId), limit: 1_000_000 })).entries;
}
