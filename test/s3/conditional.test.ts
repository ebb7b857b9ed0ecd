/** Conditions on reads, writes and deletes, and what they decide when requests race. */
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  type PutObjectCommandInput,
  type S3Client,
  UploadPartCommand,
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

async function put(Key: string, more: Partial<PutObjectCommandInput> = {}): Promise<string> {
  const answer = await client.send(new PutObjectCommand({ Bucket, Key, Body: "x", ...more }));
  return answer.ETag ?? "";
}

describe("rule 4: reads", () => {
  test("304 without a body but with the ETag; 412 before it", async () => {
    const etag = await put("read");
    const path = `/${Bucket}/read`;
    const send = (headers: Record<string, string>) =>
      sendSigned(server, { method: "GET", path, headers });
    const unchanged = await send({ "if-none-match": etag });
    expect([unchanged.status, unchanged.body.length, unchanged.headers.etag]).toEqual([
      304,
      0,
      etag,
    ]);
    expect((await send({ "if-match": '"other"', "if-none-match": etag })).status).toBe(412);
    const past = new Date(0).toUTCString();
    expect((await send({ "if-match": etag, "if-unmodified-since": past })).status).toBe(200);
    expect((await send({ "if-unmodified-since": past })).status).toBe(412);
    const toCome = new Date(Date.now() + 86_400_000).toUTCString();
    expect((await send({ "if-modified-since": toCome })).status).toBe(200);
    expect((await send({ "if-none-match": '"other"', "if-modified-since": toCome })).status).toBe(
      200,
    );
  });

  test("a range asked for another version is ignored", async () => {
    const etag = await put("if-range", { Body: "0123456789" });
    const path = `/${Bucket}/if-range`;
    const send = (condition: string) =>
      sendSigned(server, {
        method: "GET",
        path,
        headers: { range: "bytes=0-1", "if-range": condition },
      });
    expect((await send(etag)).status).toBe(206);
    expect((await send('"other"')).status).toBe(200);
  });

  test("HEAD decides as GET does", async () => {
    const ETag = await put("head");
    const head = client.send(new HeadObjectCommand({ Bucket, Key: "head", IfMatch: '"other"' }));
    expect(await refusalOf(head)).toMatch(/^412 /);
    const get = await client.send(new GetObjectCommand({ Bucket, Key: "head", IfMatch: ETag }));
    expect(get.ETag).toBe(ETag);
  });
});

describe("rule 3: writes", () => {
  test("If-None-Match: * makes, and never replaces", async () => {
    await put("once", { IfNoneMatch: "*" });
    expect(await refusalOf(put("once", { IfNoneMatch: "*" }))).toBe("412 PreconditionFailed");
  });

  test("If-Match replaces what it names, and nothing else", async () => {
    const etag = await put("swap");
    expect(await refusalOf(put("swap", { IfMatch: '"other"' }))).toBe("412 PreconditionFailed");
    await put("swap", { IfMatch: etag, Body: "y" });
    expect(await refusalOf(put("never-there", { IfMatch: etag }))).toBe("404 NoSuchKey");
  });

  test("both at once mean nothing", async () => {
    const both = put("both", { IfMatch: '"a"', IfNoneMatch: "*" });
    expect(await refusalOf(both)).toBe("501 NotImplemented");
  });

  test("a delete marker counts as absent", async () => {
    const versioned = await freshBucket(client);
    const VersioningConfiguration = { Status: "Enabled" } as const;
    await client.send(
      new PutBucketVersioningCommand({ Bucket: versioned, VersioningConfiguration }),
    );
    const write = (more: Partial<PutObjectCommandInput>) =>
      client.send(new PutObjectCommand({ Bucket: versioned, Key: "k", Body: "x", ...more }));
    const { ETag } = await write({});
    await client.send(new DeleteObjectCommand({ Bucket: versioned, Key: "k" }));
    expect(await refusalOf(write({ IfMatch: ETag }))).toBe("404 NoSuchKey");
    await write({ IfNoneMatch: "*" });
  });

  test("of many that race to make a key, one does", async () => {
    const racers = Array.from({ length: 12 }, (_, index) =>
      put("race", { IfNoneMatch: "*", Body: `${index}` }).then(
        () => index,
        () => undefined,
      ),
    );
    const winners = (await Promise.all(racers)).filter((index) => index !== undefined);
    expect(winners).toHaveLength(1);
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key: "race" }));
    expect(await Body?.transformToString()).toBe(`${winners[0]}`);
  });

  test("copies and completed uploads decide as puts do", async () => {
    await put("source");
    const CopySource = `${Bucket}/source`;
    const copy = (more: object) =>
      client.send(new CopyObjectCommand({ Bucket, Key: "target", CopySource, ...more }));
    await copy({ IfNoneMatch: "*" });
    expect(await refusalOf(copy({ IfNoneMatch: "*" }))).toBe("412 PreconditionFailed");
    expect(await refusalOf(copy({ IfMatch: '"other"' }))).toBe("412 PreconditionFailed");
    const complete = async (Key: string, more: object) => {
      const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key }));
      const part = { Bucket, Key, UploadId, PartNumber: 1, Body: "part" };
      const { ETag } = await client.send(new UploadPartCommand(part));
      const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] };
      return client.send(
        new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload, ...more }),
      );
    };
    await complete("whole", { IfNoneMatch: "*" });
    expect(await refusalOf(complete("whole", { IfNoneMatch: "*" }))).toBe("412 PreconditionFailed");
    expect(await refusalOf(complete("fresh", { IfMatch: '"other"' }))).toBe("404 NoSuchKey");
  });
});

describe("rule 3: deletes", () => {
  test("take what they name, by ETag, size or time", async () => {
    const path = `/${Bucket}/judged`;
    const remove = (headers: Record<string, string>) =>
      sendSigned(server, { method: "DELETE", path, headers });
    const etag = await put("judged");
    expect((await remove({ "if-match": '"other"' })).code).toBe("PreconditionFailed");
    expect((await remove({ "x-amz-if-match-size": "9" })).code).toBe("PreconditionFailed");
    const past = new Date(0).toUTCString();
    expect((await remove({ "x-amz-if-match-last-modified-time": past })).code).toBe(
      "PreconditionFailed",
    );
    expect((await remove({ "if-match": etag, "x-amz-if-match-size": "1" })).status).toBe(204);
    expect((await remove({ "if-match": '"other"' })).status).toBe(204);
  });

  test("of many keys, each by itself", async () => {
    const ETag = await put("first");
    await put("second");
    const Objects = [
      { Key: "first", ETag },
      { Key: "second", ETag: '"other"' },
      { Key: "third", Size: 3 },
    ];
    const answer = await client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
    expect(answer.Deleted?.map(({ Key }) => Key)).toEqual(["first", "third"]);
    expect(answer.Errors?.map(({ Key, Code }) => [Key, Code])).toEqual([
      ["second", "PreconditionFailed"],
    ]);
  });
});
