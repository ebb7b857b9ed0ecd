/** Canned ACLs where they are on, and the answers where they are off. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  GetBucketAclCommand,
  GetObjectAclCommand,
  GetObjectCommand,
  type Grant,
  HeadObjectCommand,
  ListObjectsV2Command,
  type ObjectCannedACL,
  PutBucketAclCommand,
  PutBucketOwnershipControlsCommand,
  PutObjectAclCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freshBucket, refusalOf, sendRaw } from "./requests.ts";
import { startServer, type TestServer } from "./server.ts";

const ALL = "http://acs.amazonaws.com/groups/global/AllUsers";
const BOB = {
  name: "bob",
  ownerId: "b".repeat(64),
  displayName: "Bob",
  email: "bob@example.com",
  accessKey: "BOBACCESSKEY00000001",
  secretKey: "bob's secret, long enough",
};

let server: TestServer;
let client: S3Client;
let bob: S3Client;

beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), "anybucket-users-"));
  const usersFile = join(folder, "users.json");
  await writeFile(usersFile, JSON.stringify([BOB]));
  server = await startServer({
    env: { ANYBUCKET_USERS_FILE: usersFile, ANYBUCKET_DEFAULT_OWNERSHIP: "ObjectWriter" },
  });
  await rm(folder, { recursive: true });
  client = server.client();
  bob = server.client({
    credentials: { accessKeyId: BOB.accessKey, secretAccessKey: BOB.secretKey },
  });
});
afterAll(() => server.stop());

describe("where ACLs are on", () => {
  test("public-read lets anybody list a bucket and read an object, and no more", async () => {
    const Bucket = await freshBucket(client, { ACL: "public-read" });
    await client.send(new PutObjectCommand({ Bucket, Key: "open", Body: "x", ACL: "public-read" }));
    await client.send(new PutObjectCommand({ Bucket, Key: "closed", Body: "x" }));
    const anybody = (method: string, key: string) =>
      sendRaw(server, { method, path: `/${Bucket}${key}` });
    expect((await anybody("GET", "")).status).toBe(200);
    expect((await anybody("GET", "/open")).status).toBe(200);
    expect((await anybody("GET", "/closed")).status).toBe(403);
    // Who may list may know what is absent.
    expect((await anybody("GET", "/absent")).code).toBe("NoSuchKey");
    expect((await anybody("PUT", "/new")).status).toBe(403);
    expect((await anybody("DELETE", "/open")).status).toBe(403);
    expect((await anybody("GET", "/open?response-content-type=a")).code).toBe("InvalidRequest");
    const tagged = { Bucket, Key: "open", Tagging: { TagSet: [{ Key: "a", Value: "b" }] } };
    await client.send(new PutObjectTaggingCommand(tagged));
    expect((await anybody("GET", "/open?tagging")).status).toBe(403);
    expect((await anybody("HEAD", "/open")).headers["x-amz-tagging-count"]).toBeUndefined();
    const { TagCount } = await client.send(new HeadObjectCommand({ Bucket, Key: "open" }));
    expect(TagCount).toBe(1);
  });

  test("authenticated-read lets other users read, but nobody unknown", async () => {
    const Bucket = await freshBucket(client);
    await client.send(
      new PutObjectCommand({ Bucket, Key: "k", Body: "x", ACL: "authenticated-read" }),
    );
    await bob.send(new GetObjectCommand({ Bucket, Key: "k" }));
    expect((await sendRaw(server, { method: "GET", path: `/${Bucket}/k` })).status).toBe(403);
  });

  test("what another wrote is the writer's; bucket-owner-read shares it", async () => {
    const Bucket = await freshBucket(client, { ACL: "public-read-write" });
    const write = (ACL?: ObjectCannedACL) =>
      bob.send(new PutObjectCommand({ Bucket, Key: "bob's", Body: "x", ACL }));
    const read = () => client.send(new GetObjectCommand({ Bucket, Key: "bob's" }));
    await write();
    expect(await refusalOf(read())).toBe("403 AccessDenied");
    await write("bucket-owner-read");
    await read();
    const acl = await bob.send(new GetObjectAclCommand({ Bucket, Key: "bob's" }));
    expect(acl.Owner).toEqual({ ID: BOB.ownerId, DisplayName: BOB.displayName });
    expect(grantsOf(acl.Grants)).toHaveLength(2);
  });

  test("are shown as grants, changed by name, and by a document that says the same", async () => {
    const Bucket = await freshBucket(client);
    const read = () => client.send(new GetBucketAclCommand({ Bucket }));
    const before = await read();
    expect(before.Grants).toHaveLength(1);
    await client.send(new PutBucketAclCommand({ Bucket, ACL: "public-read" }));
    const opened = await read();
    expect(grantsOf(opened.Grants)).toContain(`${ALL} READ`);
    const AccessControlPolicy = { Owner: before.Owner, Grants: before.Grants };
    await client.send(new PutBucketAclCommand({ Bucket, AccessControlPolicy }));
    expect((await read()).Grants).toEqual(before.Grants);
  });

  test("single grants are refused, not ignored", async () => {
    const Bucket = await freshBucket(client);
    await client.send(new PutObjectCommand({ Bucket, Key: "k" }));
    const put = (more: object) =>
      client.send(new PutObjectAclCommand({ Bucket, Key: "k", ...more }));
    expect(await refusalOf(put({ GrantRead: `id=${BOB.ownerId}` }))).toBe("501 NotImplemented");
    const { Owner } = await client.send(new GetObjectAclCommand({ Bucket, Key: "k" }));
    const policy = (ID: string) => ({ AccessControlPolicy: { Owner, Grants: readGrant(ID) } });
    expect(await refusalOf(put(policy(BOB.ownerId)))).toBe("501 NotImplemented");
    expect(await refusalOf(put(policy("nobody")))).toBe("400 InvalidArgument");
    const stolen = { AccessControlPolicy: { Owner: { ID: BOB.ownerId }, Grants: [] } };
    expect(await refusalOf(put(stolen))).toBe("403 AccessDenied");
    expect(await refusalOf(put({ ACL: "everybody" }))).toBe("400 InvalidArgument");
    expect(await refusalOf(put({}))).toBe("400 MissingSecurityHeader");
  });

  test("cannot be switched off while one grants something to others", async () => {
    const Bucket = await freshBucket(client, { ACL: "public-read" });
    const OwnershipControls = { Rules: [{ ObjectOwnership: "BucketOwnerEnforced" as const }] };
    const enforce = () =>
      client.send(new PutBucketOwnershipControlsCommand({ Bucket, OwnershipControls }));
    expect(await refusalOf(enforce())).toBe("400 InvalidBucketAclWithObjectOwnership");
    await client.send(new PutBucketAclCommand({ Bucket, ACL: "private" }));
    await enforce();
  });
});

describe("where ACLs are off", () => {
  test("none is taken but those that change nothing, and the owner's is shown", async () => {
    const Bucket = await freshBucket(client, { ObjectOwnership: "BucketOwnerEnforced" });
    const put = (ACL: ObjectCannedACL) =>
      client.send(new PutObjectCommand({ Bucket, Key: "k", Body: "x", ACL }));
    expect(await refusalOf(put("public-read"))).toBe("400 AccessControlListNotSupported");
    await put("bucket-owner-full-control");
    const change = client.send(new PutBucketAclCommand({ Bucket, ACL: "public-read" }));
    expect(await refusalOf(change)).toBe("400 AccessControlListNotSupported");
    const object = client.send(new PutObjectAclCommand({ Bucket, Key: "k", ACL: "public-read" }));
    expect(await refusalOf(object)).toBe("400 AccessControlListNotSupported");
    await client.send(new PutObjectAclCommand({ Bucket, Key: "k", ACL: "private" }));
    const acl = await client.send(new GetObjectAclCommand({ Bucket, Key: "k" }));
    expect(acl.Grants?.map(({ Permission }) => Permission)).toEqual(["FULL_CONTROL"]);
    expect(await refusalOf(bob.send(new ListObjectsV2Command({ Bucket })))).toBe(
      "403 AccessDenied",
    );
  });
});

function grantsOf(grants: readonly Grant[] = []): string[] {
  return grants.map(
    ({ Grantee, Permission }) => `${Grantee?.URI ?? Grantee?.ID ?? "nobody"} ${Permission}`,
  );
}

function readGrant(ID: string): Grant[] {
  return [{ Grantee: { Type: "CanonicalUser", ID }, Permission: "READ" }];
}
