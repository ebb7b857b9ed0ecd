/** GetBucketLocation: the region, spelled as an empty element for us-east-1. */
import { bucketRegion, US_EAST_1 } from "#gateway/buckets.ts";
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { loadedBucket } from "#gateway/object-read.ts";
import { document, escapeXml } from "#gateway/xml.ts";

export async function getBucketLocation(
  request: S3Request,
  { settings }: Parts,
): Promise<S3Response> {
  const region = bucketRegion(loadedBucket(request), settings);
  const text = region === US_EAST_1 ? "" : escapeXml(region);
  return { status: 200, body: document("LocationConstraint", text) };
}
