/** What the operations on buckets share: regions, changes, and the answer when a bucket is gone. */
import type { GatewaySettings, Parts, S3Request } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import { loadedBucket } from "#gateway/object-read.ts";
import type { Bucket, BucketChange } from "#objects/model.ts";

/** The region that a bucket is said to be in. */
export function bucketRegion(bucket: Bucket, settings: GatewaySettings): string {
  return settings.region ?? (bucket.region === "" ? US_EAST_1 : bucket.region);
}

/** Changes the bucket's configuration; `change` judges what is stored now. */
export async function changeBucket(
  request: S3Request,
  { objects }: Parts,
  change: (current: Bucket) => BucketChange,
): Promise<void> {
  const bucket = loadedBucket(request);
  const outcome = await objects.buckets.update(bucket, change, request.signal);
  if (outcome.kind === "missing") throw noSuchBucket(bucket.name);
}

export function noSuchBucket(name: string): S3Error {
  return new S3Error("NoSuchBucket", { elements: { BucketName: name } });
}

export const US_EAST_1 = "us-east-1";
