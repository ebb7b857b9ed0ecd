/** Bodies that are not what they were said to be: each gets S3's own error and leaves nothing behind, down to the disk's bytes. */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { type S3Client, UploadPartCommand } from "@aws-sdk/client-s3";
import { createPresignedPost } from "@aws-sdk/s3-presigned-post";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Framed, framed, joined } from "#gateway/auth/chunked-client.ts";
import type { ChunkSigning } from "#gateway/auth/payload.ts";
import { deriveSigningKey } from "#gateway/auth/signing-key.ts";
import { leavesNothing, ONE_WORKER, type Place } from "./everything.ts";
import {
  furnishedBucket,
  presign,
  type RawAnswer,
  type RawRequest,
  sendRaw,
  sendSigned,
  sign,
} from "./requests.ts";
import { startServer, type TestServer } from "./server.ts";

const MIB = 1024 ** 2;

let server: TestServer;
let client: S3Client;
let place: Place;
/** Where a bad body would show: over an object whose versions are kept, and over a part. */
let targets: Readonly<Record<"an object" | "a part", Pick<RawRequest, "path" | "query">>>;

beforeAll(async () => {
  server = await startServer({ env: ONE_WORKER });
  client = server.client();
  const { Bucket, UploadId } = await furnishedBucket(client);
  place = { server, client, Bucket };
  const part = { Bucket, Key: "parts", UploadId, PartNumber: 1, Body: "kept" };
  await client.send(new UploadPartCommand(part));
  targets = {
    "an object": { path: `/${Bucket}/kept` },
    "a part": { path: `/${Bucket}/parts`, query: { partNumber: "1", uploadId: UploadId } },
  };
});
afterAll(() => server.stop());

const TARGETS = ["an object", "a part"] as const;
type Target = (typeof TARGETS)[number];

function putSigned(
  target: Target,
  body: string | Buffer,
  headers: Record<string, string>,
): Promise<string> {
  return refused(() => sendSigned(server, { method: "PUT", ...targets[target], headers, body }));
}

/** `400 BadDigest`. */
async function refused(send: () => Promise<RawAnswer>): Promise<string> {
  const { status, code } = await leavesNothing(place, send);
  return `${status} ${code}`;
}

describe.each(TARGETS)("over %s", (target) => {
  describe("a short body", () => {
    test("whose client breaks off", async () => {
      const sent = await leavesNothing(place, async () => {
        const socket = await begin(target, 5 * MIB);
        await new Promise((written) => socket.write(Buffer.alloc(3 * MIB), written));
        socket.destroy();
        return socket.bytesWritten;
      });
      expect(sent).toBeGreaterThan(3 * MIB);
    });

    test("whose client says that it is done", async () => {
      const answer = await leavesNothing(place, async () => {
        const socket = await begin(target, 10);
        const answered = textOf(socket);
        socket.end("half");
        return answered;
      });
      expect(answer).toMatch(/^HTTP\/1\.1 400 .*<Code>IncompleteBody</s);
    });

    test.each([
      ["in chunks", "3\r\n123\r\n0\r\n\r\n"],
      ["in chunks that do not end", "9\r\n123456789\r\n"],
      ["in a chunk that does not end", "9\r\n123"],
    ])("%s", async (_, body) => {
      expect(await putSigned(target, body, chunked(9))).toBe("400 IncompleteBody");
    });
  });

  describe("a long body", () => {
    test("in chunks", async () => {
      const body = "9\r\n123456789\r\n1\r\n0\r\n0\r\n\r\n";
      expect(await putSigned(target, body, chunked(9))).toBe("400 IncompleteBody");
    });

    test("that goes on behind its length", async () => {
      const headers = { "content-length": "5" };
      expect(await putSigned(target, "123456789", headers)).toBe("400 XAmzContentSHA256Mismatch");
    });

    test("of more than 5 GiB is refused before a byte of it is read", async () => {
      const answer = await leavesNothing(place, async () => {
        const socket = await open(target, 5 * 1024 ** 3 + 1);
        return textOf(socket);
      });
      expect(answer).toMatch(/^HTTP\/1\.1 400 .*<Code>EntityTooLarge</s);
    });
  });

  describe("a wrong digest", () => {
    const large = randomBytes(3 * MIB);
    const other = { md5: createHash("md5").update("other").digest("base64") };

    test.each([
      ["Content-MD5", { "content-md5": other.md5 }, "400 BadDigest"],
      ["a Content-MD5 that is none", { "content-md5": "AAAA" }, "400 InvalidDigest"],
      ["CRC32", { "x-amz-checksum-crc32": "AAAAAA==" }, "400 BadDigest"],
      ["CRC32C", { "x-amz-checksum-crc32c": "AAAAAA==" }, "400 BadDigest"],
      ["CRC64NVME", { "x-amz-checksum-crc64nvme": "AAAAAAAAAAA=" }, "400 BadDigest"],
      ["SHA-1", { "x-amz-checksum-sha1": `${"A".repeat(27)}=` }, "400 BadDigest"],
      ["SHA-256", { "x-amz-checksum-sha256": `${"A".repeat(43)}=` }, "400 BadDigest"],
      ["a checksum that is none", { "x-amz-checksum-crc32": "A" }, "400 BadDigest"],
      [
        "the payload's hash",
        { "x-amz-content-sha256": "0".repeat(64) },
        "400 XAmzContentSHA256Mismatch",
      ],
    ])("%s", async (_, headers, expected) => {
      expect(await putSigned(target, "123456789", headers)).toBe(expected);
      expect(await putSigned(target, large, headers)).toBe(expected);
    });

    test("in a trailer", async () => {
      const body = "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
      const headers = { ...chunked(9), "x-amz-trailer": "x-amz-checksum-crc32" };
      expect(await putSigned(target, body, headers)).toBe("400 BadDigest");
    });
  });

  describe("a bad chunk signature", () => {
    const data = [2 * MIB, 8192, 8192, 9].map((length) => randomBytes(length));
    const TRAILER = { "x-amz-checksum-crc32": "AAAAAA==" };

    test.each<[string, (body: Framed) => Framed, string]>([
      ["of the first chunk", (body) => forge(body, 0), "403 SignatureDoesNotMatch"],
      ["of a later chunk", (body) => forge(body, 2), "403 SignatureDoesNotMatch"],
      ["of the end", (body) => forge(body, 4), "403 SignatureDoesNotMatch"],
      ["of chunks exchanged", (body) => pick(body, 0, 2, 1, 3, 4), "403 SignatureDoesNotMatch"],
      ["of a chunk left out", (body) => pick(body, 0, 1, 3, 4), "403 SignatureDoesNotMatch"],
      ["of a chunk repeated", (body) => pick(body, 0, 1, 1, 3, 4), "403 SignatureDoesNotMatch"],
    ])("%s", async (_, change, expected) => {
      expect(await refused(() => sendChunks(target, data, { change }))).toBe(expected);
    });

    test("of another request", async () => {
      const seed = "0".repeat(64);
      expect(await refused(() => sendChunks(target, data, { seed }))).toBe(
        "403 SignatureDoesNotMatch",
      );
    });

    test("of a trailer", async () => {
      expect(
        await refused(() => sendChunks(target, data, { change: forgeTrailer, trailers: TRAILER })),
      ).toBe("403 SignatureDoesNotMatch");
    });

    test("left away, or too many of them", async () => {
      const headers = chunked(9, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
      const body = "9\r\n123456789\r\n0\r\n\r\n";
      expect(await putSigned(target, body, headers)).toBe("400 InvalidRequest");
      const small = [randomBytes(10), randomBytes(10)];
      expect(await refused(() => sendChunks(target, small, {}))).toBe("403 InvalidChunkSizeError");
    });
  });

  test("no length at all", async () => {
    const { query = {}, path } = targets[target];
    const url = await presign(server, { method: "PUT", path, query });
    const answer = await leavesNothing(place, async () => {
      const socket = connect(server.port, "127.0.0.1");
      const search = new URLSearchParams(url.query).toString();
      socket.write(`PUT ${path}?${search} HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\n\r\n`);
      return textOf(socket);
    });
    expect(answer).toMatch(/^HTTP\/1\.1 411 .*<Code>MissingContentLength</s);
  });
});

test("bodies that are right are taken, in all the ways that were wrong above", async () => {
  const data = [randomBytes(2 * MIB), randomBytes(8192), randomBytes(9)];
  const crc32 = "y/Q5Jg==";
  for (const target of TARGETS) {
    const chunks = await sendChunks(target, data, {});
    expect([chunks.status, chunks.headers["etag"]]).toEqual([200, etagOf(Buffer.concat(data))]);
    const trailers = { "x-amz-checksum-crc32": crc32 };
    const trailed = await sendChunks(target, [Buffer.from("123456789")], { trailers });
    expect(trailed.headers["x-amz-checksum-crc32"]).toBe(crc32);
    const headers = { "content-md5": createHash("md5").update("1").digest("base64") };
    const put = { method: "PUT", ...targets[target], headers, body: "1" };
    expect((await sendSigned(server, put)).status).toBe(200);
  }
});

describe("a document", () => {
  test.each([
    ["a bucket's tags", "PUT", { tagging: "" }, "<Tagging><TagSet/></Tagging>"],
    [
      "a list of deletes",
      "POST",
      { delete: "" },
      "<Delete><Object><Key>kept</Key></Object></Delete>",
    ],
  ])("%s is not believed with a wrong digest", async (_, method, query, body) => {
    const request = { method, path: `/${place.Bucket}`, query, body };
    for (const [name, value, expected] of [
      ["content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==", "400 BadDigest"],
      ["x-amz-checksum-crc32", "AAAAAA==", "400 BadDigest"],
      ["x-amz-content-sha256", "0".repeat(64), "400 XAmzContentSHA256Mismatch"],
    ] as const) {
      const digest = { "content-md5": createHash("md5").update(body).digest("base64") };
      const headers = { ...(name === "x-amz-content-sha256" && digest), [name]: value };
      expect(await refused(() => sendSigned(server, { ...request, headers }))).toBe(expected);
    }
  });

  test("a list of parts is not believed with a wrong checksum or size of the whole", async () => {
    const { path, query: { uploadId = "" } = {} } = targets["a part"];
    const body = `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${etagOf("1")}</ETag></Part></CompleteMultipartUpload>`;
    const complete = (headers: Record<string, string>) =>
      refused(() =>
        sendSigned(server, { method: "POST", path, query: { uploadId }, headers, body }),
      );
    expect(await complete({ "x-amz-checksum-crc64nvme": "AAAAAAAAAAA=" })).toBe("400 BadDigest");
    expect(await complete({ "x-amz-checksum-crc64nvme": "A" })).toBe("400 BadDigest");
    expect(await complete({ "x-amz-mp-object-size": "2" })).toBe("400 InvalidRequest");
    expect(await complete({ "content-md5": "1B2M2Y8AsgTpgAmY7PhCfg==" })).toBe("400 BadDigest");
  });
});

describe("a form", () => {
  test.each([
    ["whose file is longer than its policy allows", { sizes: [0, 3] }, "400 EntityTooLarge"],
    ["whose file is shorter than its policy allows", { sizes: [10, 20] }, "400 EntityTooSmall"],
    ["whose file has another checksum", { checksum: "AAAAAA==" }, "400 BadDigest"],
    ["that does not end", { end: "" }, "400 MalformedPOSTRequest"],
    ["without a file", { file: undefined }, "400 InvalidArgument"],
  ] as const)("%s", async (_, form, expected) => {
    expect(await refused(() => sendForm(form))).toBe(expected);
  });

  test("that is right is taken", async () => {
    expect((await sendForm({})).status).toBe(204);
  });
});

/** An upload's head on a connection of its own, sent by a presigned URL. */
async function open(target: Target, length: number): Promise<Socket> {
  const { path, query = {} } = targets[target];
  const url = await presign(server, { method: "PUT", path, query });
  const socket = connect(server.port, "127.0.0.1");
  const lines = [
    `PUT ${path}?${new URLSearchParams(url.query).toString()} HTTP/1.1`,
    `Host: 127.0.0.1:${server.port}`,
    `Content-Length: ${length}`,
    "Expect: 100-continue",
  ];
  socket.write(`${lines.join("\r\n")}\r\n\r\n`);
  return socket;
}

/** The same once the server waits for its body. */
async function begin(target: Target, length: number): Promise<Socket> {
  const socket = await open(target, length);
  const [answer] = (await once(socket, "data")) as [Buffer];
  expect(answer.toString()).toMatch(/^HTTP\/1\.1 100 /);
  return socket;
}

async function textOf(socket: Socket): Promise<string> {
  let text = "";
  socket.on("data", (piece: Buffer) => {
    text += piece.toString("latin1");
    if (/<\/Error>/.test(text)) socket.destroy();
  });
  await once(socket, "close");
  return text;
}

function chunked(
  length: number,
  payload = "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
): Record<string, string> {
  return {
    "x-amz-content-sha256": payload,
    "x-amz-decoded-content-length": String(length),
    "content-encoding": "aws-chunked",
  };
}

interface Chunks {
  readonly change?: (body: Framed) => Framed;
  /** Instead of the request's own signature. */
  readonly seed?: string;
  readonly trailers?: Readonly<Record<string, string>>;
}

/** A signed request whose chunks are signed after it. */
async function sendChunks(
  target: Target,
  data: readonly Buffer[],
  { change = (body) => body, seed, trailers }: Chunks,
): Promise<RawAnswer> {
  const length = data.reduce((sum, { length: bytes }) => sum + bytes, 0);
  const payload = `STREAMING-AWS4-HMAC-SHA256-PAYLOAD${trailers ? "-TRAILER" : ""}`;
  const names = Object.keys(trailers ?? {}).join(",");
  const headers = { ...chunked(length, payload), ...(names && { "x-amz-trailer": names }) };
  const request = await sign(server, { method: "PUT", ...targets[target], headers });
  const { "x-amz-date": timestamp = "", authorization = "" } = request.headers ?? {};
  const scope = { date: timestamp.slice(0, 8), region: "us-east-1", service: "s3" };
  const signing: ChunkSigning = {
    key: deriveSigningKey(server.secretKey, scope),
    timestamp,
    scope: `${scope.date}/us-east-1/s3/aws4_request`,
    seed: seed ?? /Signature=(\w+)/.exec(authorization)?.[1] ?? "",
  };
  return sendRaw(server, { ...request, body: joined(change(framed(data, { signing, trailers }))) });
}

/** Another signature on one chunk, of the same shape. */
function forge(body: Framed, index: number): Framed {
  const chunks = body.chunks.map((chunk, at) => {
    if (at !== index) return chunk;
    const forged = Buffer.from(chunk);
    const start = forged.indexOf("signature=") + "signature=".length;
    forged.write(forged[start] === 0x30 ? "1" : "0", start, "latin1");
    return forged;
  });
  return { ...body, chunks };
}

function forgeTrailer(body: Framed): Framed {
  const text = body.trailer.toString("latin1");
  return { ...body, trailer: Buffer.from(text.replace(/signature:../, "signature:00")) };
}

function pick(body: Framed, ...indices: readonly number[]): Framed {
  return { ...body, chunks: indices.map((index) => body.chunks[index] ?? Buffer.alloc(0)) };
}

function etagOf(bytes: string | Buffer): string {
  return `"${createHash("md5").update(bytes).digest("hex")}"`;
}

async function sendForm(form: {
  readonly sizes?: readonly [number, number];
  readonly checksum?: string;
  readonly file?: string | undefined;
  readonly end?: string;
}): Promise<RawAnswer> {
  const { sizes = [0, 100], checksum } = form;
  const signed = await createPresignedPost(client, {
    Bucket: place.Bucket,
    Key: "kept",
    Conditions: [["content-length-range", sizes[0], sizes[1]]],
  });
  const checksums = checksum === undefined ? {} : { "x-amz-checksum-crc32": checksum };
  const fields = Object.entries({ ...signed.fields, ...checksums }).map(
    ([name, value]) =>
      `--edge\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
  );
  const disposition = 'Content-Disposition: form-data; name="file"; filename="f"';
  const file = "file" in form ? "" : `--edge\r\n${disposition}\r\n\r\n12345\r\n`;
  const body = fields.join("") + file + (form.end ?? "--edge--\r\n");
  return sendRaw(server, {
    method: "POST",
    path: `/${place.Bucket}`,
    headers: {
      "content-type": "multipart/form-data; boundary=edge",
      "content-length": String(Buffer.byteLength(body)),
    },
    body,
  });
}
