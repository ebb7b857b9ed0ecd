/** What the operations on buckets share: regions, names, and the answer when a bucket is gone. */
import type { GatewaySettings } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import type { Bucket } from "#objects/model.ts";

/** The region that a bucket is said to be in. */
export function bucketRegion(bucket: Bucket, settings: GatewaySettings): string {
  return settings.region ?? (bucket.region === "" ? US_EAST_1 : bucket.region);
}

export function noSuchBucket(name: string): S3Error {
  return new S3Error("NoSuchBucket", { elements: { BucketName: name } });
}

/** https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html */
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
