/** The tags of a version: GetObjectTagging, PutObjectTagging, DeleteObjectTagging. */
import { noSuchBucket } from "#gateway/buckets.ts";
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import { loadedBucket, permittedVersion } from "#gateway/object-read.ts";
import { readTagging, taggingDocument } from "#gateway/tagging-document.ts";
import { OBJECT_TAGS_MAX } from "#gateway/tags.ts";
import type { ObjectVersion, Tag } from "#objects/model.ts";

export async function getObjectTagging(request: S3Request, parts: Parts): Promise<S3Response> {
  const version = await permittedVersion(request, parts, {
    current: "s3:GetObjectTagging",
    version: "s3:GetObjectVersionTagging",
  });
  const headers = versionHeader(request, version);
  return { status: 200, headers, body: taggingDocument(version.tags) };
}

export async function putObjectTagging(request: S3Request, parts: Parts): Promise<S3Response> {
  const found = await permittedVersion(request, parts, {
    current: "s3:PutObjectTagging",
    version: "s3:PutObjectVersionTagging",
  });
  const tags = await readTagging(request, { max: OBJECT_TAGS_MAX });
  const version = await replaceTags(request, parts, found, tags);
  return { status: 200, headers: versionHeader(request, version) };
}

export async function deleteObjectTagging(request: S3Request, parts: Parts): Promise<S3Response> {
  const found = await permittedVersion(request, parts, {
    current: "s3:DeleteObjectTagging",
    version: "s3:DeleteObjectVersionTagging",
  });
  const version = await replaceTags(request, parts, found, []);
  return { status: 204, headers: versionHeader(request, version) };
}

async function replaceTags(
  request: S3Request,
  { objects }: Parts,
  found: ObjectVersion,
  tags: readonly Tag[],
): Promise<ObjectVersion> {
  const bucket = loadedBucket(request);
  const { key, signal } = request;
  const outcome = await objects.update({
    bucket,
    key,
    // The version that was permitted, even if it is no longer the current one.
    versionId: found.versionId,
    change: () => ({ tags }),
    signal,
  });
  switch (outcome.kind) {
    case "updated":
      return outcome.version;
    case "missing":
      throw new S3Error("NoSuchKey", { elements: { Key: key } });
    case "no-such-bucket":
      throw noSuchBucket(bucket.name);
  }
}

function versionHeader(request: S3Request, version: ObjectVersion): Record<string, string> {
  if (loadedBucket(request).versioning === "unversioned") return {};
  return { "x-amz-version-id": version.versionId };
}
