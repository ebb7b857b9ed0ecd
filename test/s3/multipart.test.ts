/** Uploads in parts, from their creation to the object or to nothing. */
import { createHash } from "node:crypto";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  type CompleteMultipartUploadCommandInput,
  type CompleteMultipartUploadCommandOutput,
  CreateMultipartUploadCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freshBucket, refusalOf, sendSigned } from "./requests.ts";
import { startServer, type TestServer } from "./server.ts";

const PART_BYTES = 5 * 1024 ** 2;

interface Part {
  readonly PartNumber: number;
  readonly ETag: string;
}

let server: TestServer;
let client: S3Client;
let Bucket: string;

beforeAll(async () => {
  server = await startServer();
  client = server.client();
  Bucket = await freshBucket(client);
});
afterAll(() => server.stop());

async function begin(Key: string, bucket = Bucket): Promise<string> {
  const create = new CreateMultipartUploadCommand({ Bucket: bucket, Key });
  return (await client.send(create)).UploadId ?? "";
}

async function upload(
  to: { Key: string; UploadId: string },
  number: number,
  body: Buffer | string,
): Promise<Part> {
  const PartNumber = number;
  const sent = await client.send(new UploadPartCommand({ Bucket, ...to, PartNumber, Body: body }));
  return { PartNumber, ETag: sent.ETag ?? "" };
}

function complete(
  to: { Key: string; UploadId: string },
  Parts: Part[],
  more: Partial<CompleteMultipartUploadCommandInput> = {},
): Promise<CompleteMultipartUploadCommandOutput> {
  const MultipartUpload = { Parts };
  return client.send(
    new CompleteMultipartUploadCommand({ Bucket, ...to, MultipartUpload, ...more }),
  );
}

describe("an object in parts", () => {
  const Key = "in parts";
  const bodies = [Buffer.alloc(PART_BYTES, "a"), Buffer.alloc(PART_BYTES, "b"), Buffer.from("end")];
  let etag: string;

  beforeAll(async () => {
    const to = { Key, UploadId: await begin(Key) };
    const parts: Part[] = [];
    for (const [index, body] of bodies.entries()) parts.push(await upload(to, 2 * index + 1, body));
    etag = (await complete(to, parts)).ETag ?? "";
  });

  test("rule 20: has the MD5 of its parts' MD5s, and their number, for its ETag", async () => {
    const expected = md5(Buffer.concat(bodies.map(md5))).toString("hex");
    expect(etag).toBe(`"${expected}-3"`);
    expect((await client.send(new HeadObjectCommand({ Bucket, Key }))).ETag).toBe(etag);
  });

  test("is read across its parts", async () => {
    const Range = `bytes=${PART_BYTES - 2}-${PART_BYTES + 1}`;
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key, Range }));
    expect(await Body?.transformToString()).toBe("aabb");
    const whole = await client.send(new GetObjectCommand({ Bucket, Key }));
    const bytes = Buffer.from((await whole.Body?.transformToByteArray()) ?? []);
    expect(bytes.equals(Buffer.concat(bodies))).toBe(true);
  });

  test("rule 19: gives each part by its number", async () => {
    const last = await client.send(new GetObjectCommand({ Bucket, Key, PartNumber: 3 }));
    expect([last.PartsCount, last.ContentLength, last.ETag]).toEqual([3, 3, etag]);
    expect(last.ContentRange).toBe(
      `bytes ${2 * PART_BYTES}-${2 * PART_BYTES + 2}/${2 * PART_BYTES + 3}`,
    );
    expect(await last.Body?.transformToString()).toBe("end");
    const head = await client.send(new HeadObjectCommand({ Bucket, Key, PartNumber: 1 }));
    expect([head.PartsCount, head.ContentLength]).toEqual([3, PART_BYTES]);
    const beyond = client.send(new GetObjectCommand({ Bucket, Key, PartNumber: 4 }));
    expect(await refusalOf(beyond)).toBe("400 InvalidPart");
  });

  test("has attributes, its parts a page at a time", async () => {
    const { ObjectParts, ObjectSize, ETag } = await client.send(
      new GetObjectAttributesCommand({
        Bucket,
        Key,
        ObjectAttributes: ["ETag", "ObjectParts", "ObjectSize"],
        MaxParts: 1,
        PartNumberMarker: "1",
      }),
    );
    expect([ETag, ObjectSize]).toEqual([etag.replaceAll('"', ""), 2 * PART_BYTES + 3]);
    expect(ObjectParts).toMatchObject({ TotalPartsCount: 3, MaxParts: 1, IsTruncated: true });
    expect(ObjectParts?.Parts?.map(({ Size }) => Size)).toEqual([PART_BYTES]);
  });
});

describe("rule 5: completing again", () => {
  test("with the same parts gives the same answer", async () => {
    const to = { Key: "again", UploadId: await begin("again") };
    const parts = [await upload(to, 1, "only")];
    const first = await complete(to, parts);
    const second = await complete(to, parts);
    expect(second.ETag).toBe(first.ETag);
  });

  test("of several at once, all that succeed made the same object", async () => {
    const to = { Key: "at once", UploadId: await begin("at once") };
    const parts = [await upload(to, 1, "only")];
    const answers = await Promise.allSettled([1, 2, 3].map(() => complete(to, parts)));
    const etags = answers.flatMap((answer) =>
      answer.status === "fulfilled" ? answer.value.ETag : [],
    );
    expect(etags.length).toBeGreaterThan(0);
    expect(new Set(etags).size).toBe(1);
  });
});

describe("rule 7: parts", () => {
  test("unknown, of another ETag, or out of order are refused, and the upload stays open", async () => {
    const to = { Key: "refused", UploadId: await begin("refused") };
    const one = await upload(to, 1, Buffer.alloc(PART_BYTES));
    const two = await upload(to, 2, "end");
    expect(await refusalOf(complete(to, [one, { ...two, PartNumber: 3 }]))).toBe("400 InvalidPart");
    const other = { ...two, ETag: '"00000000000000000000000000000000"' };
    expect(await refusalOf(complete(to, [one, other]))).toBe("400 InvalidPart");
    expect(await refusalOf(complete(to, [two, one]))).toBe("400 InvalidPartOrder");
    expect(await refusalOf(complete(to, []))).toBe("400 MalformedXML");
    await complete(to, [one, two]);
  });

  test("smaller than 5 MiB are refused, but for the last", async () => {
    const to = { Key: "small", UploadId: await begin("small") };
    const parts = [await upload(to, 1, "small"), await upload(to, 2, "last")];
    expect(await refusalOf(complete(to, parts))).toBe("400 EntityTooSmall");
    await complete(to, parts.slice(0, 1));
  });

  test("rule 6: what Complete refuses is told by the status, never within a 200", async () => {
    const to = { Key: "early", UploadId: await begin("early") };
    const [first, last] = [await upload(to, 1, "small"), await upload(to, 2, "last")];
    const body = `<CompleteMultipartUpload>${[first, last]
      .map(
        ({ PartNumber, ETag }) =>
          `<Part><PartNumber>${PartNumber}</PartNumber><ETag>${ETag}</ETag></Part>`,
      )
      .join("")}</CompleteMultipartUpload>`;
    const answer = await sendSigned(server, {
      method: "POST",
      path: `/${Bucket}/early`,
      query: { uploadId: to.UploadId },
      body,
    });
    expect([answer.status, answer.code]).toEqual([400, "EntityTooSmall"]);
    expect(answer.text).toMatch(/^<\?xml/);
  });

  test.each(["0", "10001", "x", "-1"])("number %s is refused", async (partNumber) => {
    const uploadId = await begin("numbered");
    const path = `/${Bucket}/numbered`;
    const query = { partNumber, uploadId };
    const answer = await sendSigned(server, { method: "PUT", path, query, body: "x" });
    expect([answer.status, answer.code]).toEqual([400, "InvalidArgument"]);
  });

  test("sent again replace what was there", async () => {
    const to = { Key: "replaced", UploadId: await begin("replaced") };
    const unfinished = client.send(new HeadObjectCommand({ Bucket, Key: "replaced" }));
    expect(await refusalOf(unfinished)).toBe("404 NotFound");
    const before = await upload(to, 1, "before");
    const after = await upload(to, 1, "after");
    expect(await refusalOf(complete(to, [before]))).toBe("400 InvalidPart");
    await complete(to, [after]);
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key: "replaced" }));
    expect(await Body?.transformToString()).toBe("after");
  });

  test("after an abort there is no upload", async () => {
    const to = { Key: "aborted", UploadId: await begin("aborted") };
    const part = await upload(to, 1, "x");
    await client.send(new AbortMultipartUploadCommand({ Bucket, ...to }));
    expect(await refusalOf(complete(to, [part]))).toBe("404 NoSuchUpload");
    expect(await refusalOf(upload(to, 2, "x"))).toBe("404 NoSuchUpload");
    expect(await refusalOf(client.send(new ListPartsCommand({ Bucket, ...to })))).toBe(
      "404 NoSuchUpload",
    );
    const again = client.send(new AbortMultipartUploadCommand({ Bucket, ...to }));
    expect(await refusalOf(again)).toBe("404 NoSuchUpload");
  });

  test("must make up the size that the client says", async () => {
    const to = { Key: "sized", UploadId: await begin("sized") };
    const parts = [await upload(to, 1, "12345")];
    expect(await refusalOf(complete(to, parts, { MpuObjectSize: 6 }))).toBe("400 InvalidRequest");
    await complete(to, parts, { MpuObjectSize: 5 });
  });

  test("are listed by number, a page at a time", async () => {
    const to = { Key: "listed", UploadId: await begin("listed") };
    for (const number of [3, 1, 2]) await upload(to, number, `part ${number}`);
    const list = (PartNumberMarker?: string) =>
      client.send(new ListPartsCommand({ Bucket, ...to, MaxParts: 2, PartNumberMarker }));
    const first = await list();
    expect(first.Parts?.map(({ PartNumber }) => PartNumber)).toEqual([1, 2]);
    expect([first.IsTruncated, first.NextPartNumberMarker]).toEqual([true, "2"]);
    const second = await list(first.NextPartNumberMarker);
    expect(second.Parts?.map(({ PartNumber, Size }) => [PartNumber, Size])).toEqual([[3, 6]]);
    expect(second.IsTruncated).toBe(false);
  });
});

describe("parts copied from objects", () => {
  beforeAll(() => client.send(new PutObjectCommand({ Bucket, Key: "source", Body: "0123456789" })));

  test("take a range, or all of it", async () => {
    const to = { Bucket, Key: "copied", UploadId: await begin("copied") };
    const CopySource = `${Bucket}/source`;
    const copy = (more: object) =>
      client.send(new UploadPartCopyCommand({ ...to, PartNumber: 1, CopySource, ...more }));
    await copy({});
    const { CopyPartResult } = await copy({ CopySourceRange: "bytes=2-4" });
    await complete(to, [{ PartNumber: 1, ETag: CopyPartResult?.ETag ?? "" }]);
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key: "copied" }));
    expect(await Body?.transformToString()).toBe("234");
  });

  test.each([
    ["bytes=0-21", "416 InvalidRange"],
    ["0-2", "400 InvalidArgument"],
    ["bytes=2-", "400 InvalidArgument"],
    ["bytes=0-2,3-5", "400 InvalidArgument"],
  ])("rule 19: refuse %s", async (CopySourceRange, refusal) => {
    const to = { Bucket, Key: "copied", UploadId: await begin("copied") };
    const CopySource = `${Bucket}/source`;
    const copy = client.send(
      new UploadPartCopyCommand({ ...to, PartNumber: 1, CopySource, CopySourceRange }),
    );
    expect(await refusalOf(copy)).toBe(refusal);
  });
});

describe("rule 8: the listing of uploads", () => {
  let bucket: string;
  const ids = new Map<string, string[]>();

  beforeAll(async () => {
    bucket = await freshBucket(client);
    for (const key of ["b/2", "a", "b/1", "c", "b/1"]) {
      ids.set(key, [...(ids.get(key) ?? []), await begin(key, bucket)]);
    }
  });

  test("is by key, then by when they were begun, from any marker on", async () => {
    const seen: string[] = [];
    let KeyMarker: string | undefined;
    let UploadIdMarker: string | undefined;
    let IsTruncated: boolean | undefined = true;
    while (IsTruncated) {
      const page = await client.send(
        new ListMultipartUploadsCommand({
          Bucket: bucket,
          MaxUploads: 1,
          KeyMarker,
          UploadIdMarker,
        }),
      );
      for (const { Key, UploadId } of page.Uploads ?? []) seen.push(`${Key} ${UploadId}`);
      ({ NextKeyMarker: KeyMarker, NextUploadIdMarker: UploadIdMarker, IsTruncated } = page);
    }
    const expected = ["a", "b/1", "b/2", "c"].flatMap((key) =>
      (ids.get(key) ?? []).map((id) => `${key} ${id}`),
    );
    expect(seen).toEqual(expected);
  });

  test("keeps to a prefix that is no whole key, and groups by delimiter", async () => {
    const prefixed = await client.send(
      new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: "b/" }),
    );
    expect(prefixed.Uploads?.map(({ Key }) => Key)).toEqual(["b/1", "b/1", "b/2"]);
    const grouped = await client.send(
      new ListMultipartUploadsCommand({ Bucket: bucket, Delimiter: "/" }),
    );
    expect(grouped.Uploads?.map(({ Key }) => Key)).toEqual(["a", "c"]);
    expect(grouped.CommonPrefixes?.map(({ Prefix }) => Prefix)).toEqual(["b/"]);
    expect(prefixed.Uploads?.[0]?.Initiator?.ID).toBe(prefixed.Uploads?.[0]?.Owner?.ID);
  });
});

function md5(bytes: Buffer): Buffer {
  return createHash("md5").update(bytes).digest();
}
