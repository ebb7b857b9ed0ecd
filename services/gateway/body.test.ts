import { createHash } from "node:crypto";
import { PassThrough, Readable } from "node:stream";
import { describe, expect, test } from "vitest";
import { framed, joined, SIGNING } from "#gateway/auth/chunked-client.ts";
import { type Payload, UNSIGNED } from "#gateway/auth/payload.ts";
import { HeaderList } from "#gateway/auth/request-headers.ts";
import { openBody, openFormFile } from "#gateway/body.ts";
import { StreamSource } from "#gateway/body-source.ts";
import type { RequestBody } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import { type ChecksumAlgorithm, createChecksum } from "#lib/checksums.ts";

const TEXT = Buffer.from("Welcome to Amazon S3.");
const ALGORITHMS: ChecksumAlgorithm[] = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"];

function digest(algorithm: string, bytes: Buffer): Buffer {
  return createHash(algorithm).update(bytes).digest();
}

function checksum(algorithm: ChecksumAlgorithm, bytes: Buffer): string {
  const computing = createChecksum(algorithm);
  computing.update(bytes);
  return computing.digest().toString("base64");
}

function hashed(bytes: Buffer): Payload {
  return { mode: "hash", sha256: digest("sha256", bytes), signing: undefined };
}

/** A body as it arrives: in these pieces, with these headers. */
function body(
  pieces: readonly Buffer[],
  { payload = UNSIGNED, ...given }: { payload?: Payload } & Record<string, unknown> = {},
): RequestBody {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const headers = { "content-length": String(length), ...given } as Record<string, string>;
  const entries = Object.entries(headers).filter(([, value]) => value !== undefined);
  return openBody(Readable.from(pieces), { headers: HeaderList.fromEntries(entries), payload });
}

async function upload(request: RequestBody, computed?: ChecksumAlgorithm) {
  const object = request.object({ checksum: computed });
  const pieces: Uint8Array[] = [];
  for await (const piece of object) pieces.push(piece);
  return { bytes: Buffer.concat(pieces), ...object.digests() };
}

async function refusal(attempt: () => Promise<unknown>): Promise<S3Error> {
  try {
    await attempt();
  } catch (error) {
    if (error instanceof S3Error) return error;
    throw error;
  }
  throw new Error("It was let in");
}

/** In one piece, in two, and byte by byte. */
const CUTS = [
  [TEXT],
  [TEXT.subarray(0, 5), TEXT.subarray(5)],
  Array.from(TEXT, (byte) => Buffer.of(byte)),
];

describe("a body", () => {
  test.each(CUTS)(
    "gives its bytes, its MD5 and the checksum that was asked for",
    async (...cut) => {
      for (const algorithm of ALGORITHMS) {
        const { bytes, md5, checksum: found } = await upload(body(cut), algorithm);
        expect(bytes.equals(TEXT)).toBe(true);
        expect(Buffer.from(md5).equals(digest("md5", TEXT))).toBe(true);
        expect(found).toEqual({ algorithm, type: "FULL_OBJECT", value: checksum(algorithm, TEXT) });
      }
    },
  );

  test("of no bytes has digests too, and its stream is never touched", async () => {
    const stream = new PassThrough();
    const headers = HeaderList.fromEntries([["content-length", "0"]]);
    const request = openBody(stream, { headers, payload: hashed(Buffer.alloc(0)) });
    const { md5, checksum: found } = await upload(request, "CRC64NVME");
    expect(Buffer.from(md5).toString("hex")).toBe("d41d8cd98f00b204e9800998ecf8427e");
    expect(found?.value).toBe("AAAAAAAAAAA=");
    expect(stream.listenerCount("data")).toBe(0);
  });

  test("keeps its checksum to itself when nobody asks", async () => {
    expect((await upload(body([TEXT]))).checksum).toBeUndefined();
  });

  test("tells no digests before it has ended", async () => {
    const object = body([TEXT]).object({ checksum: undefined });
    expect(() => object.digests()).toThrow("it has not ended");
  });

  test("is read once", async () => {
    const request = body([TEXT]);
    await request.document(100);
    expect(() => request.object({ checksum: undefined })).toThrow("it has been read");
  });

  test("is not asked for before somebody reads, and then once", async () => {
    const stream = new PassThrough();
    let asked = 0;
    const headers = HeaderList.fromEntries([["content-length", "3"]]);
    const request = openBody(stream, { headers, payload: UNSIGNED }, () => {
      asked += 1;
      stream.end("bar");
    });
    const object = request.object({ checksum: "CRC32" });
    await new Promise((resolve) => setImmediate(resolve));
    expect([asked, stream.listenerCount("data")]).toEqual([0, 0]);
    for await (const piece of object) expect(Buffer.from(piece).toString()).toBe("bar");
    expect(asked).toBe(1);
  });
});

describe("length", () => {
  test("an object needs one, or a transfer that has an end", async () => {
    const none = body([TEXT], { "content-length": undefined });
    expect(none.size).toBeUndefined();
    expect((await refusal(() => upload(none))).code).toBe("MissingContentLength");
    const chunked = body([TEXT], { "content-length": undefined, "transfer-encoding": "chunked" });
    const object = await upload(chunked, "CRC32");
    expect(object.bytes.equals(TEXT)).toBe(true);
    expect(chunked.size).toBeUndefined();
  });

  test("a document without one is empty", async () => {
    const none = body([], { "content-length": undefined });
    expect(await none.document(10)).toHaveLength(0);
  });

  test.each([
    ["short", String(TEXT.length + 1)],
    ["long", String(TEXT.length - 1)],
  ])("a body too %s is refused", async (_, length) => {
    const outcome = await refusal(() => upload(body([TEXT], { "content-length": length })));
    expect(outcome.code).toBe("IncompleteBody");
    const cut = [TEXT.subarray(0, 4), TEXT.subarray(4)];
    expect((await refusal(() => body(cut, { "content-length": length }).document(100))).code).toBe(
      "IncompleteBody",
    );
  });

  test.each(["destroyed", "ended with an error"])(
    "a stream that is %s in between breaks the body",
    async (how) => {
      const stream = new PassThrough();
      const headers = HeaderList.fromEntries([["content-length", "100"]]);
      const pending = refusal(() => upload(openBody(stream, { headers, payload: UNSIGNED })));
      stream.write("abc");
      await new Promise((resolve) => setImmediate(resolve));
      stream.destroy(how === "destroyed" ? undefined : new Error("reset"));
      expect((await pending).code).toBe("IncompleteBody");
      const late = refusal(() => upload(openBody(stream, { headers, payload: UNSIGNED })));
      expect((await late).code).toBe("IncompleteBody");
    },
  );

  test("documents over the limit are refused, those that say so before a byte is read", async () => {
    const stream = new PassThrough();
    const headers = HeaderList.fromEntries([["content-length", "11"]]);
    const announced = openBody(stream, { headers, payload: UNSIGNED });
    expect((await refusal(() => announced.document(10))).code).toBe("MaxMessageLengthExceeded");
    expect(stream.listenerCount("data")).toBe(0);
    const chunked = body([TEXT], { "content-length": undefined, "transfer-encoding": "chunked" });
    expect((await refusal(() => chunked.document(10))).code).toBe("MaxMessageLengthExceeded");
    expect((await body([TEXT]).document(TEXT.length)).equals(TEXT)).toBe(true);
  });

  test("a reader that is slow holds back its client", async () => {
    let produced = 0;
    const stream = new Readable({
      highWaterMark: 64 * 1024,
      read() {
        produced += 1;
        this.push(produced <= 200 ? Buffer.alloc(64 * 1024) : null);
      },
    });
    const source = new StreamSource(stream);
    let bytes = (await source.next())?.length ?? 0;
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(produced).toBeLessThan(10);
    for (let piece = await source.next(); piece; piece = await source.next()) bytes += piece.length;
    expect(bytes).toBe(200 * 64 * 1024);
  });
});

describe("digests that the client sends", () => {
  const wrong = Buffer.from("Welcome to Amazon S4.");

  test.each(CUTS)("the payload's SHA-256", async (...cut) => {
    expect((await upload(body(cut, { payload: hashed(TEXT) }))).bytes.equals(TEXT)).toBe(true);
    const outcome = await refusal(() => upload(body(cut, { payload: hashed(wrong) })));
    expect(outcome.code).toBe("XAmzContentSHA256Mismatch");
    expect(outcome.elements).toEqual({
      ClientComputedContentSHA256: digest("sha256", wrong).toString("hex"),
      S3ComputedContentSHA256: digest("sha256", TEXT).toString("hex"),
    });
    const document = await refusal(() => body(cut, { payload: hashed(wrong) }).document(100));
    expect(document.code).toBe("XAmzContentSHA256Mismatch");
  });

  test("Content-MD5, of objects and of documents", async () => {
    const right = { "content-md5": digest("md5", TEXT).toString("base64") };
    const other = { "content-md5": digest("md5", wrong).toString("base64") };
    await upload(body([TEXT], right));
    expect((await body([TEXT], right).document(100)).equals(TEXT)).toBe(true);
    for (const read of [
      (request: RequestBody) => upload(request),
      (request: RequestBody) => request.document(100),
    ]) {
      const outcome = await refusal(() => read(body([TEXT], other)));
      expect(outcome.code).toBe("BadDigest");
      expect(outcome.elements).toEqual({
        ExpectedDigest: other["content-md5"],
        CalculatedDigest: right["content-md5"],
      });
    }
  });

  test.each([
    "",
    "YWJyYWNhZGFicmE=",
    "AWS HAHAHA",
    "rL0Y20xC+Fzt72VPzMSk2A=",
    "rL0Y20xC+Fzt72VPzMSk2A== ",
    "rL0Y20xC-Fzt72VPzMSk2A==",
  ])("Content-MD5 of '%s' is none", async (value) => {
    const outcome = await refusal(() => upload(body([TEXT], { "content-md5": value })));
    expect(outcome.code).toBe("InvalidDigest");
  });

  test.each(ALGORITHMS)("%s in a header", async (algorithm) => {
    const name = `x-amz-checksum-${algorithm.toLowerCase()}`;
    const right = { [name]: checksum(algorithm, TEXT), "x-amz-sdk-checksum-algorithm": algorithm };
    const request = body([TEXT], right);
    expect([request.hasDigest, request.checksumAlgorithm]).toEqual([true, algorithm]);
    // The client's own algorithm goes before the default.
    expect((await upload(request, "CRC64NVME")).checksum).toEqual({
      algorithm,
      type: "FULL_OBJECT",
      value: right[name],
    });
    for (const cut of CUTS) {
      const outcome = await refusal(() =>
        upload(body(cut, { [name]: checksum(algorithm, wrong) })),
      );
      expect(outcome.code).toBe("BadDigest");
      expect(outcome.message).toBe(
        `The ${algorithm} you specified did not match the calculated checksum.`,
      );
    }
    for (const malformed of ["", "sailorjerry", `${right[name]}=`, right[name]?.slice(4)]) {
      const outcome = await refusal(() => upload(body([TEXT], { [name]: malformed })));
      expect([outcome.code, outcome.message]).toEqual([
        "BadDigest",
        `Value for ${name} header is invalid.`,
      ]);
    }
  });

  test("SHA-256 of payload and checksum are both verified, although they are one digest", async () => {
    const name = "x-amz-checksum-sha256";
    const right = { [name]: checksum("SHA256", TEXT), payload: hashed(TEXT) };
    expect((await upload(body([TEXT], right))).checksum?.value).toBe(right[name]);
    const badChecksum = { ...right, [name]: checksum("SHA256", wrong) };
    expect((await refusal(() => upload(body([TEXT], badChecksum)))).code).toBe("BadDigest");
    const badPayload = { ...right, payload: hashed(wrong) };
    expect((await refusal(() => upload(body([TEXT], badPayload)))).code).toBe(
      "XAmzContentSHA256Mismatch",
    );
  });

  test.each([
    [
      { "x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-crc32c": "AAAAAA==" },
      "Expecting a single x-amz-checksum- header",
    ],
    [
      { "x-amz-checksum-md4": "AAAAAA==" },
      "The algorithm type you specified in x-amz-checksum- header is invalid.",
    ],
    [
      { "x-amz-sdk-checksum-algorithm": "CRC32" },
      "no corresponding x-amz-checksum-* or x-amz-trailer headers were found",
    ],
    [
      { "x-amz-sdk-checksum-algorithm": "MD4" },
      "Value for x-amz-sdk-checksum-algorithm header is invalid.",
    ],
    [
      { "x-amz-sdk-checksum-algorithm": "CRC32C", "x-amz-checksum-crc32": "AAAAAA==" },
      "Value for x-amz-sdk-checksum-algorithm header is invalid.",
    ],
    [
      { "x-amz-trailer": "x-amz-checksum-crc32" },
      "The value specified in the x-amz-trailer header is not supported",
    ],
  ])("%j", async (headers, message) => {
    const outcome = await refusal(() => upload(body([TEXT], headers)));
    expect(outcome.code).toBe("InvalidRequest");
    expect(outcome.message).toContain(message);
  });

  test("of the object that a document is about are not those of the document", async () => {
    const digests = {
      "x-amz-checksum-crc32": "AAAAAA==-2",
      "content-md5": digest("md5", TEXT).toString("base64"),
    };
    expect(await body([TEXT], digests).document(100, "object")).toEqual(TEXT);
    const other = { ...digests, "content-md5": digest("md5", wrong).toString("base64") };
    const outcome = await refusal(() => body([TEXT], other).document(100, "object"));
    expect(outcome.code).toBe("BadDigest");
  });

  test("headers about checksums are none", async () => {
    const about = {
      "x-amz-checksum-algorithm": "CRC32",
      "x-amz-checksum-type": "COMPOSITE",
      "x-amz-checksum-mode": "ENABLED",
    };
    expect(body([TEXT], about).hasDigest).toBe(false);
  });
});

describe("aws-chunked (edge rule 1)", () => {
  const trailer = "x-amz-checksum-crc32c";
  const unsigned: Payload = {
    mode: "unsigned-chunks-trailer",
    sha256: undefined,
    signing: undefined,
  };
  const signed: Payload = { mode: "signed-chunks", sha256: undefined, signing: SIGNING };
  const bytes = Buffer.alloc(20_000, "a body");
  const sum = checksum("CRC32C", bytes);
  const chunks = [bytes.subarray(0, 12_000), bytes.subarray(12_000)];
  const announced = {
    payload: unsigned,
    "x-amz-trailer": trailer,
    "x-amz-decoded-content-length": "20000",
  };
  const wire = joined(framed(chunks, { trailers: { [trailer]: sum } }));

  test("gives the object's bytes and length, whatever the transfer's", async () => {
    for (const transfer of [{}, { "content-length": undefined, "transfer-encoding": "chunked" }]) {
      const request = body([wire.subarray(0, 700), wire.subarray(700)], {
        ...announced,
        ...transfer,
      });
      expect([request.size, request.checksumAlgorithm, request.hasDigest]).toEqual([
        20_000,
        "CRC32C",
        true,
      ]);
      const object = await upload(request, "CRC64NVME");
      expect(object.bytes.equals(bytes)).toBe(true);
      expect(object.checksum).toEqual({ algorithm: "CRC32C", type: "FULL_OBJECT", value: sum });
    }
    const small = joined(framed([TEXT], { trailers: { [trailer]: checksum("CRC32C", TEXT) } }));
    const one = body([small], {
      ...announced,
      "x-amz-decoded-content-length": String(TEXT.length),
    });
    expect(Buffer.from((await upload(one)).md5).equals(digest("md5", TEXT))).toBe(true);
  });

  test("in chunks of a byte comes in pieces all the same", async () => {
    const dust = Array.from(TEXT, (byte) => Buffer.of(byte));
    const sent = joined(framed(dust, { trailers: { [trailer]: checksum("CRC32C", TEXT) } }));
    const decoded = { "x-amz-decoded-content-length": String(TEXT.length) };
    const object = body([sent], { ...announced, ...decoded }).object({ checksum: undefined });
    const pieces: Uint8Array[] = [];
    for await (const piece of object) pieces.push(piece);
    expect(pieces).toEqual([TEXT]);
  });

  test("signed, with a checksum in a header", async () => {
    const headers = {
      payload: signed,
      "x-amz-decoded-content-length": "20000",
      "x-amz-checksum-crc32c": sum,
    };
    const sent = joined(framed(chunks, { signing: SIGNING }));
    expect((await upload(body([sent], headers))).bytes.equals(bytes)).toBe(true);
    const changed = Buffer.from(sent);
    changed.writeUInt8(0, 15_000);
    expect((await refusal(() => upload(body([changed], headers)))).code).toBe(
      "SignatureDoesNotMatch",
    );
  });

  test.each([
    ["a wrong checksum", { [trailer]: "AAAAAA==" }, {}, "BadDigest"],
    ["a malformed checksum", { [trailer]: "sailorjerry" }, {}, "BadDigest"],
    ["none, though announced", {}, {}, "MalformedTrailerError"],
    [
      "one not announced",
      { [trailer]: sum },
      { "x-amz-trailer": undefined },
      "MalformedTrailerError",
    ],
    [
      "one, and one in a header",
      { [trailer]: sum },
      { "x-amz-checksum-crc32": "AAAAAA==" },
      "InvalidRequest",
    ],
    [
      "two",
      { [trailer]: sum, "x-amz-checksum-crc32": "AAAAAA==" },
      { "x-amz-trailer": `${trailer}, x-amz-checksum-crc32` },
      "InvalidRequest",
    ],
    [
      "another than the SDK says",
      { [trailer]: sum },
      { "x-amz-sdk-checksum-algorithm": "CRC32" },
      "InvalidRequest",
    ],
    ["metadata", { "x-amz-meta-a": "b" }, { "x-amz-trailer": "x-amz-meta-a" }, "InvalidRequest"],
    [
      "a checksum nobody knows",
      { "x-amz-checksum-x": "b" },
      { "x-amz-trailer": "x-amz-checksum-x" },
      "InvalidRequest",
    ],
  ])("a trailer of %s", async (_, trailers, headers, code) => {
    const sent = joined(framed(chunks, { trailers }));
    const outcome = await refusal(() => upload(body([sent], { ...announced, ...headers })));
    expect(outcome.code).toBe(code);
  });

  test.each([
    [undefined, "MissingContentLength"],
    ["", "InvalidArgument"],
    ["-1", "InvalidArgument"],
    ["+5", "InvalidArgument"],
    ["0x10", "InvalidArgument"],
    ["9223372036854775808", "InvalidArgument"],
    ["19999", "IncompleteBody"],
    ["20001", "IncompleteBody"],
  ])("a decoded length of %s (SIG-6)", async (length, code) => {
    const outcome = await refusal(() =>
      upload(body([wire], { ...announced, "x-amz-decoded-content-length": length })),
    );
    expect(outcome.code).toBe(code);
  });
});

function openFile(
  text: string,
  [minBytes, maxBytes]: readonly [number, number],
  fields: readonly [string, string][] = [],
): RequestBody {
  return openFormFile(new StreamSource(Readable.from([Buffer.from(text)])), {
    headers: HeaderList.fromEntries(fields),
    payload: UNSIGNED,
    fileSizes: { minBytes, maxBytes },
  });
}

/** Lengths of all pieces so far, as each one is at hand. */
async function lengths(request: RequestBody): Promise<number[][]> {
  const pieces: Uint8Array[] = [];
  const seen: number[][] = [];
  for await (const piece of request.object({ checksum: undefined })) {
    pieces.push(piece);
    seen.push(pieces.map(({ length }) => length));
  }
  seen.push(pieces.map(({ length }) => length));
  return seen;
}

function threePieces(): Buffer[] {
  return [1, 2, 3].map((fill) => Buffer.alloc(8192, fill));
}

/** As node:http gives them. */
function unpooled(bytes: Buffer): Buffer {
  return Buffer.from(new Uint8Array(bytes).buffer);
}

describe("the memory of a body's pieces", () => {
  test("goes when the next one is asked for; the last one stays", async () => {
    expect(await lengths(body(threePieces()))).toEqual([
      [8192],
      [0, 8192],
      [0, 0, 8192],
      [0, 0, 8192],
    ]);
  });

  test("goes with its last chunk where the body is framed, but for the last piece", async () => {
    const sent = joined(framed(threePieces(), {}));
    const cut = [sent.subarray(0, 9000), sent.subarray(9000)].map(unpooled);
    const seen = await lengths(
      body(cut, {
        payload: { mode: "unsigned-chunks-trailer", sha256: undefined, signing: undefined },
        "x-amz-decoded-content-length": "24576",
      }),
    );
    const last = seen.at(-1) ?? [];
    expect(last[0]).toBe(0);
    expect(last.at(-1)).toBeGreaterThan(0);
  });

  test("stays where a document is made of them", async () => {
    expect(await body(threePieces()).document(100_000)).toEqual(Buffer.concat(threePieces()));
  });

  test("stays when it is a form's", async () => {
    const file = threePieces().slice(0, 1);
    const source = new StreamSource(Readable.from(file));
    const request = openFormFile(source, {
      headers: HeaderList.fromEntries([]),
      payload: UNSIGNED,
      fileSizes: { minBytes: 0, maxBytes: 100_000 },
    });
    expect(await lengths(request)).toEqual([[8192], [8192]]);
  });
});

describe("a form's file", () => {
  test("is as long as it is, within what its policy allows", async () => {
    const request = openFile("12345", [5, 5], [["content-length", "99"]]);
    expect(request.size).toBeUndefined();
    expect((await upload(request)).bytes.toString()).toBe("12345");
    const large = await refusal(() => upload(openFile("12345", [0, 4])));
    expect([large.code, large.elements]).toEqual([
      "EntityTooLarge",
      { ProposedSize: "5", MaxSizeAllowed: "4" },
    ]);
    const small = await refusal(() => upload(openFile("12345", [6, 9])));
    expect([small.code, small.elements]).toEqual([
      "EntityTooSmall",
      { ProposedSize: "5", MinSizeAllowed: "6" },
    ]);
  });

  test("is verified by the checksum in its fields", async () => {
    const right: [string, string] = [
      "x-amz-checksum-sha256",
      checksum("SHA256", Buffer.from("12345")),
    ];
    expect((await upload(openFile("12345", [0, 9], [right]))).checksum?.value).toBe(right[1]);
    expect((await refusal(() => upload(openFile("12346", [0, 9], [right])))).code).toBe(
      "BadDigest",
    );
  });
});
