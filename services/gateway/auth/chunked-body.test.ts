import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ChunkedBody, type ChunkedBodyOptions } from "#gateway/auth/chunked-body.ts";
import { type Framed, framed, joined, SIGNING } from "#gateway/auth/chunked-client.ts";
import { SigningKey } from "#gateway/auth/signing-key.ts";
import { S3Error } from "#gateway/errors.ts";
import { rounds } from "#lib/testing/rounds.ts";

const TRAILERS = { "x-amz-checksum-crc32c": "sOO8/Q==" };
const NAMES = Object.keys(TRAILERS);

/** Bytes and trailers, or the code of the refusal. */
function read(pieces: readonly Buffer[], options: ChunkedBodyOptions) {
  const body = new ChunkedBody(options);
  try {
    const slices = pieces.flatMap((piece) => body.push(piece));
    const trailers = Object.fromEntries(body.end());
    return { bytes: Buffer.concat(slices).toString("latin1"), trailers };
  } catch (error) {
    if (error instanceof S3Error) return error.code;
    throw error;
  }
}

function data(...lengths: number[]): Buffer[] {
  return lengths.map((length, index) => Buffer.alloc(length, `${index}abc`));
}

const FORMS = [
  { form: "signed chunks", signing: SIGNING, sent: undefined, trailers: undefined },
  { form: "signed chunks and trailer", signing: SIGNING, sent: TRAILERS, trailers: NAMES },
  { form: "a trailer only", signing: undefined, sent: TRAILERS, trailers: NAMES },
  { form: "no signature and no trailer", signing: undefined, sent: {}, trailers: [] },
] as const;

describe.each(FORMS)("a body with $form", ({ signing, sent, trailers }) => {
  const options = (decodedLength: number) => ({ decodedLength, signing, trailers });

  test("reads the same wherever it is cut in two, and byte by byte", () => {
    const chunks = signing ? data(8192, 700) : data(5, 300, 1);
    const wire = joined(framed(chunks, { signing, trailers: sent }));
    const expected = {
      bytes: Buffer.concat(chunks).toString("latin1"),
      trailers: sent ?? {},
    };
    const length = expected.bytes.length;
    for (let cut = 0; cut <= wire.length; cut++) {
      // Within the data of a large chunk one cut is like another.
      if (cut > 200 && cut < 8000) continue;
      const pieces = [wire.subarray(0, cut), wire.subarray(cut)];
      expect(read(pieces, options(length)), `cut at ${cut}`).toEqual(expected);
    }
    const bytes = Array.from(wire, (_, index) => wire.subarray(index, index + 1));
    expect(read(bytes, options(length))).toEqual(expected);
  });

  test("reads the same in any chunks and any pieces", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 3000 }), { maxLength: 4 }),
        fc.array(fc.integer({ min: 1, max: 9000 }), { maxLength: 12 }),
        (lengths, cuts) => {
          const chunks = data(...lengths.map((length) => (signing ? length + 8192 : length)));
          const wire = joined(framed(chunks, { signing, trailers: sent }));
          const pieces: Buffer[] = [];
          let position = 0;
          for (const cut of [...cuts, wire.length]) {
            pieces.push(wire.subarray(position, position + cut));
            position += cut;
          }
          const bytes = Buffer.concat(chunks).toString("latin1");
          expect(read(pieces, options(bytes.length))).toEqual({ bytes, trailers: sent ?? {} });
        },
      ),
      { numRuns: rounds(60) },
    );
  });

  test("may be empty", () => {
    const wire = joined(framed([], { signing, trailers: sent }));
    expect(read([wire], options(0))).toEqual({ bytes: "", trailers: sent ?? {} });
  });

  test("gives out slices of what came in", () => {
    const wire = joined(framed(data(9000), { signing, trailers: sent }));
    const [slice] = new ChunkedBody(options(9000)).push(wire);
    expect(slice?.buffer).toBe(wire.buffer);
    expect(slice?.length).toBe(9000);
  });

  test("is refused when it ends early, wherever", () => {
    const wire = joined(framed(data(8192, 10), { signing, trailers: sent }));
    for (let end = 0; end < wire.length; end++) {
      if (end > 200 && end < 8100) continue;
      expect(read([wire.subarray(0, end)], options(8202)), `ends at ${end}`).toBe("IncompleteBody");
    }
  });

  test("is refused when more follows", () => {
    const wire = joined(framed(data(10), { signing, trailers: sent }));
    for (const more of ["x\r\n", "0\r\n", "\r\n\r\n", wire.toString("latin1")]) {
      expect(read([wire, Buffer.from(more)], options(10)), `then ${more}`).toBe("InvalidRequest");
    }
  });

  test("is refused when it is shorter or longer than announced", () => {
    const wire = joined(framed(data(10), { signing, trailers: sent }));
    expect(read([wire], options(11))).toBe("IncompleteBody");
    expect(read([wire], options(9))).toBe("IncompleteBody");
  });

  test("allocates nothing for a chunk of 16 GiB that is only announced", () => {
    const size = 16 * 2 ** 30;
    const [chunk = Buffer.alloc(0)] = framed(data(1), { signing }).chunks;
    const header = chunk.toString("latin1").replace(/^1/, size.toString(16)).slice(0, -3);
    const before = process.memoryUsage().arrayBuffers;
    const body = new ChunkedBody(options(size));
    expect(body.push(Buffer.from(header))).toEqual([]);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024);
    expect(read([Buffer.from(header)], options(10))).toBe("IncompleteBody");
  });

  test.each([
    ["a size that is none", "g"],
    ["no size", ""],
    ["a sign", "+a"],
    ["a prefix", "0xa"],
    ["white space", " a"],
    ["too many digits", `${"0".repeat(16)}a`],
  ])("is refused for %s", (_, size) => {
    const wire = joined(framed(data(10), { signing, trailers: sent })).toString("latin1");
    expect(read([Buffer.from(wire.replace(/^a/, size))], options(10))).toBe("InvalidRequest");
  });

  test("is refused for lines without end", () => {
    expect(read([Buffer.alloc(4096, "0")], options(10))).toBe("InvalidRequest");
    const bare = joined(framed(data(10), { signing, trailers: sent }))
      .toString("latin1")
      .replace("\r\n", "\n");
    expect(read([Buffer.from(bare)], options(10))).toBe("InvalidRequest");
  });
});

describe("the signatures of chunks (SIG-4)", () => {
  const LENGTH = 8192 * 3 + 100;
  const good = framed(data(8192, 8192, 8192, 100), { signing: SIGNING });
  const options = { decodedLength: LENGTH, signing: SIGNING, trailers: undefined };
  const send = (change: Partial<Framed>) => read([joined({ ...good, ...change })], options);
  const [a, b, c, d, last] = good.chunks as [Buffer, Buffer, Buffer, Buffer, Buffer];

  test("let the whole body in", () => {
    expect(send({})).toMatchObject({ trailers: {} });
  });

  test("miss any changed byte", () => {
    const wire = joined(good);
    for (let index = 0; index < wire.length; index += index > 90 && index < 8190 ? 997 : 1) {
      const changed = Buffer.from(wire);
      changed.writeUInt8((changed.readUInt8(index) ^ 1) & 0xff, index);
      const outcome = read([changed], options);
      expect(typeof outcome, `byte ${index}: ${JSON.stringify(outcome).slice(0, 80)}`).toBe(
        "string",
      );
    }
  });

  test.each([
    ["exchanged", [b, a, c, d, last], "SignatureDoesNotMatch"],
    ["left out", [a, c, d, last], "SignatureDoesNotMatch"],
    ["repeated", [a, a, b, d, last], "SignatureDoesNotMatch"],
    ["the last of the data left out", [a, b, c, last], "SignatureDoesNotMatch"],
    ["the end left out", [a, b, c, d], "InvalidRequest"],
  ])("see chunks %s", (_, chunks, code) => {
    expect(send({ chunks })).toBe(code);
  });

  test("of another request, key or day do not fit", () => {
    for (const change of [
      { seed: "6".repeat(64) },
      { key: new SigningKey(Buffer.alloc(32, 8)) },
      { timestamp: "20261122T123016Z" },
      { scope: "20261123/us-east-1/s3/aws4_request" },
    ]) {
      const signing = { ...SIGNING, ...change };
      expect(read([joined(good)], { ...options, signing })).toBe("SignatureDoesNotMatch");
    }
  });

  test("hold back a chunk that came whole and is wrong", () => {
    const body = new ChunkedBody(options);
    const wrong = Buffer.from(a);
    wrong.writeUInt8(0, 500);
    expect(() => body.push(wrong)).toThrow(S3Error);
  });

  test("are not left away: an unsigned body is no signed one", () => {
    const wire = joined(framed(data(10), {}));
    expect(read([wire], { ...options, decodedLength: 10 })).toBe("InvalidRequest");
  });
});

test("only the last signed chunk may be below 8 KiB (SIG-6)", () => {
  const wire = joined(framed(data(8191, 10), { signing: SIGNING }));
  const body = new ChunkedBody({ decodedLength: 8201, signing: SIGNING, trailers: undefined });
  let refusal: unknown;
  try {
    body.push(wire);
  } catch (error) {
    refusal = error;
  }
  expect(refusal).toMatchObject({
    code: "InvalidChunkSizeError",
    elements: { Chunk: "1", BadChunkSize: "8191" },
  });
});

function read10(frame: Framed, options: Partial<ChunkedBodyOptions>) {
  const all = { decodedLength: 10, signing: undefined, trailers: NAMES, ...options };
  return read([joined(frame)], all);
}

function withTrailer(frame: Framed, trailer: string): Framed {
  return { ...frame, trailer: Buffer.from(trailer) };
}

describe("trailers (SIG-5)", () => {
  const signed = framed(data(10), { signing: SIGNING, trailers: TRAILERS });
  const plain = framed(data(10), { trailers: TRAILERS });
  test.each([
    ["that was announced is missing", "\r\n"],
    ["that was not announced", "x-amz-checksum-crc32:AAAAAA==\r\n\r\n"],
    ["twice", "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-checksum-crc32c:sOO8/Q==\r\n\r\n"],
    ["without a colon", "x-amz-checksum-crc32c\r\n\r\n"],
    ["with a signature that nobody asked for", `x-amz-trailer-signature:${"a".repeat(64)}\r\n\r\n`],
  ])("%s", (_, trailer) => {
    expect(read10(withTrailer(plain, trailer), {})).toBe("MalformedTrailerError");
  });

  test("names may have capitals, values white space around", () => {
    const trailer = "X-Amz-Checksum-CRC32C: sOO8/Q== \r\n\r\n";
    expect(read10(withTrailer(plain, trailer), {})).toMatchObject({ trailers: TRAILERS });
  });

  test("must be signed where chunks are", () => {
    expect(read10({ ...signed, trailer: plain.trailer }, { signing: SIGNING })).toBe(
      "IncompleteBody",
    );
  });

  test("with a wrong signature, or changed behind it", () => {
    const text = signed.trailer.toString("latin1");
    const signatures = [
      text.replace(/signature:./, "signature:g"),
      text.replace(/signature:.{64}/, `signature:${"a".repeat(64)}`),
      text.replace("sOO8/Q==", "sOO8/A=="),
    ];
    for (const trailer of signatures) {
      expect(read10(withTrailer(signed, trailer), { signing: SIGNING })).toBe(
        "SignatureDoesNotMatch",
      );
    }
    const [checksum = "", signature = ""] = text.split("\r\n");
    const late = `${signature}\r\n${checksum}\r\n\r\n`;
    expect(read10(withTrailer(signed, late), { signing: SIGNING })).toBe("SignatureDoesNotMatch");
    const more = `${checksum}\r\n${signature}\r\n${checksum}\r\n\r\n`;
    expect(read10(withTrailer(signed, more), { signing: SIGNING })).toBe("MalformedTrailerError");
  });

  test("as minio-go writes them, with a line feed more", () => {
    const signedTrailer = signed.trailer.toString("latin1").replace("\r\n", "\n\r\n");
    expect(read10(withTrailer(signed, signedTrailer), { signing: SIGNING })).toMatchObject({
      trailers: TRAILERS,
    });
    const plainTrailer = plain.trailer.toString("latin1").replace("\r\n\r\n", "\n\r\n\r\n");
    expect(read10(withTrailer(plain, plainTrailer), {})).toMatchObject({ trailers: TRAILERS });
  });

  test("are no place to hide a long text", () => {
    const trailer = `x-amz-checksum-crc32c:${"A".repeat(2000)}\r\n\r\n`;
    expect(read10(withTrailer(plain, trailer), {})).toBe("InvalidRequest");
  });
});
