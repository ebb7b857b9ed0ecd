/** What the operations on buckets share: regions, names, and the answer when a bucket is gone. */
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

/**
 * AWS's rules for a new general purpose bucket.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
 */
export function isBucketName(name: string): boolean {
  return (
    NAME.test(name) &&
    !name.includes("..") &&
    !ADDRESS.test(name) &&
    !RESERVED_PREFIXES.some((prefix) => name.startsWith(prefix)) &&
    !RESERVED_SUFFIXES.some((suffix) => name.endsWith(suffix))
  );
}

export const US_EAST_1 = "us-east-1";

const NAME = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
const ADDRESS = /^\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}$/;
const RESERVED_PREFIXES = ["xn--", "sthree-", "amzn-s3-demo-"];
const RESERVED_SUFFIXES = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];
