/** ListObjects, the first version of the listing: owners always shown, the next page asked for by key. */
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { keySpelling, pageLimit } from "#gateway/listing-parameters.ts";
import { lastEntry, objectEntries } from "#gateway/object-entries.ts";
import { loadedBucket } from "#gateway/object-read.ts";
import { ownerElements } from "#gateway/owner-element.ts";
import { document, escapeXml, field } from "#gateway/xml.ts";

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
    `<Prefix>${spellEcho(prefix, spell)}</Prefix>`,
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

/** Decodes to itself, and XML can hold it. */
const PLAIN = /^[\t\n\r\u0020-\u0024\u0026-\u002a\u002c-\ud7ff\ue000-\ufffd]*$/;

/**
 * Under encoding-type=url, which boto3 asks for unasked, it decodes every name of this listing but the prefix that was asked for;
 * others decode that one too. What decodes to itself is sent as it is, so that both read it right.
 */
function spellEcho(prefix: string, spell: (key: string) => string): string {
  return PLAIN.test(prefix) ? escapeXml(prefix) : spell(prefix);
}
