/** Objects: put, read whole and in ranges, described, copied, removed. */
import { createHash } from "node:crypto";
import { connect } from "node:net";
import {
  CopyObjectCommand,
  type CopyObjectCommandOutput,
  DeleteBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  elementOf,
  freshBucket,
  openRaw,
  presign,
  refusalOf,
  sendRaw,
  sendSigned,
} from "./requests.ts";
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

async function put(Key: string, Body: string | Uint8Array = ""): Promise<string> {
  return (await client.send(new PutObjectCommand({ Bucket, Key, Body }))).ETag ?? "";
}

async function textOf(Key: string, more: { Range?: string } = {}): Promise<string> {
  const { Body } = await client.send(new GetObjectCommand({ Bucket, Key, ...more }));
  return (await Body?.transformToString()) ?? "";
}

describe("put and get", () => {
  test.each([0, 1, 4096, 1024 * 1024 + 1, 9 * 1024 * 1024])(
    "%i bytes come back the same",
    async (size) => {
      const bytes = Buffer.alloc(size, "anybucket ");
      const Key = `sized-${size}`;
      const etag = await put(Key, bytes);
      expect(etag).toBe(`"${createHash("md5").update(bytes).digest("hex")}"`);
      const { Body, ContentLength, ETag } = await client.send(
        new GetObjectCommand({ Bucket, Key }),
      );
      const read = Buffer.from((await Body?.transformToByteArray()) ?? []);
      expect([ContentLength, ETag, read.equals(bytes)]).toEqual([size, etag, true]);
    },
  );

  test("system metadata comes back as it was sent", async () => {
    const sent = {
      ContentType: "text/x-test",
      CacheControl: "max-age=7",
      ContentDisposition: 'attachment; filename="a b.txt"',
      ContentLanguage: "de",
      WebsiteRedirectLocation: "/elsewhere",
    };
    await client.send(new PutObjectCommand({ Bucket, Key: "described", ...sent }));
    const head = await client.send(new HeadObjectCommand({ Bucket, Key: "described" }));
    expect(head).toMatchObject(sent);
  });

  test("an Expires header is kept whatever it says", async () => {
    const path = `/${Bucket}/expiring`;
    await sendSigned(server, { method: "PUT", path, headers: { expires: "someday" } });
    expect((await sendSigned(server, { method: "HEAD", path })).headers.expires).toBe("someday");
  });

  test("rule 1: aws-chunked is how the body came, not what it is", async () => {
    for (const [encoding, kept] of [
      ["gzip, aws-chunked", "gzip"],
      ["aws-chunked", undefined],
    ] as const) {
      const path = `/${Bucket}/encoded`;
      await sendSigned(server, { method: "PUT", path, headers: { "content-encoding": encoding } });
      const head = await sendSigned(server, { method: "HEAD", path });
      expect(head.headers["content-encoding"]).toBe(kept);
    }
  });

  test("a key that ends in a slash is a key like any other", async () => {
    await put("dir/", "");
    await put("dir", "file");
    expect(await textOf("dir")).toBe("file");
    expect((await client.send(new HeadObjectCommand({ Bucket, Key: "dir/" }))).ContentLength).toBe(
      0,
    );
    expect(await refusalOf(client.send(new HeadObjectCommand({ Bucket, Key: "dir/x" })))).toBe(
      "404 NotFound",
    );
  });

  test("rule 23: keys are the bytes that were sent, whatever they look like", async () => {
    const keys = [
      "a//b",
      "./a",
      "../a",
      "a/../b",
      "sp ace",
      "pl+us",
      "%41",
      "%2F",
      "!'()*~",
      "=&?#",
      "日本/é",
      "@:,;$",
    ];
    for (const key of keys) await put(key, key);
    for (const key of keys) expect(await textOf(key)).toBe(key);
    const encoded = await sendSigned(server, { method: "GET", path: `/${Bucket}/a%2F%2Fb` });
    expect(encoded.text).toBe("a//b");
    const raw = await sendSigned(server, { method: "GET", path: `/${Bucket}/a/../b` });
    expect(raw.text).toBe("a/../b");
  });

  test("rule 20: the ETag is the MD5, in quotes, wherever it is told", async () => {
    const etag = await put("tagged", "x");
    expect(etag).toBe('"9dd4e461268c8034f5c8564e155c67a6"');
    const head = await client.send(new HeadObjectCommand({ Bucket, Key: "tagged" }));
    const list = await client.send(new ListObjectsV2Command({ Bucket, Prefix: "tagged" }));
    expect([head.ETag, list.Contents?.[0]?.ETag]).toEqual([etag, etag]);
  });

  test("rule 21: one date in whole seconds, in headers and in listings", async () => {
    await put("dated");
    const path = `/${Bucket}/dated`;
    const head = await sendSigned(server, { method: "HEAD", path });
    const query = { "list-type": "2", prefix: "dated" };
    const list = await sendSigned(server, { method: "GET", path: `/${Bucket}`, query });
    const shown = elementOf(list.text, "LastModified") ?? "";
    expect(shown).toMatch(/\.000Z$/);
    expect(Date.parse(head.headers["last-modified"] ?? "")).toBe(Date.parse(shown));
  });

  test("rule 31: a storage class that is not offered is refused", async () => {
    const glacier = client.send(
      new PutObjectCommand({ Bucket, Key: "cold", StorageClass: "GLACIER" }),
    );
    expect(await refusalOf(glacier)).toBe("400 InvalidStorageClass");
    expect(await refusalOf(client.send(new HeadObjectCommand({ Bucket, Key: "cold" })))).toBe(
      "404 NotFound",
    );
  });

  test("rule 15: errors of HEAD have no body, and what may not be listed is not told", async () => {
    const path = `/${Bucket}/absent`;
    const known = await sendSigned(server, { method: "HEAD", path });
    expect([known.status, known.body.length]).toEqual([404, 0]);
    const unknown = await sendRaw(server, { method: "HEAD", path });
    expect([unknown.status, unknown.body.length]).toEqual([403, 0]);
    const read = await sendRaw(server, { method: "GET", path });
    expect([read.status, read.code]).toEqual([403, "AccessDenied"]);
  });
});

describe("user metadata", () => {
  test("comes back in lower case", async () => {
    const Metadata = { Colour: "blue", empty: "" };
    await client.send(new PutObjectCommand({ Bucket, Key: "meta", Metadata }));
    const head = await client.send(new HeadObjectCommand({ Bucket, Key: "meta" }));
    expect(head.Metadata).toEqual({ colour: "blue", empty: "" });
  });

  test("rule 29: what a header cannot hold comes back as RFC 2047 words, and 2 KB is the limit", async () => {
    const Metadata = { latin: "na\u00efve" };
    await client.send(new PutObjectCommand({ Bucket, Key: "unicode", Metadata }));
    const head = await client.send(new HeadObjectCommand({ Bucket, Key: "unicode" }));
    expect(head.Metadata).toEqual(Metadata);
    // No client library writes other characters into a header, but a presigned URL's parameters can hold them.
    const path = `/${Bucket}/unicode`;
    const query = { "x-amz-meta-place": "日本" };
    const sent = await sendRaw(server, await presign(server, { method: "PUT", path, query }));
    expect(sent.status).toBe(200);
    const shown = await sendSigned(server, { method: "HEAD", path });
    expect(shown.headers["x-amz-meta-place"]).toBe("=?UTF-8?B?5pel5pys?=");
    const large = { long: "v".repeat(2045) };
    const refused = client.send(new PutObjectCommand({ Bucket, Key: "large", Metadata: large }));
    expect(await refusalOf(refused)).toBe("400 MetadataTooLarge");
  });
});

describe("rule 19: ranges", () => {
  beforeAll(() => put("ranged", "0123456789"));

  test.each([
    ["bytes=2-4", "234", "bytes 2-4/10"],
    ["bytes=7-", "789", "bytes 7-9/10"],
    ["bytes=-2", "89", "bytes 8-9/10"],
    ["bytes=8-99", "89", "bytes 8-9/10"],
  ])("%s", async (Range, text, contentRange) => {
    const answer = await client.send(new GetObjectCommand({ Bucket, Key: "ranged", Range }));
    expect(answer.$metadata.httpStatusCode).toBe(206);
    expect(answer.ContentRange).toBe(contentRange);
    expect(await answer.Body?.transformToString()).toBe(text);
  });

  test("several ranges are answered with the whole", async () => {
    const answer = await client.send(
      new GetObjectCommand({ Bucket, Key: "ranged", Range: "bytes=0-1,4-5" }),
    );
    expect([answer.$metadata.httpStatusCode, await answer.Body?.transformToString()]).toEqual([
      200,
      "0123456789",
    ]);
  });

  test("what lies outside is 416 with the size; any range of nothing too", async () => {
    await put("nothing");
    for (const [key, range, size] of [
      ["ranged", "bytes=10-", 10],
      ["nothing", "bytes=-5", 0],
    ] as const) {
      const headers = { range };
      const answer = await sendSigned(server, {
        method: "GET",
        path: `/${Bucket}/${key}`,
        headers,
      });
      expect([answer.status, answer.code]).toEqual([416, "InvalidRange"]);
      expect(answer.headers["content-range"]).toBe(`bytes */${size}`);
    }
  });

  test("a part's number reads the whole of an object without parts, and no range with it", async () => {
    expect(await (await readPart(1)).Body?.transformToString()).toBe("0123456789");
    expect(await refusalOf(readPart(2))).toBe("400 InvalidPart");
    expect(await refusalOf(readPart(1, "bytes=0-1"))).toBe("400 InvalidRequest");
    expect(await refusalOf(readPart(0))).toBe("400 InvalidArgument");
  });
});

describe("response-* overrides", () => {
  test("replace headers", async () => {
    await put("overridden");
    const answer = await client.send(
      new GetObjectCommand({ Bucket, Key: "overridden", ResponseContentType: "image/x-test" }),
    );
    expect(answer.ContentType).toBe("image/x-test");
  });
});

describe("removing", () => {
  test("is a success for what was never there", async () => {
    const answer = await client.send(new DeleteObjectCommand({ Bucket, Key: "never" }));
    expect(answer.$metadata.httpStatusCode).toBe(204);
  });

  test("rule 18: a thousand at once, each with its outcome", async () => {
    const Objects = Array.from({ length: 1000 }, (_, index) => ({ Key: `many-${index}` }));
    await put("many-7");
    const answer = await client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
    expect(answer.Deleted).toHaveLength(1000);
    expect(answer.Errors).toBeUndefined();
    const quiet = await client.send(
      new DeleteObjectsCommand({ Bucket, Delete: { Objects, Quiet: true } }),
    );
    expect(quiet.Deleted).toBeUndefined();
    expect(await refusalOf(client.send(new HeadObjectCommand({ Bucket, Key: "many-7" })))).toBe(
      "404 NotFound",
    );
  });

  test("rule 18: more, none, or no digest is refused, and what fails one key fails it alone", async () => {
    const Objects = Array.from({ length: 1001 }, (_, index) => ({ Key: `over-${index}` }));
    const over = client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
    expect(await refusalOf(over)).toBe("400 MalformedXML");
    const send = (body: string, headers: Record<string, string> = { "content-md5": md5Of(body) }) =>
      sendSigned(server, {
        method: "POST",
        path: `/${Bucket}`,
        query: { delete: "" },
        headers,
        body,
      });
    expect((await send("<Delete/>")).code).toBe("MalformedXML");
    const one = "<Delete><Object><Key>k</Key></Object></Delete>";
    expect((await send(one, {})).code).toBe("InvalidRequest");
    expect((await send(one, { "content-md5": md5Of("other") })).code).toBe("BadDigest");
    const long = `<Delete><Object><Key>${"k".repeat(1025)}</Key></Object><Object><Key>k</Key></Object></Delete>`;
    const answer = await send(long);
    expect(answer.status).toBe(200);
    expect(answer.text).toMatch(/<Code>KeyTooLongError<\/Code>.*<Deleted><Key>k<\/Key><\/Deleted>/);
  });
});

describe("rule 22: copies", () => {
  test("take bytes and metadata along, or replace the metadata", async () => {
    const Metadata = { a: "1" };
    const ContentType = "text/x-source";
    await client.send(
      new PutObjectCommand({ Bucket, Key: "source", Body: "copied", Metadata, ContentType }),
    );
    const result = await copy("copy", "source");
    const head = await client.send(new HeadObjectCommand({ Bucket, Key: "copy" }));
    expect(head).toMatchObject({ Metadata, ContentType, ETag: result.CopyObjectResult?.ETag });
    expect(await textOf("copy")).toBe("copied");
    await copy("copy", "source", { MetadataDirective: "REPLACE", Metadata: { b: "2" } });
    const replaced = await client.send(new HeadObjectCommand({ Bucket, Key: "copy" }));
    expect(replaced).toMatchObject({ Metadata: { b: "2" }, ContentType: "binary/octet-stream" });
  });

  test("onto itself must change something", async () => {
    await put("itself", "x");
    expect(await refusalOf(copy("itself", "itself"))).toBe("400 InvalidRequest");
    await copy("itself", "itself", { MetadataDirective: "REPLACE", Metadata: { touched: "1" } });
    const head = await client.send(new HeadObjectCommand({ Bucket, Key: "itself" }));
    expect(head.Metadata).toEqual({ touched: "1" });
  });

  test("the source is decoded once", async () => {
    await put("100%25", "percent");
    await copy("decoded", "100%2525");
    expect(await textOf("decoded")).toBe("percent");
  });

  test("directives are exact, ranges refused, sources looked for", async () => {
    await put("exact", "x");
    expect(await refusalOf(copy("c", "exact", { MetadataDirective: "replace" }))).toBe(
      "400 InvalidArgument",
    );
    expect(await refusalOf(copy("c", "exact", { TaggingDirective: "KEEP" }))).toBe(
      "400 InvalidArgument",
    );
    expect(await refusalOf(copy("c", "absent"))).toBe("404 NoSuchKey");
    const elsewhere = new CopyObjectCommand({
      Bucket,
      Key: "c",
      CopySource: "no-such-bucket-here/k",
    });
    expect(await refusalOf(client.send(elsewhere))).toBe("404 NoSuchBucket");
    const headers = {
      "x-amz-copy-source": `${Bucket}/exact`,
      "x-amz-copy-source-range": "bytes=0-0",
    };
    const ranged = await sendSigned(server, { method: "PUT", path: `/${Bucket}/c`, headers });
    expect([ranged.status, ranged.code]).toEqual([400, "InvalidRequest"]);
  });

  test("conditions on the source decide", async () => {
    const etag = await put("judged", "x");
    await copy("c", "judged", { CopySourceIfMatch: etag });
    for (const more of [
      { CopySourceIfMatch: '"other"' },
      { CopySourceIfNoneMatch: etag },
      { CopySourceIfModifiedSince: new Date(Date.now() - 1) },
      { CopySourceIfUnmodifiedSince: new Date(0) },
    ]) {
      expect(await refusalOf(copy("c", "judged", more))).toBe("412 PreconditionFailed");
    }
  });
});

describe("early and late ends", () => {
  test("rule 28: who may not write is told before sending the body", async () => {
    const head = [
      `PUT /${Bucket}/expected HTTP/1.1`,
      `Host: 127.0.0.1:${server.port}`,
      "Content-Length: 1000000",
      "Expect: 100-continue",
      "",
      "",
    ].join("\r\n");
    const answer = await exchange(head);
    expect(answer).toMatch(/^HTTP\/1\.1 403 /);
    expect(answer).not.toContain("100 Continue");
  });

  test("rule 32: what is put into a bucket that goes away meanwhile is NoSuchBucket", async () => {
    const doomed = await freshBucket(client);
    const path = `/${doomed}/late`;
    const late = await presign(server, {
      method: "PUT",
      path,
      headers: { "content-length": "10" },
    });
    const { outgoing, answered } = openRaw(server, late);
    await new Promise((written) => outgoing.write("begun", written));
    await client.send(new DeleteBucketCommand({ Bucket: doomed }));
    outgoing.end("ended");
    const answer = await answered;
    expect([answer.status, answer.code]).toEqual([404, "NoSuchBucket"]);
  });

  test("an upload whose client goes away leaves nothing", async () => {
    const head = [
      `PUT /${Bucket}/half HTTP/1.1`,
      `Host: 127.0.0.1:${server.port}`,
      "Content-Length: 1000000",
      "",
      "half",
    ].join("\r\n");
    const socket = connect(server.port, "127.0.0.1");
    socket.write(head);
    socket.destroySoon();
    expect(await refusalOf(client.send(new HeadObjectCommand({ Bucket, Key: "half" })))).toBe(
      "404 NotFound",
    );
  });
});

function readPart(PartNumber: number, Range?: string): Promise<GetObjectCommandOutput> {
  return client.send(new GetObjectCommand({ Bucket, Key: "ranged", PartNumber, Range }));
}

function copy(Key: string, source: string, more: object = {}): Promise<CopyObjectCommandOutput> {
  const CopySource = `${Bucket}/${source}`;
  return client.send(new CopyObjectCommand({ Bucket, Key, CopySource, ...more }));
}

function md5Of(text: string): string {
  return createHash("md5").update(text).digest("base64");
}

/** What the server says to these bytes before it closes or pauses. */
function exchange(bytes: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = connect(server.port, "127.0.0.1");
  socket.on("error", reject);
  socket.once("data", (answer) => {
    resolve(answer.toString("latin1"));
    socket.destroy();
  });
  socket.write(bytes);
  return promise;
}
