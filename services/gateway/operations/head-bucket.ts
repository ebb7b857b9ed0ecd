/** HeadBucket: whether the bucket is there and may be listed, and its region. */
import { bucketRegion } from "#gateway/buckets.ts";
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { loadedBucket } from "#gateway/object-read.ts";

export async function headBucket(request: S3Request, { settings }: Parts): Promise<S3Response> {
  const region = bucketRegion(loadedBucket(request), settings);
  const headers = { "x-amz-bucket-region": region, "x-amz-access-point-alias": "false" };
  return { status: 200, headers };
}
