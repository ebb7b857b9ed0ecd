/** Canned ACLs as the grants that they stand for; pure. */
import type { CannedAcl } from "#objects/model.ts";

export type Permission = "FULL_CONTROL" | "READ" | "WRITE" | "READ_ACP" | "WRITE_ACP";

export type Grantee =
  | { readonly kind: "user"; readonly ownerId: string }
  | { readonly kind: "group"; readonly uri: string };

export interface Grant {
  readonly grantee: Grantee;
  readonly permission: Permission;
}

export const ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers";
export const AUTHENTICATED_USERS = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";

/** The canned ACL of that name; undefined for a name that S3 does not know or that we do not offer. */
export function parseCannedAcl(name: string): CannedAcl | undefined {
  return CANNED.find((acl) => acl === name);
}

/** A bucket's grants, its owner's first. The two ACLs that speak of a bucket's owner mean nothing on a bucket. */
export function bucketGrants(bucket: { acl: CannedAcl; ownerId: string }): readonly Grant[] {
  return [fullControl(bucket.ownerId), ...publicGrants(bucket.acl)];
}

/** An object's grants, its owner's first. */
export function objectGrants(
  object: { acl: CannedAcl; ownerId: string },
  bucketOwnerId: string,
): readonly Grant[] {
  const grants = [fullControl(object.ownerId), ...publicGrants(object.acl)];
  if (bucketOwnerId !== object.ownerId) {
    const grantee: Grantee = { kind: "user", ownerId: bucketOwnerId };
    if (object.acl === "bucket-owner-read") grants.push({ grantee, permission: "READ" });
    if (object.acl === "bucket-owner-full-control") grants.push(fullControl(bucketOwnerId));
  }
  return grants;
}

const CANNED: readonly CannedAcl[] = [
  "private",
  "public-read",
  "public-read-write",
  "authenticated-read",
  "bucket-owner-read",
  "bucket-owner-full-control",
];

function fullControl(ownerId: string): Grant {
  return { grantee: { kind: "user", ownerId }, permission: "FULL_CONTROL" };
}

function publicGrants(acl: CannedAcl): readonly Grant[] {
  switch (acl) {
    case "public-read":
      return [toGroup(ALL_USERS, "READ")];
    case "public-read-write":
      return [toGroup(ALL_USERS, "READ"), toGroup(ALL_USERS, "WRITE")];
    case "authenticated-read":
      return [toGroup(AUTHENTICATED_USERS, "READ")];
    case "private":
    case "bucket-owner-read":
    case "bucket-owner-full-control":
      return [];
  }
}

function toGroup(uri: string, permission: Permission): Grant {
  return { grantee: { kind: "group", uri }, permission };
}
