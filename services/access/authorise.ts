/**
 * The one place that says whether a caller may do something. Pure. Today it knows owners, ownership rules and canned ACLs; single
 * grants, bucket policies and public access blocks come into this same function.
 */
import { ALL_USERS, bucketGrants, type Grant, objectGrants, type Permission } from "#access/acl.ts";
import type { Caller } from "#access/users.ts";
import type { Bucket, ObjectVersion } from "#objects/model.ts";

export interface Question {
  readonly caller: Caller;
  /** IAM's name. */
  readonly action: string;
  /** undefined: the service, or a bucket yet to be made. */
  readonly bucket: Pick<Bucket, "ownerId" | "ownership" | "acl"> | undefined;
  /** The version concerned, for actions on objects; undefined when the key has none. */
  readonly version?: Pick<ObjectVersion, "ownerId" | "acl" | "isDeleteMarker"> | undefined;
}

export function decide(question: Question): boolean {
  const { caller, action, bucket } = question;
  if (bucket === undefined) return caller.kind === "user" || ANYBODY.has(action);
  const permission = OBJECT_ACTIONS[action];
  return permission === undefined
    ? decideOnBucket(caller, action, bucket)
    : decideOnObject(question, permission, bucket);
}

type BucketFacts = NonNullable<Question["bucket"]>;

/** AWS has a web page for a visitor who lists buckets; we show the empty list that is theirs. */
const ANYBODY: ReadonlySet<string> = new Set(["s3:ListAllMyBuckets"]);

// https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html#acl-access-policy-permission-mapping
/** What a bucket's ACL can give to others than its owner. Everything else on a bucket is the owner's. */
const BUCKET_ACTIONS: Readonly<Record<string, Permission>> = {
  "s3:ListBucket": "READ",
  "s3:ListBucketVersions": "READ",
  "s3:ListBucketMultipartUploads": "READ",
  "s3:PutObject": "WRITE",
  "s3:DeleteObject": "WRITE",
  // Whoever may write may go on with an upload, for which one must know its id.
  "s3:AbortMultipartUpload": "WRITE",
  "s3:ListMultipartUploadParts": "WRITE",
  "s3:GetBucketAcl": "READ_ACP",
  "s3:PutBucketAcl": "WRITE_ACP",
};

/** Who may do these is a matter of the object, not of its bucket. Tags are not public with the object: only owners see them. */
const OBJECT_ACTIONS: Readonly<Record<string, Permission>> = {
  "s3:GetObject": "READ",
  "s3:GetObjectVersion": "READ",
  "s3:GetObjectAttributes": "READ",
  "s3:GetObjectVersionAttributes": "READ",
  "s3:GetObjectAcl": "READ_ACP",
  "s3:GetObjectVersionAcl": "READ_ACP",
  "s3:PutObjectAcl": "WRITE_ACP",
  "s3:PutObjectVersionAcl": "WRITE_ACP",
  "s3:GetObjectTagging": "FULL_CONTROL",
  "s3:GetObjectVersionTagging": "FULL_CONTROL",
  "s3:PutObjectTagging": "FULL_CONTROL",
  "s3:PutObjectVersionTagging": "FULL_CONTROL",
  "s3:DeleteObjectTagging": "FULL_CONTROL",
  "s3:DeleteObjectVersionTagging": "FULL_CONTROL",
};

function decideOnBucket(caller: Caller, action: string, bucket: BucketFacts): boolean {
  if (isOwner(caller, bucket.ownerId)) return true;
  const permission = BUCKET_ACTIONS[action];
  if (permission === undefined || bucket.ownership === "BucketOwnerEnforced") return false;
  return isGranted(caller, permission, bucketGrants(bucket));
}

function decideOnObject(question: Question, permission: Permission, bucket: BucketFacts): boolean {
  const { caller, version } = question;
  // Whether a key exists is told only to those who may list (edge rule 15). A delete marker has no ACL of its own.
  if (version === undefined || version.isDeleteMarker) {
    return decideOnBucket(caller, "s3:ListBucket", bucket);
  }
  // ACLs are switched off: the bucket's owner owns every object, whoever wrote it.
  if (bucket.ownership === "BucketOwnerEnforced") return isOwner(caller, bucket.ownerId);
  if (isOwner(caller, version.ownerId)) return true;
  // The bucket's owner pays for the tags of objects that others wrote, and manages them.
  if (permission === "FULL_CONTROL" && isOwner(caller, bucket.ownerId)) return true;
  return isGranted(caller, permission, objectGrants(version, bucket.ownerId));
}

function isOwner(caller: Caller, ownerId: string): boolean {
  return caller.kind === "user" && caller.user.ownerId === ownerId;
}

function isGranted(caller: Caller, permission: Permission, grants: readonly Grant[]): boolean {
  return grants.some(
    (grant) =>
      (grant.permission === permission || grant.permission === "FULL_CONTROL") &&
      isMeant(caller, grant),
  );
}

function isMeant(caller: Caller, { grantee }: Grant): boolean {
  if (grantee.kind === "user") return isOwner(caller, grantee.ownerId);
  return grantee.uri === ALL_USERS || caller.kind === "user";
}
