/** GetBucketAcl and PutBucketAcl, as far as ACLs are canned. */
import { bucketGrants } from "#access/acl.ts";
import { aclDocument, requestedAcl } from "#gateway/acl-document.ts";
import { changeBucket } from "#gateway/buckets.ts";
import { aclsAreOff, changesNothing } from "#gateway/canned-acl.ts";
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { loadedBucket } from "#gateway/object-read.ts";
import type { Bucket, CannedAcl } from "#objects/model.ts";

export async function getBucketAcl(request: S3Request, { users }: Parts): Promise<S3Response> {
  const { ownerId, acl } = effective(loadedBucket(request));
  const grants = bucketGrants({ acl, ownerId });
  return { status: 200, body: aclDocument({ ownerId, grants }, users) };
}

export async function putBucketAcl(request: S3Request, parts: Parts): Promise<S3Response> {
  const { ownerId } = loadedBucket(request);
  const acl = await requestedAcl(request, parts.users, {
    ownerId,
    grantsOf: (canned) => bucketGrants({ acl: canned, ownerId }),
  });
  await changeBucket(request, parts, (current) => {
    if (current.ownership !== "BucketOwnerEnforced") return { acl };
    if (!changesNothing(acl)) throw aclsAreOff();
    return {};
  });
  return { status: 200 };
}

/** Where ACLs are off, the owner's full control is all there is. */
function effective(bucket: Bucket): { ownerId: string; acl: CannedAcl } {
  const acl = bucket.ownership === "BucketOwnerEnforced" ? "private" : bucket.acl;
  return { ownerId: bucket.ownerId, acl };
}
