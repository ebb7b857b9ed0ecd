/** ListObjectsV2: keys and common prefixes in byte order, a page at a time. */
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import {
  continuationToken,
  keySpelling,
  pageLimit,
  readContinuationToken,
} from "#gateway/listing-parameters.ts";
import { lastEntry, objectEntries } from "#gateway/object-entries.ts";
import { loadedBucket } from "#gateway/object-read.ts";
import { ownerElements } from "#gateway/owner-element.ts";
import { document, field } from "#gateway/xml.ts";

export async function listObjectsV2(request: S3Request, parts: Parts): Promise<S3Response> {
  const bucket = loadedBucket(request);
  const { query, signal } = request;
  const prefix = query.get("prefix") ?? "";
  const delimiter = query.get("delimiter") ?? "";
  const startAfter = query.get("start-after");
  const token = query.get("continuation-token");
  const limit = pageLimit(query, "max-keys");
  const spelling = keySpelling(query);
  // An empty token is no token, though it is given back.
  const after = token ? readContinuationToken(token) : (startAfter ?? "");
  const page = await parts.objects.list({ bucket, prefix, delimiter, after, limit, signal });
  const showOwner = query.get("fetch-owner") === "true" ? ownerElements(parts.users) : undefined;
  const next = page.isTruncated ? lastEntry(page) : undefined;
  const body = document(
    "ListBucketResult",
    field("Name", bucket.name),
    `<Prefix>${spelling.spell(prefix)}</Prefix>`,
    startAfter === undefined ? "" : `<StartAfter>${spelling.spell(startAfter)}</StartAfter>`,
    field("ContinuationToken", token),
    next === undefined ? "" : field("NextContinuationToken", continuationToken(next)),
    field("KeyCount", page.entries.length),
    field("MaxKeys", limit),
    delimiter === "" ? "" : `<Delimiter>${spelling.spell(delimiter)}</Delimiter>`,
    spelling.element,
    field("IsTruncated", page.isTruncated),
    objectEntries(page, spelling.spell, showOwner),
  );
  return { status: 200, body };
}
