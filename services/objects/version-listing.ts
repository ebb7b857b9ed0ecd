/**
 * ListObjectVersions: keys ascending, each with its newest version first, markers in between. Three ranges of the
 * index are read side by side (live heads, marker heads, older versions) and merged.
 *
 * The ranges are read one after another, so a version may move between them meanwhile. Whatever moves one changes the
 * revision of its key's head; so when the page stands, the heads of its keys are looked at once more, and keys whose
 * heads have changed are read again, each by itself, until their heads stay the same around the reading of the rest.
 */
import { parseId } from "#metadata/ids.ts";
import {
  afterKey,
  afterPrefix,
  KEY,
  keyPrefix,
  liveKey,
  markerKey,
  objectKeyOf,
  olderVersionKey,
  olderVersionOf,
  olderVersionsRange,
  SEQUENCE_MAX,
} from "#metadata/keys.ts";
import type { Entry, MetadataStore } from "#metadata/metadata-store.ts";
import { decodeVersion, type VersionRecord } from "#metadata/record-version.ts";
import { headOf } from "#objects/key-view.ts";
import { commonPrefix, windowOf } from "#objects/listing.ts";
import type { ListEntry, ListedVersion, ListPage, ObjectLayer } from "#objects/object-layer.ts";
import { RangeCursor } from "#objects/range-cursor.ts";

type Request = Parameters<ObjectLayer["listVersions"]>[0];

/** Versions of one key, newest first, as far as the page can take them. */
interface KeyVersions {
  readonly key: string;
  readonly versions: readonly VersionRecord[];
  /** Revisions of live and marker key when they were read; 0: absent. */
  readonly heads: readonly [live: number, marker: number];
  /** Versions of sequence numbers below this one are wanted. */
  readonly below: number;
  /** The first version is the key's head, the latest. */
  readonly hasHead: boolean;
}

const ALL = Number.MAX_SAFE_INTEGER;

export async function listObjectVersions(
  store: MetadataStore,
  request: Request,
): Promise<ListPage<ListedVersion>> {
  if (request.limit === 0) return { entries: [], isTruncated: false };
  const page = await new VersionPage(store, request).read();
  const { bucket, limit, signal } = request;
  const keys = page.flatMap((group) => (typeof group === "string" ? [] : [group]));
  const stable = await settle(store, { bucketId: bucket.id, keys, limit, signal });
  const entries: ListEntry<ListedVersion>[] = [];
  for (const group of page) {
    if (typeof group === "string") entries.push({ kind: "prefix", prefix: group });
    else entries.push(...shown(stable.get(group.key) ?? group));
  }
  // Versions that went meanwhile may have left room, but what follows the page has not been read.
  const isTruncated = entries.length > limit || sizeOf(page) > limit;
  if (isTruncated && entries.length === 0) return listObjectVersions(store, request);
  return { entries: entries.length > limit ? entries.slice(0, limit) : entries, isTruncated };
}

function sizeOf(page: readonly (KeyVersions | string)[]): number {
  return page.reduce(
    (size, group) => size + (typeof group === "string" ? 1 : group.versions.length),
    0,
  );
}

/** One version more than the page takes, so that it is known whether it is the last. */
class VersionPage {
  readonly #store: MetadataStore;
  readonly #request: Request;
  readonly #live: RangeCursor;
  readonly #marker: RangeCursor;
  readonly #older: RangeCursor;
  /** Of the key given as `after`, when its list goes on behind one of its versions. */
  #resumed: { key: string; below: number } | undefined;

  constructor(store: MetadataStore, request: Request) {
    this.#store = store;
    this.#request = request;
    const cursor = (keyOf: (key: Uint8Array) => string) =>
      new RangeCursor({ store, batchMax: request.limit + 1, keyOf, signal: request.signal });
    this.#live = cursor(objectKeyOf);
    this.#marker = cursor(objectKeyOf);
    this.#older = cursor((key) => olderVersionOf(key).key);
  }

  async read(): Promise<readonly (KeyVersions | string)[]> {
    const { prefix, delimiter, limit } = this.#request;
    this.#resumed = await this.#resume();
    if (!this.#open()) return [];
    const groups: (KeyVersions | string)[] = [];
    let count = 0;
    while (count <= limit) {
      const key = await this.#nextKey();
      if (key === undefined) break;
      const common = commonPrefix(key, prefix, delimiter);
      if (common !== undefined) {
        groups.push(common);
        count += 1;
        this.#skip(common);
        continue;
      }
      const group = await this.#take(key, limit + 1 - count);
      count += group.versions.length;
      groups.push(group);
    }
    return groups;
  }

  /** Sequence numbers below which the first key's list goes on. */
  async #resume(): Promise<{ key: string; below: number } | undefined> {
    const { bucket, after, afterVersionId, prefix, delimiter, signal } = this.#request;
    if (after === "" || afterVersionId === undefined) return undefined;
    if (after.startsWith(prefix) && commonPrefix(after, prefix, delimiter)) return undefined;
    if (afterVersionId !== "null") {
      const id = parseId(afterVersionId);
      return id && { key: after, below: Math.max(id.order, 1) };
    }
    const keys = [liveKey(bucket.id, after), markerKey(bucket.id, after)];
    const [live, marker] = await this.#store.getMany(keys, signal);
    const head = headOf(after, live, marker)?.version;
    const sequence = head?.isNull ? head.sequence : head?.nullSequence;
    // A null version that has gone since cannot say where it was: the key's list starts anew.
    return { key: after, below: sequence === undefined || sequence === 0 ? ALL : sequence };
  }

  /** Sets the cursors to the page's start; false when nothing can follow. */
  #open(): boolean {
    const { bucket, prefix, delimiter, after } = this.#request;
    const bucketId = bucket.id;
    const base = { bucketId, prefix, delimiter, after };
    const behind = after === "" ? undefined : this.#behind(bucketId, after);
    const live = windowOf({ ...base, kind: KEY.live, behind: behind?.live });
    const marker = windowOf({ ...base, kind: KEY.marker, behind: behind?.marker });
    const older = windowOf({ ...base, kind: KEY.version, behind: behind?.older });
    if (live === undefined || marker === undefined || older === undefined) return false;
    this.#live.open(live);
    this.#marker.open(marker);
    this.#older.open(older);
    return true;
  }

  /** Where the three ranges go on: behind the key given, or within its versions. */
  #behind(bucketId: string, after: string): { live: Buffer; marker: Buffer; older: Buffer } {
    const live = liveKey(bucketId, after);
    const marker = markerKey(bucketId, after);
    if (this.#resumed === undefined) {
      const older = afterPrefix(keyPrefix(KEY.version, bucketId, `${after}\0`));
      return { live: afterKey(live), marker: afterKey(marker), older };
    }
    const newest = Math.min(this.#resumed.below - 1, SEQUENCE_MAX);
    return { live, marker, older: olderVersionKey(bucketId, after, newest) };
  }

  /** The smallest key that any of the three ranges goes on with. */
  async #nextKey(): Promise<string | undefined> {
    let next: string | undefined;
    for (const cursor of [this.#live, this.#marker, this.#older]) {
      if (cursor.isDry) await cursor.fill();
      const key = cursor.place?.key;
      if (key !== undefined && (next === undefined || precedes(key, next))) next = key;
    }
    return next;
  }

  /** All versions of the key that are wanted, no more than `max`; the cursors then stand behind the key. */
  async #take(key: string, max: number): Promise<KeyVersions> {
    const below = key === this.#resumed?.key ? this.#resumed.below : ALL;
    const live = takeHead(this.#live, key);
    const marker = takeHead(this.#marker, key);
    const versions: VersionRecord[] = [];
    for (const entry of [live, marker]) {
      if (entry === undefined) continue;
      const version = decodeVersion(key, entry.value);
      if (version.sequence < below) versions.push(version);
    }
    const hasHead = versions.length > 0;
    while (versions.length < max) {
      if (this.#older.isDry) await this.#older.fill();
      const place = this.#older.place;
      if (place?.key !== key) break;
      versions.push(decodeVersion(key, place.entry.value));
      this.#older.advance();
    }
    const heads = [live?.revision ?? 0, marker?.revision ?? 0] as const;
    return { key, versions, below, hasHead, heads };
  }

  #skip(common: string): void {
    const { id } = this.#request.bucket;
    this.#live.seek(afterPrefix(keyPrefix(KEY.live, id, common)));
    this.#marker.seek(afterPrefix(keyPrefix(KEY.marker, id, common)));
    this.#older.seek(afterPrefix(keyPrefix(KEY.version, id, common)));
  }
}

function takeHead(cursor: RangeCursor, key: string): Entry | undefined {
  const { place } = cursor;
  if (place?.key !== key) return undefined;
  cursor.advance();
  return place.entry;
}

/** Keys whose heads did not stay as they were read, read again. */
async function settle(
  store: MetadataStore,
  page: { bucketId: string; keys: readonly KeyVersions[]; limit: number; signal: AbortSignal },
): Promise<ReadonlyMap<string, KeyVersions>> {
  const { bucketId, keys, limit, signal } = page;
  const again = new Map<string, KeyVersions>();
  const places = keys.flatMap(({ key }) => [liveKey(bucketId, key), markerKey(bucketId, key)]);
  const now = await store.getMany(places, signal);
  for (const [index, group] of keys.entries()) {
    const live = now[2 * index]?.revision ?? 0;
    const marker = now[2 * index + 1]?.revision ?? 0;
    if (live === group.heads[0] && marker === group.heads[1]) continue;
    again.set(group.key, await readKeyAlone(store, { bucketId, group, limit, signal }));
  }
  return again;
}

async function readKeyAlone(
  store: MetadataStore,
  place: { bucketId: string; group: KeyVersions; limit: number; signal: AbortSignal },
): Promise<KeyVersions> {
  const { bucketId, group, limit, signal } = place;
  const { key, below } = group;
  const heads = [liveKey(bucketId, key), markerKey(bucketId, key)];
  let before = await store.getMany(heads, signal);
  for (;;) {
    const range = olderVersionsRange(bucketId, key, Math.min(below, SEQUENCE_MAX));
    const older = await store.range({ ...range, limit: limit + 1 }, signal);
    const after = await store.getMany(heads, signal);
    const isSame = before.every((entry, index) => entry?.revision === after[index]?.revision);
    before = after;
    if (!isSame) continue;
    const head = headOf(key, after[0], after[1])?.version;
    const versions = older.entries.map(({ value }) => decodeVersion(key, value));
    const hasHead = head !== undefined && head.sequence < below;
    if (hasHead) versions.unshift(head);
    const revisions = [after[0]?.revision ?? 0, after[1]?.revision ?? 0] as const;
    return { key, below, versions, hasHead, heads: revisions };
  }
}

function shown({ versions, hasHead }: KeyVersions): readonly ListEntry<ListedVersion>[] {
  return versions.map((version, index) => ({
    kind: "item",
    item: { version, isLatest: hasHead && index === 0 },
  }));
}

/** In UTF-8's order, which is that of JavaScript's strings but for surrogates: they stand for what is above U+FFFF. */
function precedes(one: string, other: string): boolean {
  const length = Math.min(one.length, other.length);
  for (let at = 0; at < length; at += 1) {
    const difference = rank(one.charCodeAt(at)) - rank(other.charCodeAt(at));
    if (difference !== 0) return difference < 0;
  }
  return one.length < other.length;
}

function rank(unit: number): number {
  return unit >= 0xd800 && unit < 0xe000 ? unit + 0x10000 : unit;
}
