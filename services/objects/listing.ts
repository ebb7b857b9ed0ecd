/**
 * Listings with prefix and delimiter over one range of the index: current objects, or open uploads.
 *
 * A page costs what it shows. Entries are read in batches; when a key rolls up into a common prefix, the rest of that
 * prefix is passed over, by a new range from behind it unless the batch at hand ends the prefix. Batches grow while
 * what they bring is used and shrink while it is passed over.
 */

import { parseIdBytes } from "#metadata/ids.ts";
import {
  afterKey,
  afterPrefix,
  KEY,
  keyPrefix,
  liveKey,
  objectKeyOf,
  uploadKey,
  uploadOf,
} from "#metadata/keys.ts";
import type { Entry, MetadataStore } from "#metadata/metadata-store.ts";
import { decodeUpload } from "#metadata/record-upload.ts";
import { decodeListed } from "#metadata/record-version.ts";
import type { Upload } from "#objects/model.ts";
import { toUpload } from "#objects/multipart.ts";
import type {
  ListEntry,
  ListedObject,
  ListPage,
  ListRequest,
  ObjectLayer,
  Uploads,
} from "#objects/object-layer.ts";

/** Ranges of one bucket whose keys go on with an object key. */
type ListedKind = typeof KEY.live | typeof KEY.marker | typeof KEY.version | typeof KEY.upload;

/** Where a page begins, and where its prefix ends. */
interface Window {
  readonly from: Buffer;
  readonly to: Buffer;
}

interface Listing<T> extends ListRequest {
  readonly bucketId: string;
  readonly kind: ListedKind;
  /** First key behind `after`. */
  readonly behind: Buffer | undefined;
  readonly keyOf: (entry: Entry) => string;
  readonly itemOf: (key: string, entry: Entry) => T;
}

/** Batches of a listing with delimiter start small: a bucket of folders is one entry a folder. */
const BATCH_FIRST = 32;
const BATCH_MIN = 4;

export async function listObjects(
  store: MetadataStore,
  request: Parameters<ObjectLayer["list"]>[0],
): Promise<ListPage<ListedObject>> {
  const { bucket, after } = request;
  return listPage(store, {
    ...request,
    bucketId: bucket.id,
    kind: KEY.live,
    behind: after === "" ? undefined : afterKey(liveKey(bucket.id, after)),
    keyOf: ({ key }) => objectKeyOf(key),
    itemOf: (key, { value }) => decodeListed(key, value),
  });
}

export async function listUploads(
  store: MetadataStore,
  request: Parameters<Uploads["list"]>[0],
): Promise<ListPage<Upload>> {
  const { bucket, after, afterUploadId } = request;
  const afterId = afterUploadId === undefined ? undefined : parseIdBytes(afterUploadId);
  return listPage(store, {
    ...request,
    bucketId: bucket.id,
    kind: KEY.upload,
    behind: after === "" ? undefined : behindUpload(bucket.id, after, afterId),
    keyOf: ({ key }) => uploadOf(key).key,
    itemOf: (key, { key: place, value }) =>
      toUpload(key, uploadOf(place).uploadId, decodeUpload(value)),
  });
}

/** Behind one upload of a key, or behind all of them. */
function behindUpload(bucketId: string, key: string, uploadId: Buffer | undefined): Buffer {
  return uploadId === undefined
    ? afterPrefix(keyPrefix(KEY.upload, bucketId, `${key}\0`))
    : afterKey(uploadKey(bucketId, key, uploadId));
}

async function listPage<T>(store: MetadataStore, listing: Listing<T>): Promise<ListPage<T>> {
  const { bucketId, kind, prefix, delimiter, limit, keyOf, itemOf, signal } = listing;
  const entries: ListEntry<T>[] = [];
  const window = windowOf(listing);
  if (limit === 0 || window === undefined) return { entries, isTruncated: false };
  const { to } = window;
  let { from } = window;
  let batch = delimiter === "" ? limit + 1 : Math.min(limit + 1, BATCH_FIRST);
  for (;;) {
    const page = await store.range({ from, to, limit: batch }, signal);
    let group: Buffer | undefined;
    let shown = 0;
    for (const entry of page.entries) {
      if (group !== undefined && group.compare(entry.key) > 0) continue;
      if (entries.length === limit) return { entries, isTruncated: true };
      const key = keyOf(entry);
      const common = commonPrefix(key, prefix, delimiter);
      group = common === undefined ? undefined : afterPrefix(keyPrefix(kind, bucketId, common));
      entries.push(
        common === undefined
          ? { kind: "item", item: itemOf(key, entry) }
          : { kind: "prefix", prefix: common },
      );
      shown += 1;
    }
    const last = page.entries.at(-1);
    if (!page.more || last === undefined) return { entries, isTruncated: false };
    from = group ?? afterKey(last.key);
    batch = nextBatch(batch, shown, limit + 1 - entries.length);
  }
}

/** Twice as many while most of a batch was shown; fewer when it was not; never more than the page can take. */
export function nextBatch(batch: number, shown: number, left: number): number {
  const wanted = 2 * shown > batch ? 2 * batch : Math.max(batch >> 1, BATCH_MIN);
  return Math.max(Math.min(wanted, left), 1);
}

/** The key up to and with the first delimiter behind the prefix. */
export function commonPrefix(key: string, prefix: string, delimiter: string): string | undefined {
  if (delimiter === "") return undefined;
  const at = key.indexOf(delimiter, prefix.length);
  return at === -1 ? undefined : key.slice(0, at + delimiter.length);
}

/** undefined when nothing with that prefix can come behind `after`. */
export function windowOf(listing: {
  bucketId: string;
  kind: ListedKind;
  prefix: string;
  delimiter: string;
  after: string;
  behind: Buffer | undefined;
}): Window | undefined {
  const { bucketId, kind, prefix, delimiter, after, behind } = listing;
  const from = keyPrefix(kind, bucketId, prefix);
  const to = afterPrefix(from);
  if (behind === undefined) return { from, to };
  // A common prefix counts as listed once anything in it is.
  const common = after.startsWith(prefix) ? commonPrefix(after, prefix, delimiter) : undefined;
  const start = common === undefined ? behind : afterPrefix(keyPrefix(kind, bucketId, common));
  if (start.compare(to) >= 0) return undefined;
  return { from: start.compare(from) > 0 ? start : from, to };
}
