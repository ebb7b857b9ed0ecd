/** Tags of objects and buckets. */
import { randomUUID } from "node:crypto";
import {
  CopyObjectCommand,
  CreateBucketCommand,
  DeleteBucketTaggingCommand,
  DeleteObjectTaggingCommand,
  GetBucketTaggingCommand,
  GetObjectTaggingCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  PutBucketTaggingCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freshBucket, refusalOf, sendSigned } from "./requests.ts";
import { startServer, type TestServer } from "./server.ts";

let server: TestServer;
let client: S3Client;
let Bucket: string;

beforeAll(async () => {
  server = await startServer();
  client = server.client();
  Bucket = await freshBucket(client);
});
afterAll(() => server.stop());

function tagsOf(count: number): { Key: string; Value: string }[] {
  return Array.from({ length: count }, (_, index) => ({ Key: `key ${index}`, Value: `${index}` }));
}

async function read(Key: string, VersionId?: string) {
  return (await client.send(new GetObjectTaggingCommand({ Bucket, Key, VersionId }))).TagSet;
}

function write(Key: string, TagSet: { Key: string; Value: string }[]) {
  return client.send(new PutObjectTaggingCommand({ Bucket, Key, Tagging: { TagSet } }));
}

describe("an object's tags", () => {
  test("come with it, are counted, replaced and removed, and leave its date alone", async () => {
    await client.send(new PutObjectCommand({ Bucket, Key: "k", Tagging: "b=2&a=%C3%A9+1" }));
    expect(await read("k")).toEqual([
      { Key: "a", Value: "é 1" },
      { Key: "b", Value: "2" },
    ]);
    const before = await client.send(new HeadObjectCommand({ Bucket, Key: "k" }));
    expect(before.TagCount).toBe(2);
    await write("k", tagsOf(10));
    expect(await read("k")).toEqual(tagsOf(10));
    await client.send(new DeleteObjectTaggingCommand({ Bucket, Key: "k" }));
    expect(await read("k")).toEqual([]);
    const after = await client.send(new HeadObjectCommand({ Bucket, Key: "k" }));
    expect([after.TagCount, after.LastModified]).toEqual([undefined, before.LastModified]);
  });

  test("are at most ten, each key once and of allowed characters", async () => {
    await client.send(new PutObjectCommand({ Bucket, Key: "limits" }));
    const twice = [
      { Key: "a", Value: "1" },
      { Key: "a", Value: "2" },
    ];
    for (const tags of [
      tagsOf(11),
      twice,
      [{ Key: "<", Value: "" }],
      [{ Key: "k".repeat(129), Value: "" }],
    ]) {
      expect(await refusalOf(write("limits", tags))).toBe("400 InvalidTag");
    }
    const header = client.send(new PutObjectCommand({ Bucket, Key: "limits", Tagging: "a=1&a=2" }));
    expect(await refusalOf(header)).toBe("400 InvalidTag");
    expect(await read("limits")).toEqual([]);
  });

  test("of an absent object are not there", async () => {
    expect(await refusalOf(read("absent"))).toBe("404 NoSuchKey");
    expect(await refusalOf(write("absent", tagsOf(1)))).toBe("404 NoSuchKey");
  });

  test("go along with a copy, or are replaced", async () => {
    await client.send(new PutObjectCommand({ Bucket, Key: "source", Tagging: "a=1" }));
    const copy = (more: object) =>
      client.send(
        new CopyObjectCommand({ Bucket, Key: "copy", CopySource: `${Bucket}/source`, ...more }),
      );
    await copy({});
    expect(await read("copy")).toEqual([{ Key: "a", Value: "1" }]);
    await copy({ TaggingDirective: "REPLACE", Tagging: "b=2" });
    expect(await read("copy")).toEqual([{ Key: "b", Value: "2" }]);
  });

  test("belong to one version", async () => {
    const versioned = await freshBucket(client);
    await client.send(
      new PutBucketVersioningCommand({
        Bucket: versioned,
        VersioningConfiguration: { Status: "Enabled" },
      }),
    );
    const put = async (Tagging: string) =>
      (await client.send(new PutObjectCommand({ Bucket: versioned, Key: "k", Tagging }))).VersionId;
    const first = await put("v=1");
    await put("v=2");
    const get = (VersionId?: string) =>
      client.send(new GetObjectTaggingCommand({ Bucket: versioned, Key: "k", VersionId }));
    expect((await get(first)).TagSet).toEqual([{ Key: "v", Value: "1" }]);
    expect((await get()).TagSet).toEqual([{ Key: "v", Value: "2" }]);
  });
});

test("a bucket's tags are fifty at most, and none is said so", async () => {
  const get = () => client.send(new GetBucketTaggingCommand({ Bucket }));
  const put = (count: number) =>
    client.send(new PutBucketTaggingCommand({ Bucket, Tagging: { TagSet: tagsOf(count) } }));
  expect(await refusalOf(get())).toBe("404 NoSuchTagSet");
  expect((await put(50)).$metadata.httpStatusCode).toBe(204);
  expect((await get()).TagSet).toHaveLength(50);
  expect(await refusalOf(put(51))).toBe("400 InvalidTag");
  await client.send(new DeleteBucketTaggingCommand({ Bucket }));
  expect(await refusalOf(get())).toBe("404 NoSuchTagSet");
});

test("a bucket may be made with tags, which make it no other's nor one's own again", async () => {
  const tagged = { Bucket: `test-${randomUUID()}` };
  const create = (Tags: { Key: string; Value: string }[]) =>
    client.send(new CreateBucketCommand({ ...tagged, CreateBucketConfiguration: { Tags } }));
  const twice = [
    { Key: "a", Value: "1" },
    { Key: "a", Value: "2" },
  ];
  expect(await refusalOf(create(twice))).toBe("400 InvalidTag");
  expect(await refusalOf(client.send(new HeadBucketCommand(tagged)))).toBe("404 NotFound");
  await create([{ Key: "team", Value: "blue" }]);
  const { TagSet } = await client.send(new GetBucketTaggingCommand(tagged));
  expect(TagSet).toEqual([{ Key: "team", Value: "blue" }]);
  expect(await refusalOf(create([{ Key: "team", Value: "blue" }]))).toBe(
    "409 BucketAlreadyOwnedByYou",
  );
  await create([]);
});

test("a tagging document that is none is refused", async () => {
  const query = { tagging: "" };
  for (const body of [
    "",
    "<Tagging/>",
    "<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
  ]) {
    const answer = await sendSigned(server, { method: "PUT", path: `/${Bucket}`, query, body });
    expect([body, answer.status, answer.code]).toEqual([body, 400, "MalformedXML"]);
  }
});
