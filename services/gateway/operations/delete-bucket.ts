/** DeleteBucket: only of a bucket without versions and delete markers; open uploads go with it. */
import { noSuchBucket } from "#gateway/buckets.ts";
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import { loadedBucket } from "#gateway/object-read.ts";

export async function deleteBucket(request: S3Request, { objects }: Parts): Promise<S3Response> {
  const bucket = loadedBucket(request);
  const removal = await objects.buckets.remove(bucket, request.signal);
  switch (removal) {
    case "removed":
      return { status: 204 };
    case "missing":
      throw noSuchBucket(bucket.name);
    case "not-empty":
      throw new S3Error("BucketNotEmpty", { elements: { BucketName: bucket.name } });
  }
}
