/** ListBuckets: the caller's own buckets, by name. */
import { bucketRegion } from "#gateway/buckets.ts";
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { isoDate } from "#gateway/dates.ts";
import { S3Error } from "#gateway/errors.ts";
import { continuationToken, readContinuationToken } from "#gateway/listing-parameters.ts";
import { callerId } from "#gateway/object-headers.ts";
import { ownerElement } from "#gateway/owner-element.ts";
import { document, element, field } from "#gateway/xml.ts";
import type { Bucket } from "#objects/model.ts";

export async function listBuckets(request: S3Request, parts: Parts): Promise<S3Response> {
  const { query } = request;
  const prefix = query.get("prefix") ?? "";
  const { buckets, next } = await ownBuckets(request, parts, prefix);
  // AWS names the regions only when it is asked for anything.
  const showsRegion = PARAMETERS.some((name) => query.has(name));
  const listed = buckets.map((bucket) =>
    element(
      "Bucket",
      field("Name", bucket.name),
      field("CreationDate", isoDate(bucket.createdMs)),
      showsRegion ? field("BucketRegion", bucketRegion(bucket, parts.settings)) : "",
    ),
  );
  const body = document(
    "ListAllMyBucketsResult",
    element("Buckets", ...listed),
    ownerElement("Owner", callerId(request.caller), parts.users),
    next === undefined ? "" : field("ContinuationToken", continuationToken(next)),
    prefix === "" ? "" : field("Prefix", prefix),
  );
  return { status: 200, body };
}

const PARAMETERS = ["prefix", "max-buckets", "continuation-token", "bucket-region"];
/** https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html */
const BUCKETS_MAX = 10_000;

async function ownBuckets(
  request: S3Request,
  { objects, settings }: Parts,
  prefix: string,
): Promise<{ buckets: readonly Bucket[]; next: string | undefined }> {
  const { caller, query, signal } = request;
  const limit = bucketLimit(query.get("max-buckets"));
  const region = query.get("bucket-region") ?? "";
  const token = query.get("continuation-token") ?? "";
  let after = token === "" ? "" : readContinuationToken(token);
  // Who did not sign owns nothing.
  if (caller.kind === "anonymous") return { buckets: [], next: undefined };
  const { ownerId } = caller.user;
  const buckets: Bucket[] = [];
  for (;;) {
    const wanted = limit - buckets.length;
    const page = await objects.buckets.list({ ownerId, prefix, after, limit: wanted, signal });
    for (const bucket of page.buckets) {
      if (region === "" || bucketRegion(bucket, settings) === region) buckets.push(bucket);
    }
    const last = page.buckets.at(-1);
    if (!page.isTruncated || !last) return { buckets, next: undefined };
    if (buckets.length === limit) return { buckets, next: last.name };
    after = last.name;
  }
}

function bucketLimit(text: string | undefined): number {
  if (text === undefined || text === "") return BUCKETS_MAX;
  const limit = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (limit >= 1 && limit <= BUCKETS_MAX) return limit;
  throw new S3Error("InvalidArgument", {
    message: `Argument max-buckets must be an integer between 1 and ${BUCKETS_MAX}`,
    elements: { ArgumentName: "max-buckets", ArgumentValue: text },
  });
}
