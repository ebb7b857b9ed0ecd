/** The five checksums: verified on the way in, kept, shown when asked for. */
import { createHash, randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";
import {
  type ChecksumAlgorithm,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  type CreateMultipartUploadCommandOutput,
  GetObjectAttributesCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  freshBucket,
  presign,
  type RawAnswer,
  refusalOf,
  sendRaw,
  sendSigned,
} from "./requests.ts";
import { startServer, type TestServer } from "./server.ts";

const PART_BYTES = 5 * 1024 ** 2;

let server: TestServer;
let client: S3Client;
let Bucket: string;

beforeAll(async () => {
  server = await startServer();
  client = server.client();
  Bucket = await freshBucket(client);
});
afterAll(() => server.stop());

/** Of "123456789", the text that checksum catalogues use. */
const CHECKS = {
  CRC32: "y/Q5Jg==",
  CRC32C: "4waSgw==",
  CRC64NVME: "rosUhgp5mIg=",
  SHA1: createHash("sha1").update("123456789").digest("base64"),
  SHA256: createHash("sha256").update("123456789").digest("base64"),
};

describe("rule 2: checksums", () => {
  test.each(Object.entries(CHECKS))(
    "%s is verified, kept, and shown only when asked for",
    async (algorithm, value) => {
      const path = `/${Bucket}/${algorithm}`;
      const header = `x-amz-checksum-${algorithm.toLowerCase()}`;
      const put = (checksum: string) =>
        sendSigned(server, {
          method: "PUT",
          path,
          headers: { [header]: checksum },
          body: "123456789",
        });
      const answer = await put(value);
      expect([answer.status, answer.headers[header]]).toEqual([200, value]);
      const plain = await sendSigned(server, { method: "HEAD", path });
      expect(plain.headers[header]).toBeUndefined();
      const headers = { "x-amz-checksum-mode": "ENABLED" };
      const asked = await sendSigned(server, { method: "GET", path, headers });
      expect([asked.headers[header], asked.headers["x-amz-checksum-type"]]).toEqual([
        value,
        "FULL_OBJECT",
      ]);
      const ranged = await sendSigned(server, {
        method: "GET",
        path,
        headers: { ...headers, range: "bytes=0-3" },
      });
      expect(ranged.headers[header]).toBeUndefined();
      const wrong = Buffer.alloc(Buffer.from(value, "base64").length, 7).toString("base64");
      const refused = await put(wrong);
      expect([refused.status, refused.code]).toEqual([400, "BadDigest"]);
    },
  );

  test("CRC64NVME is computed when the client sends none", async () => {
    const path = `/${Bucket}/default`;
    const put = await sendSigned(server, { method: "PUT", path, body: "123456789" });
    expect(put.headers["x-amz-checksum-crc64nvme"]).toBe(CHECKS.CRC64NVME);
  });

  test("a copy takes the source's along, or another that it asks for", async () => {
    await sendSigned(server, { method: "PUT", path: `/${Bucket}/origin`, body: "123456789" });
    const CopySource = `${Bucket}/origin`;
    const copy = async (ChecksumAlgorithm?: ChecksumAlgorithm) => {
      const command = new CopyObjectCommand({ Bucket, Key: "copy", CopySource, ChecksumAlgorithm });
      return (await client.send(command)).CopyObjectResult;
    };
    expect((await copy())?.ChecksumCRC64NVME).toBe(CHECKS.CRC64NVME);
    expect((await copy("SHA256"))?.ChecksumSHA256).toBe(CHECKS.SHA256);
  });

  test("two of them, or one that is none, are refused", async () => {
    const path = `/${Bucket}/refused`;
    const put = (headers: Record<string, string>) =>
      sendSigned(server, { method: "PUT", path, headers, body: "123456789" });
    const two = { "x-amz-checksum-crc32": CHECKS.CRC32, "x-amz-checksum-crc32c": CHECKS.CRC32C };
    expect((await put(two)).code).toBe("InvalidRequest");
    expect((await put({ "x-amz-sdk-checksum-algorithm": "SHA256" })).status).toBe(400);
    expect((await put({ "content-md5": "short" })).code).toBe("InvalidDigest");
    expect((await put({ "content-md5": createHash("md5").digest("base64") })).code).toBe(
      "BadDigest",
    );
    const head = client.send(new HeadObjectCommand({ Bucket, Key: "refused" }));
    expect(await refusalOf(head)).toBe("404 NotFound");
  });
});

describe("rule 2: checksums of uploads in parts", () => {
  const bodies = [randomBytes(PART_BYTES), randomBytes(9)];
  const whole = Buffer.concat(bodies);

  async function uploadAs(
    Key: string,
    algorithm: "CRC32" | "SHA256",
    ChecksumType?: "FULL_OBJECT",
  ) {
    const { UploadId } = await client.send(
      new CreateMultipartUploadCommand({ Bucket, Key, ChecksumAlgorithm: algorithm, ChecksumType }),
    );
    const Parts = [];
    for (const [index, Body] of bodies.entries()) {
      const part = { Bucket, Key, UploadId, PartNumber: index + 1 };
      const { ETag, ChecksumCRC32, ChecksumSHA256 } = await client.send(
        new UploadPartCommand({ ...part, Body, ChecksumAlgorithm: algorithm }),
      );
      Parts.push({ PartNumber: index + 1, ETag, ChecksumCRC32, ChecksumSHA256 });
    }
    return { Bucket, Key, UploadId, MultipartUpload: { Parts } };
  }

  test("composite ones are made of the parts' and end in their number", async () => {
    const upload = await uploadAs("composite", "SHA256");
    const expected = `${sha256(Buffer.concat(bodies.map(sha256))).toString("base64")}-2`;
    const wrong = { ...upload, ChecksumSHA256: `${CHECKS.SHA256}-2` };
    expect(await refusalOf(client.send(new CompleteMultipartUploadCommand(wrong)))).toBe(
      "400 BadDigest",
    );
    const done = await client.send(
      new CompleteMultipartUploadCommand({ ...upload, ChecksumSHA256: expected }),
    );
    expect([done.ChecksumSHA256, done.ChecksumType]).toEqual([expected, "COMPOSITE"]);
    const head = await client.send(
      new HeadObjectCommand({ Bucket, Key: "composite", ChecksumMode: "ENABLED" }),
    );
    expect(head.ChecksumSHA256).toBe(expected);
    const part = await client.send(
      new GetObjectCommand({ Bucket, Key: "composite", PartNumber: 2, ChecksumMode: "ENABLED" }),
    );
    expect(part.ChecksumSHA256).toBe(sha256(bodies[1] ?? whole).toString("base64"));
  });

  test("full ones are those of the whole", async () => {
    const upload = await uploadAs("full", "CRC32", "FULL_OBJECT");
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(crc32(whole));
    const ChecksumCRC32 = bytes.toString("base64");
    const done = await client.send(
      new CompleteMultipartUploadCommand({ ...upload, ChecksumCRC32, ChecksumType: "FULL_OBJECT" }),
    );
    expect([done.ChecksumCRC32, done.ChecksumType]).toEqual([ChecksumCRC32, "FULL_OBJECT"]);
    const { Checksum, ObjectParts } = await client.send(
      new GetObjectAttributesCommand({
        Bucket,
        Key: "full",
        ObjectAttributes: ["Checksum", "ObjectParts"],
      }),
    );
    expect(Checksum).toEqual({ ChecksumCRC32, ChecksumType: "FULL_OBJECT" });
    expect(ObjectParts?.TotalPartsCount).toBe(2);
  });

  test("types that an algorithm cannot have are refused", async () => {
    expect(await refusalOf(createAs("CRC64NVME", "COMPOSITE"))).toBe("400 InvalidRequest");
    expect(await refusalOf(createAs("SHA1", "FULL_OBJECT"))).toBe("400 InvalidRequest");
  });

  test("a part with another algorithm than the upload's, or none, is refused", async () => {
    const { UploadId = "" } = await client.send(
      new CreateMultipartUploadCommand({ Bucket, Key: "mixed", ChecksumAlgorithm: "SHA256" }),
    );
    const send = (headers: Record<string, string>) =>
      sendSigned(server, {
        method: "PUT",
        path: `/${Bucket}/mixed`,
        query: { partNumber: "1", uploadId: UploadId },
        headers,
        body: "123456789",
      });
    expect((await send({ "x-amz-checksum-crc32": CHECKS.CRC32 })).code).toBe("InvalidRequest");
    expect((await send({})).code).toBe("InvalidRequest");
    expect((await send({ "x-amz-checksum-sha256": CHECKS.SHA256 })).status).toBe(200);
  });
});

describe("rule 1: bodies with a trailer", () => {
  test("are freed of their frame, and verified by it", async () => {
    const answer = await sendTrailed(`x-amz-checksum-crc32:${CHECKS.CRC32}`);
    expect([answer.status, answer.headers["x-amz-checksum-crc32"]]).toEqual([200, CHECKS.CRC32]);
    const { Body, ContentEncoding } = await client.send(
      new GetObjectCommand({ Bucket, Key: "trailed" }),
    );
    expect([await Body?.transformToString(), ContentEncoding]).toEqual(["123456789", undefined]);
  });

  test("may do without a word of their coding, and come in HTTP's own chunks", async () => {
    const trailer = `x-amz-checksum-crc32:${CHECKS.CRC32}`;
    const bare = await sendTrailed(trailer, { "content-encoding": "" });
    expect(bare.status).toBe(200);
    const wrapped = await sendTrailed(trailer, {
      "content-encoding": "aws-chunked,gzip",
      "transfer-encoding": "chunked",
    });
    expect(wrapped.status).toBe(200);
    const { Body, ContentEncoding } = await client.send(
      new GetObjectCommand({ Bucket, Key: "trailed" }),
    );
    expect([await Body?.transformToString(), ContentEncoding]).toEqual(["123456789", "gzip"]);
  });

  test("leave nothing when they are wrong", async () => {
    const before = await client.send(new HeadObjectCommand({ Bucket, Key: "trailed" }));
    expect((await sendTrailed("x-amz-checksum-crc32:AAAAAA==")).code).toBe("BadDigest");
    expect((await sendTrailed(`x-amz-checksum-sha1:${CHECKS.SHA1}`)).status).toBe(400);
    const both = { "x-amz-checksum-sha1": CHECKS.SHA1 };
    expect((await sendTrailed(`x-amz-checksum-crc32:${CHECKS.CRC32}`, both)).code).toBe(
      "InvalidRequest",
    );
    const short = { "x-amz-decoded-content-length": "8" };
    expect((await sendTrailed(`x-amz-checksum-crc32:${CHECKS.CRC32}`, short)).status).toBe(400);
    const after = await client.send(new HeadObjectCommand({ Bucket, Key: "trailed" }));
    expect(after.LastModified).toEqual(before.LastModified);
  });

  test("the SDK's own stream arrives whole over every way it signs", async () => {
    const Body = randomBytes(300_000);
    await client.send(
      new PutObjectCommand({ Bucket, Key: "streamed", Body, ChecksumAlgorithm: "SHA256" }),
    );
    const signed = await presign(server, { method: "GET", path: `/${Bucket}/streamed` });
    expect((await sendRaw(server, signed)).body.equals(Body)).toBe(true);
  });
});

function sha256(bytes: Buffer): Buffer {
  return createHash("sha256").update(bytes).digest();
}

function createAs(
  algorithm: ChecksumAlgorithm,
  ChecksumType: "COMPOSITE" | "FULL_OBJECT",
): Promise<CreateMultipartUploadCommandOutput> {
  const upload = { Bucket, Key: "k", ChecksumAlgorithm: algorithm, ChecksumType };
  return client.send(new CreateMultipartUploadCommand(upload));
}

/** "123456789" as one chunk and a trailer. */
function sendTrailed(trailer: string, more: Record<string, string> = {}): Promise<RawAnswer> {
  return sendSigned(server, {
    method: "PUT",
    path: `/${Bucket}/trailed`,
    headers: {
      "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
      "x-amz-decoded-content-length": "9",
      "x-amz-trailer": "x-amz-checksum-crc32",
      "content-encoding": "aws-chunked",
      ...more,
    },
    body: `9\r\n123456789\r\n0\r\n${trailer}\r\n\r\n`,
  });
}
