/** The tags of a bucket: GetBucketTagging, PutBucketTagging, DeleteBucketTagging. */
import { changeBucket } from "#gateway/buckets.ts";
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import { loadedBucket } from "#gateway/object-read.ts";
import { readTagging, taggingDocument } from "#gateway/tagging-document.ts";
import { BUCKET_TAGS_MAX } from "#gateway/tags.ts";

export async function getBucketTagging(request: S3Request): Promise<S3Response> {
  const { name, tags } = loadedBucket(request);
  if (!tags) throw new S3Error("NoSuchTagSet", { elements: { BucketName: name } });
  return { status: 200, body: taggingDocument(tags) };
}

export async function putBucketTagging(request: S3Request, parts: Parts): Promise<S3Response> {
  const tags = await readTagging(request, { max: BUCKET_TAGS_MAX });
  await changeBucket(request, parts, () => ({ tags }));
  return { status: 204 };
}

export async function deleteBucketTagging(request: S3Request, parts: Parts): Promise<S3Response> {
  await changeBucket(request, parts, () => ({ tags: undefined }));
  return { status: 204 };
}
