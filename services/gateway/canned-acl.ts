/** Access control lists as far as they are canned: what headers ask for where ACLs are on, and where they are off. */
import { parseCannedAcl } from "#access/acl.ts";
import type { RequestHeaders } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import type { Bucket, CannedAcl } from "#objects/model.ts";

/** The canned ACL that x-amz-acl (or a form's `acl`) names; single grants are refused. */
export function cannedAclHeader(headers: RequestHeaders): CannedAcl | undefined {
  if (hasGrants(headers)) {
    throw new S3Error("NotImplemented", { elements: { Header: "x-amz-grant-*" } });
  }
  const name = headers.get("x-amz-acl") ?? headers.get("acl");
  if (name === undefined) return undefined;
  const acl = parseCannedAcl(name);
  if (acl !== undefined) return acl;
  if (UNIMPLEMENTED.has(name)) {
    throw new S3Error("NotImplemented", { elements: { Header: "x-amz-acl" } });
  }
  throw new S3Error("InvalidArgument", {
    elements: { ArgumentName: "x-amz-acl", ArgumentValue: name },
  });
}

/** The ACL of an object about to be written; where ACLs are off, only one that changes nothing is taken. */
export function uploadAcl(headers: RequestHeaders, bucket: Bucket): CannedAcl {
  if (bucket.ownership !== "BucketOwnerEnforced") return cannedAclHeader(headers) ?? "private";
  if (hasGrants(headers)) throw aclsAreOff();
  const acl = cannedAclHeader(headers);
  if (acl !== undefined && !changesNothing(acl)) throw aclsAreOff();
  return "private";
}

export function hasGrants(headers: RequestHeaders): boolean {
  return headers.withPrefix("x-amz-grant-").length > 0;
}

/** Where ACLs are off, these two say what holds anyway. */
export function changesNothing(acl: CannedAcl): boolean {
  return acl === "private" || acl === "bucket-owner-full-control";
}

export function aclsAreOff(): S3Error {
  return new S3Error("AccessControlListNotSupported");
}

/** Known to AWS, for its own services. */
const UNIMPLEMENTED: ReadonlySet<string> = new Set(["aws-exec-read", "log-delivery-write"]);
