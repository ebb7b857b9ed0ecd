/** Who may do what: owners, ownership rules and canned ACLs, in a matrix. */
import { describe, expect, test } from "vitest";
import {
  ALL_USERS,
  AUTHENTICATED_USERS,
  bucketGrants,
  objectGrants,
  parseCannedAcl,
} from "#access/acl.ts";
import { decide, type Question } from "#access/authorise.ts";
import type { Caller } from "#access/users.ts";
import type { CannedAcl, Ownership } from "#objects/model.ts";

const user = (name: string): Caller => ({
  kind: "user",
  user: {
    name,
    ownerId: name,
    displayName: name,
    email: undefined,
    accessKey: name,
    secretKey: "",
  },
});
const CALLERS: Readonly<Record<string, Caller>> = {
  owner: user("owner"),
  writer: user("writer"),
  other: user("other"),
  anonymous: { kind: "anonymous" },
};

/** The callers who may, in the order above. */
function whoMay(
  action: string,
  bucket: { acl?: CannedAcl; ownership?: Ownership },
  objectAcl?: CannedAcl,
): string {
  const question: Omit<Question, "caller"> = {
    action,
    bucket: { ownerId: "owner", acl: "private", ownership: "ObjectWriter", ...bucket },
    version: objectAcl && { ownerId: "writer", acl: objectAcl, isDeleteMarker: false },
  };
  return Object.keys(CALLERS)
    .filter((name) => decide({ ...question, caller: CALLERS[name] ?? user(name) }))
    .join(" ");
}

describe("a bucket's ACL", () => {
  test.each<[CannedAcl, list: string, write: string]>([
    ["private", "owner", "owner"],
    ["public-read", "owner writer other anonymous", "owner"],
    ["public-read-write", "owner writer other anonymous", "owner writer other anonymous"],
    ["authenticated-read", "owner writer other", "owner"],
    ["bucket-owner-read", "owner", "owner"],
    ["bucket-owner-full-control", "owner", "owner"],
  ])("%s: %s may list, %s may write", (acl, list, write) => {
    for (const action of [
      "s3:ListBucket",
      "s3:ListBucketVersions",
      "s3:ListBucketMultipartUploads",
    ]) {
      expect(whoMay(action, { acl })).toBe(list);
    }
    for (const action of ["s3:PutObject", "s3:DeleteObject"]) {
      expect(whoMay(action, { acl })).toBe(write);
    }
  });

  test("never gives away the bucket's configuration, or older versions", () => {
    for (const action of [
      "s3:DeleteBucket",
      "s3:PutBucketCORS",
      "s3:GetBucketPolicy",
      "s3:PutBucketAcl",
      "s3:GetBucketAcl",
      "s3:DeleteObjectVersion",
      "s3:AnythingNew",
    ]) {
      expect(whoMay(action, { acl: "public-read-write" })).toBe("owner");
    }
  });

  test("says nothing where ACLs are switched off", () => {
    const bucket = { acl: "public-read-write", ownership: "BucketOwnerEnforced" } as const;
    expect(whoMay("s3:ListBucket", bucket)).toBe("owner");
    expect(whoMay("s3:PutObject", bucket)).toBe("owner");
  });
});

describe("an object's ACL", () => {
  test.each<[CannedAcl, read: string]>([
    ["private", "writer"],
    ["public-read", "owner writer other anonymous"],
    ["public-read-write", "owner writer other anonymous"],
    ["authenticated-read", "owner writer other"],
    ["bucket-owner-read", "owner writer"],
    ["bucket-owner-full-control", "owner writer"],
  ])("%s: %s may read", (acl, read) => {
    for (const action of ["s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectAttributes"]) {
      expect(whoMay(action, {}, acl)).toBe(read);
    }
  });

  test("is seen and changed by its owner, and by the bucket's owner given full control", () => {
    for (const action of ["s3:GetObjectAcl", "s3:PutObjectAcl"]) {
      expect(whoMay(action, {}, "public-read-write")).toBe("writer");
      expect(whoMay(action, {}, "bucket-owner-full-control")).toBe("owner writer");
    }
  });

  test("does not open its tags", () => {
    expect(whoMay("s3:GetObjectTagging", {}, "public-read-write")).toBe("owner writer");
    expect(whoMay("s3:PutObjectTagging", {}, "public-read-write")).toBe("owner writer");
  });

  test("says nothing where ACLs are switched off: the bucket's owner owns what others wrote", () => {
    const ownership = "BucketOwnerEnforced";
    for (const action of ["s3:GetObject", "s3:GetObjectAcl", "s3:PutObjectTagging"]) {
      expect(whoMay(action, { ownership }, "public-read")).toBe("owner");
    }
  });

  // Edge rule 15: 404 for those who may list, 403 for the others.
  test("that a key does not exist is told to those who may list", () => {
    expect(whoMay("s3:GetObject", { acl: "private" })).toBe("owner");
    expect(whoMay("s3:GetObject", { acl: "public-read" })).toBe("owner writer other anonymous");
    const marker = { ownerId: "writer", acl: "public-read", isDeleteMarker: true } as const;
    const bucket = { ownerId: "owner", acl: "private", ownership: "ObjectWriter" } as const;
    const question = { action: "s3:GetObject", bucket, version: marker };
    expect(decide({ ...question, caller: user("writer") })).toBe(false);
    expect(decide({ ...question, caller: user("owner") })).toBe(true);
  });
});

function ask(caller: Caller, action: string): boolean {
  return decide({ caller, action, bucket: undefined });
}

test("on the service users may do what is theirs; anybody may see the empty list of their buckets", () => {
  expect(ask(user("a"), "s3:CreateBucket")).toBe(true);
  expect(ask({ kind: "anonymous" }, "s3:CreateBucket")).toBe(false);
  expect(ask({ kind: "anonymous" }, "s3:ListAllMyBuckets")).toBe(true);
});

test("grants are listed owner first", () => {
  expect(bucketGrants({ acl: "public-read-write", ownerId: "owner" })).toEqual([
    { grantee: { kind: "user", ownerId: "owner" }, permission: "FULL_CONTROL" },
    { grantee: { kind: "group", uri: ALL_USERS }, permission: "READ" },
    { grantee: { kind: "group", uri: ALL_USERS }, permission: "WRITE" },
  ]);
  expect(objectGrants({ acl: "authenticated-read", ownerId: "writer" }, "owner")).toEqual([
    { grantee: { kind: "user", ownerId: "writer" }, permission: "FULL_CONTROL" },
    { grantee: { kind: "group", uri: AUTHENTICATED_USERS }, permission: "READ" },
  ]);
  expect(objectGrants({ acl: "bucket-owner-read", ownerId: "writer" }, "owner")).toEqual([
    { grantee: { kind: "user", ownerId: "writer" }, permission: "FULL_CONTROL" },
    { grantee: { kind: "user", ownerId: "owner" }, permission: "READ" },
  ]);
  expect(
    objectGrants({ acl: "bucket-owner-full-control", ownerId: "owner" }, "owner"),
  ).toHaveLength(1);
});

test("a canned ACL is named exactly", () => {
  expect(parseCannedAcl("public-read")).toBe("public-read");
  expect(parseCannedAcl("Public-Read")).toBeUndefined();
  expect(parseCannedAcl("aws-exec-read")).toBeUndefined();
});
