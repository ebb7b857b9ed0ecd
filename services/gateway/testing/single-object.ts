/** An object layer with one bucket, one object and one open upload, in which every write succeeds and changes nothing. */
import { bucketOf, versionOf } from "#gateway/testing/requests.ts";
import type { Bucket, ObjectVersion, Upload, UploadPart } from "#objects/model.ts";
import type { ObjectLayer } from "#objects/object-layer.ts";

export const UPLOAD_ID = "u".repeat(32);

export function singleObject(
  fields: { bucket?: Partial<Bucket>; version?: Partial<ObjectVersion> } = {},
): ObjectLayer {
  const bucket = bucketOf(fields.bucket);
  const version = versionOf(fields.version);
  const upload = uploadOf(version);
  const part: UploadPart = {
    number: 1,
    size: version.size,
    etag: version.etag,
    lastModifiedMs: version.lastModifiedMs,
    checksum: undefined,
  };
  const bytes = Buffer.alloc(version.size);
  const none = { entries: [], isTruncated: false };
  return {
    buckets: {
      create: async ({ name }) => ({ kind: "created", bucket: { ...bucket, name } }),
      get: async (name) => (name === bucket.name ? bucket : undefined),
      list: async () => ({ buckets: [bucket], isTruncated: false }),
      update: async (_, change) => ({ kind: "updated", bucket: { ...bucket, ...change(bucket) } }),
      remove: async () => "removed",
    },
    find: async ({ key }) => (key === version.key ? version : undefined),
    read: async function* ({ start, end }) {
      yield bytes.subarray(start, end);
    },
    readSmall: async ({ start, end }) => [bytes.subarray(start, end)],
    parts: async () => [],
    put: async ({ body, precondition }) => {
      precondition?.(version);
      await swallow(body);
      return { kind: "stored", version };
    },
    copy: async ({ precondition }) => {
      precondition?.(version);
      return { kind: "stored", version };
    },
    remove: async ({ precondition }) => {
      precondition?.(version);
      return { kind: "removed", versionId: undefined, deleteMarker: false };
    },
    update: async ({ change }) => ({
      kind: "updated",
      version: { ...version, ...change(version) },
    }),
    list: async () => none,
    listVersions: async () => none,
    uploads: {
      create: async () => ({ kind: "created", upload }),
      find: async ({ uploadId }) => (uploadId === UPLOAD_ID ? upload : undefined),
      putPart: async ({ body }) => {
        await swallow(body);
        return { kind: "stored", part };
      },
      copyPart: async () => ({ kind: "stored", part }),
      listParts: async () => ({ parts: [part], isTruncated: false }),
      complete: async ({ precondition }) => {
        precondition?.(version);
        return { kind: "stored", version };
      },
      abort: async () => "aborted",
      list: async () => none,
    },
  };
}

function uploadOf(version: ObjectVersion): Upload {
  const { key, ownerId, headers, metadata, tags, acl, storageClass } = version;
  return {
    key,
    uploadId: UPLOAD_ID,
    initiatedMs: version.lastModifiedMs,
    initiatorId: ownerId,
    attributes: { ownerId, headers, metadata, tags, acl, storageClass },
    checksumAlgorithm: undefined,
    checksumType: undefined,
  };
}

async function swallow(body: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const piece of body) if (piece.length === 0) throw new Error("An empty piece");
}
