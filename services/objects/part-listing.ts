/** The parts that an open upload has so far, in order of number. */
import { partNumberOf, partsRange } from "#metadata/keys.ts";
import type { MetadataStore } from "#metadata/metadata-store.ts";
import { decodeUploadPart } from "#metadata/record-upload.ts";
import { toPart, uploadIdBytes } from "#objects/multipart.ts";
import type { Uploads } from "#objects/object-layer.ts";

export async function listParts(
  store: MetadataStore,
  request: Parameters<Uploads["listParts"]>[0],
): ReturnType<Uploads["listParts"]> {
  const { bucket, upload, after, limit, signal } = request;
  if (limit === 0 || after >= 0xffff) return { parts: [], isTruncated: false };
  const range = partsRange(bucket.id, uploadIdBytes(upload), after);
  const { entries, more } = await store.range({ ...range, limit }, signal);
  const parts = entries.map(({ key, value }) => toPart(partNumberOf(key), decodeUploadPart(value)));
  return { parts, isTruncated: more };
}
