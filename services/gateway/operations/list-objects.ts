/** ListObjects, the first version of the listing: owners always shown, the next page asked for by key. */
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { keySpelling, pageLimit } from "#gateway/listing-parameters.ts";
import { lastEntry, objectEntries } from "#gateway/object-entries.ts";
import { loadedBucket } from "#gateway/object-read.ts";
import { ownerElements } from "#gateway/owner-element.ts";
import { document, field } from "#gateway/xml.ts";

export async function listObjects(request: S3Request, parts: Parts): Promise<S3Response> {
  const bucket = loadedBucket(request);
  const { query, signal } = request;
  const prefix = query.get("prefix") ?? "";
  const delimiter = query.get("delimiter") ?? "";
  const marker = query.get("marker") ?? "";
  const limit = pageLimit(query, "max-keys");
  const { element: encoding, spell } = keySpelling(query);
  const page = await parts.objects.list({
    bucket,
    prefix,
    delimiter,
    after: marker,
    limit,
    signal,
  });
  // Without a delimiter clients go on after the last key (edge rule 11).
  const next = page.isTruncated && delimiter !== "" ? lastEntry(page) : undefined;
  const body = document(
    "ListBucketResult",
    field("Name", bucket.name),
    `<Prefix>${spell(prefix)}</Prefix>`,
    `<Marker>${spell(marker)}</Marker>`,
    next === undefined ? "" : `<NextMarker>${spell(next)}</NextMarker>`,
    field("MaxKeys", limit),
    delimiter === "" ? "" : `<Delimiter>${spell(delimiter)}</Delimiter>`,
    encoding,
    field("IsTruncated", page.isTruncated),
    objectEntries(page, spell, ownerElements(parts.users)),
  );
  return { status: 200, body };
}
