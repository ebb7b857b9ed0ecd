/** GetObjectAcl and PutObjectAcl, as far as ACLs are canned. */
import { objectGrants } from "#access/acl.ts";
import { aclDocument, requestedAcl } from "#gateway/acl-document.ts";
import { noSuchBucket } from "#gateway/buckets.ts";
import { aclsAreOff, changesNothing } from "#gateway/canned-acl.ts";
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import { loadedBucket, permittedVersion } from "#gateway/object-read.ts";
import type { Bucket, CannedAcl, ObjectVersion } from "#objects/model.ts";

export async function getObjectAcl(request: S3Request, parts: Parts): Promise<S3Response> {
  const bucket = loadedBucket(request);
  const version = await permittedVersion(request, parts, {
    current: "s3:GetObjectAcl",
    version: "s3:GetObjectVersionAcl",
  });
  const { ownerId, acl } = effective(bucket, version);
  const grants = objectGrants({ acl, ownerId }, bucket.ownerId);
  return {
    status: 200,
    headers: versionHeader(bucket, version),
    body: aclDocument({ ownerId, grants }, parts.users),
  };
}

export async function putObjectAcl(request: S3Request, parts: Parts): Promise<S3Response> {
  const bucket = loadedBucket(request);
  const version = await permittedVersion(request, parts, {
    current: "s3:PutObjectAcl",
    version: "s3:PutObjectVersionAcl",
  });
  const { ownerId } = effective(bucket, version);
  const acl = await requestedAcl(request, parts.users, {
    ownerId,
    grantsOf: (canned) => objectGrants({ acl: canned, ownerId }, bucket.ownerId),
  });
  const headers = versionHeader(bucket, version);
  if (bucket.ownership === "BucketOwnerEnforced") {
    if (!changesNothing(acl)) throw aclsAreOff();
    return { status: 200, headers };
  }
  await replaceAcl(request, parts, { versionId: version.versionId, acl });
  return { status: 200, headers };
}

async function replaceAcl(
  request: S3Request,
  { objects }: Parts,
  wanted: { versionId: string; acl: CannedAcl },
): Promise<void> {
  const bucket = loadedBucket(request);
  const { key, signal } = request;
  const { versionId, acl } = wanted;
  const outcome = await objects.update({ bucket, key, versionId, change: () => ({ acl }), signal });
  if (outcome.kind === "no-such-bucket") throw noSuchBucket(bucket.name);
  if (outcome.kind === "missing") throw new S3Error("NoSuchKey", { elements: { Key: key } });
}

/** Where ACLs are off, the bucket's owner owns everything and nobody else is granted anything. */
function effective(bucket: Bucket, version: ObjectVersion): { ownerId: string; acl: CannedAcl } {
  if (bucket.ownership !== "BucketOwnerEnforced") return version;
  return { ownerId: bucket.ownerId, acl: "private" };
}

function versionHeader(bucket: Bucket, version: ObjectVersion): Record<string, string> {
  if (bucket.versioning === "unversioned") return {};
  return { "x-amz-version-id": version.versionId };
}
