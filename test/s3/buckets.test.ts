/** Buckets: made, found, listed, configured, removed. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  CreateBucketCommand,
  type CreateBucketCommandInput,
  DeleteBucketCommand,
  DeleteBucketOwnershipControlsCommand,
  DeleteObjectCommand,
  GetBucketAclCommand,
  GetBucketLocationCommand,
  GetBucketOwnershipControlsCommand,
  GetBucketVersioningCommand,
  HeadBucketCommand,
  ListBucketsCommand,
  PutBucketOwnershipControlsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { elementOf, freshBucket, refusalOf, sendSigned } from "./requests.ts";
import { startServer, type TestServer } from "./server.ts";

const BOB = { accessKeyId: "BOBACCESSKEY00000001", secretAccessKey: "bob's secret, long enough" };

let server: TestServer;
let client: S3Client;
let bob: S3Client;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "anybucket-users-"));
  const usersFile = join(folder, "users.json");
  const user = {
    name: "bob",
    ownerId: "b".repeat(64),
    displayName: "Bob",
    email: "bob@example.com",
    accessKey: BOB.accessKeyId,
    secretKey: BOB.secretAccessKey,
  };
  await writeFile(usersFile, JSON.stringify([user]));
  server = await startServer({ env: { ANYBUCKET_USERS_FILE: usersFile } });
  client = server.client();
  bob = server.client({ credentials: BOB });
});
afterAll(async () => {
  await server.stop();
  await rm(folder, { recursive: true });
});

describe("creating", () => {
  test("a bucket is found, empty and private, in us-east-1", async () => {
    const Bucket = await freshBucket(client);
    const head = await client.send(new HeadBucketCommand({ Bucket }));
    expect(head.BucketRegion).toBe("us-east-1");
    const location = await client.send(new GetBucketLocationCommand({ Bucket }));
    expect(location.LocationConstraint).toBeUndefined();
    expect(await refusalOf(bob.send(new HeadBucketCommand({ Bucket })))).toMatch(/^403 /);
  });

  test("rule 16: one's own again is a success in us-east-1, another's is BucketAlreadyExists", async () => {
    const Bucket = await freshBucket(client);
    await client.send(new PutObjectCommand({ Bucket, Key: "kept" }));
    await client.send(new CreateBucketCommand({ Bucket }));
    const again = bob.send(new CreateBucketCommand({ Bucket }));
    expect(await refusalOf(again)).toBe("409 BucketAlreadyExists");
    await client.send(new DeleteObjectCommand({ Bucket, Key: "kept" }));
  });

  test("rule 16: elsewhere one's own again is BucketAlreadyOwnedByYou, and rule 24: the region must be signed", async () => {
    const region = "eu-central-1";
    const elsewhere = await startServer({ env: { ANYBUCKET_REGION: region } });
    try {
      const there = elsewhere.client({ region });
      const Bucket = await freshBucket(there);
      const again = there.send(new CreateBucketCommand({ Bucket }));
      expect(await refusalOf(again)).toBe("409 BucketAlreadyOwnedByYou");
      const { BucketRegion } = await there.send(new HeadBucketCommand({ Bucket }));
      expect(BucketRegion).toBe(region);
      const lost = await sendSigned(elsewhere, { method: "GET", path: `/${Bucket}` });
      expect([lost.status, lost.code]).toEqual([400, "AuthorizationHeaderMalformed"]);
      expect(elementOf(lost.text, "Region")).toBe(region);
    } finally {
      await elsewhere.stop();
    }
  });

  test("rule 16: one's own again with another ACL or ownership is refused, and stays as it is", async () => {
    const ObjectOwnership = "ObjectWriter";
    const Bucket = await freshBucket(client, { ObjectOwnership, ACL: "public-read" });
    const again = (input: Partial<CreateBucketCommandInput>) =>
      client.send(new CreateBucketCommand({ Bucket, ObjectOwnership, ...input }));
    await again({ ACL: "public-read" });
    for (const input of [
      {},
      { ACL: "public-read-write" },
      { ACL: "public-read", ObjectOwnership: "BucketOwnerPreferred" },
    ] as const) {
      expect(await refusalOf(again(input))).toBe("409 BucketAlreadyExists");
    }
    const { Grants } = await client.send(new GetBucketAclCommand({ Bucket }));
    const permissions = Grants?.map(({ Permission }) => Permission);
    expect(permissions?.toSorted()).toEqual(["FULL_CONTROL", "READ"]);
  });

  test.each(["ab", "Upper", "under_score", "-dash", "192.168.5.4", "a..b", "xn--x"])(
    "%s is not a name for a bucket",
    async (name) => {
      const answer = await sendSigned(server, { method: "PUT", path: `/${name}` });
      expect([answer.status, answer.code]).toEqual([400, "InvalidBucketName"]);
    },
  );

  test("the place may be named, and is told again", async () => {
    const LocationConstraint = "eu-central-1";
    const Bucket = await freshBucket(client, { CreateBucketConfiguration: { LocationConstraint } });
    const location = await client.send(new GetBucketLocationCommand({ Bucket }));
    expect(location.LocationConstraint).toBe(LocationConstraint);
  });

  test("an ACL is refused where ACLs are off", async () => {
    const open = freshBucket(client, { ACL: "public-read" });
    expect(await refusalOf(open)).toBe("400 InvalidBucketAclWithObjectOwnership");
  });

  test("rule 26: Object Lock is refused, not ignored", async () => {
    const locked = freshBucket(client, { ObjectLockEnabledForBucket: true });
    expect(await refusalOf(locked)).toBe("501 NotImplemented");
  });
});

describe("removing", () => {
  test("rule 17: versions and delete markers count, open uploads do not", async () => {
    const Bucket = await freshBucket(client);
    const VersioningConfiguration = { Status: "Enabled" } as const;
    await client.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration }));
    const marker = await client.send(new DeleteObjectCommand({ Bucket, Key: "never" }));
    const remove = () => client.send(new DeleteBucketCommand({ Bucket }));
    expect(await refusalOf(remove())).toBe("409 BucketNotEmpty");
    const VersionId = marker.VersionId ?? "";
    await client.send(new DeleteObjectCommand({ Bucket, Key: "never", VersionId }));
    const upload = { method: "POST", path: `/${Bucket}/open`, query: { uploads: "" } };
    expect((await sendSigned(server, upload)).status).toBe(200);
    await remove();
    expect(await refusalOf(client.send(new HeadBucketCommand({ Bucket })))).toBe("404 NotFound");
  });

  test("what was never there is NoSuchBucket", async () => {
    const remove = client.send(new DeleteBucketCommand({ Bucket: "never-there" }));
    expect(await refusalOf(remove)).toBe("404 NoSuchBucket");
  });
});

describe("listing", () => {
  test("shows one's own, by name, a page at a time", async () => {
    const prefix = `page-${Date.now()}-`;
    const names = ["c", "a", "b"].map((letter) => prefix + letter);
    for (const Bucket of names) await client.send(new CreateBucketCommand({ Bucket }));
    const list = (token?: string) =>
      client.send(
        new ListBucketsCommand({ Prefix: prefix, MaxBuckets: 2, ContinuationToken: token }),
      );
    const first = await list();
    expect(first.Buckets?.map(({ Name }) => Name)).toEqual([`${prefix}a`, `${prefix}b`]);
    expect(first.Buckets?.[0]?.BucketRegion).toBe("us-east-1");
    const second = await list(first.ContinuationToken);
    expect(second.Buckets?.map(({ Name }) => Name)).toEqual([`${prefix}c`]);
    expect(second.ContinuationToken).toBeUndefined();
    const others = await bob.send(new ListBucketsCommand({ Prefix: prefix }));
    expect(others.Buckets ?? []).toEqual([]);
    expect(others.Owner?.ID).toBe("b".repeat(64));
  });

  test("keeps to a region when asked", async () => {
    const none = await client.send(new ListBucketsCommand({ BucketRegion: "ap-south-1" }));
    expect(none.Buckets ?? []).toEqual([]);
  });
});

describe("configurations", () => {
  test("rule 14: what is not configured says so by its own code, once the bucket is known to exist", async () => {
    const bucket = await freshBucket(client);
    const codes: Record<string, string> = {
      policy: "NoSuchBucketPolicy",
      cors: "NoSuchCORSConfiguration",
      lifecycle: "NoSuchLifecycleConfiguration",
      tagging: "NoSuchTagSet",
      encryption: "ServerSideEncryptionConfigurationNotFoundError",
      "object-lock": "ObjectLockConfigurationNotFoundError",
      replication: "ReplicationConfigurationNotFoundError",
      website: "NoSuchWebsiteConfiguration",
      publicAccessBlock: "NoSuchPublicAccessBlockConfiguration",
    };
    for (const [name, code] of Object.entries(codes)) {
      const read = (path: string) =>
        sendSigned(server, { method: "GET", path, query: { [name]: "" } });
      const answer = await read(`/${bucket}`);
      expect([name, answer.status, answer.code]).toEqual([name, 404, code]);
      const nowhere = await read("/no-such-bucket-at-all");
      expect([name, nowhere.code]).toEqual([name, "NoSuchBucket"]);
    }
    for (const name of ["versioning", "logging", "notification"]) {
      const query = { [name]: "" };
      const answer = await sendSigned(server, { method: "GET", path: `/${bucket}`, query });
      expect([name, answer.status]).toEqual([name, 200]);
    }
  });

  test("rule 13: an unknown sub-resource is never answered with a listing", async () => {
    const bucket = await freshBucket(client);
    for (const name of ["abac", "session", "metadataTable"]) {
      const query = { [name]: "" };
      const answer = await sendSigned(server, { method: "GET", path: `/${bucket}`, query });
      expect([name, answer.status, answer.code]).toEqual([name, 501, "NotImplemented"]);
    }
    const plain = {
      method: "GET",
      path: `/${bucket}`,
      query: { "x-id": "whatever", tracking: "7" },
    };
    expect((await sendSigned(server, plain)).status).toBe(200);
  });

  test("rule 26: Object Lock's configurations cannot be written", async () => {
    const bucket = await freshBucket(client);
    for (const [path, name] of [
      [`/${bucket}`, "object-lock"],
      [`/${bucket}/key`, "retention"],
      [`/${bucket}/key`, "legal-hold"],
    ] as const) {
      const answer = await sendSigned(server, {
        method: "PUT",
        path,
        query: { [name]: "" },
        body: "<x/>",
      });
      expect([name, answer.status]).toEqual([name, 501]);
    }
  });

  test("versioning is told once it was ever on", async () => {
    const Bucket = await freshBucket(client);
    const status = async () =>
      (await client.send(new GetBucketVersioningCommand({ Bucket }))).Status;
    const set = (Status: "Enabled" | "Suspended", MFADelete?: "Enabled") =>
      client.send(
        new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status, MFADelete } }),
      );
    expect(await status()).toBeUndefined();
    await set("Enabled");
    expect(await status()).toBe("Enabled");
    await set("Suspended");
    expect(await status()).toBe("Suspended");
    expect(await refusalOf(set("Enabled", "Enabled"))).toBe("501 NotImplemented");
    const empty = await sendSigned(server, {
      method: "PUT",
      path: `/${Bucket}`,
      query: { versioning: "" },
      body: "<VersioningConfiguration/>",
    });
    expect(empty.code).toBe("IllegalVersioningConfigurationException");
  });

  test("ownership is a rule that can be set, read and taken away", async () => {
    const Bucket = await freshBucket(client);
    const read = () => client.send(new GetBucketOwnershipControlsCommand({ Bucket }));
    expect((await read()).OwnershipControls?.Rules).toEqual([
      { ObjectOwnership: "BucketOwnerEnforced" },
    ]);
    const OwnershipControls = { Rules: [{ ObjectOwnership: "ObjectWriter" as const }] };
    await client.send(new PutBucketOwnershipControlsCommand({ Bucket, OwnershipControls }));
    expect((await read()).OwnershipControls?.Rules?.[0]?.ObjectOwnership).toBe("ObjectWriter");
    await client.send(new DeleteBucketOwnershipControlsCommand({ Bucket }));
    expect(await refusalOf(read())).toBe("404 OwnershipControlsNotFoundError");
  });

  test("documents carry AWS's namespace", async () => {
    const bucket = await freshBucket(client);
    const answer = await sendSigned(server, { method: "GET", path: `/${bucket}` });
    expect(answer.text).toContain(
      '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">',
    );
    expect(elementOf(answer.text, "Name")).toBe(bucket);
  });
});
