/** Who owns what others write, and whether ACLs count: Get, Put and DeleteBucketOwnershipControls. */
import { changeBucket } from "#gateway/buckets.ts";
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import { loadedBucket } from "#gateway/object-read.ts";
import { parseOwnership } from "#gateway/operations/create-bucket.ts";
import { document, element, field, readDocument } from "#gateway/xml.ts";
import type { Bucket, Ownership } from "#objects/model.ts";

export async function getBucketOwnershipControls(request: S3Request): Promise<S3Response> {
  const { name, ownership } = loadedBucket(request);
  if (!ownership) {
    throw new S3Error("OwnershipControlsNotFoundError", { elements: { BucketName: name } });
  }
  const rule = element("Rule", field("ObjectOwnership", ownership));
  return { status: 200, body: document("OwnershipControls", rule) };
}

export async function putBucketOwnershipControls(
  request: S3Request,
  parts: Parts,
): Promise<S3Response> {
  const ownership = readOwnership(await request.body.document(CONFIGURATION_BYTES_MAX));
  await changeBucket(request, parts, (current) => {
    refusePublicAcl(current, ownership);
    return { ownership };
  });
  return { status: 200 };
}

export async function deleteBucketOwnershipControls(
  request: S3Request,
  parts: Parts,
): Promise<S3Response> {
  await changeBucket(request, parts, () => ({ ownership: undefined }));
  return { status: 204 };
}

const CONFIGURATION_BYTES_MAX = 16 * 1024;

function readOwnership(bytes: Buffer): Ownership {
  const rule = readDocument(bytes, "OwnershipControls").only("Rule").required("Rule");
  const ownership = parseOwnership(rule.only("ObjectOwnership").required("ObjectOwnership").text);
  if (ownership) return ownership;
  throw new S3Error("MalformedXML");
}

/** Switching ACLs off must not silently take away what one grants. */
function refusePublicAcl(bucket: Bucket, ownership: Ownership): void {
  if (ownership !== "BucketOwnerEnforced" || bucket.acl === "private") return;
  throw new S3Error("InvalidBucketAclWithObjectOwnership");
}
