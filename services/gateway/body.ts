/**
 * A request's body: how long it is, how it is framed, and whether it is what the client said it would be.
 * Everything is verified as the bytes pass; reading throws, at the latest at the end, when anything is wrong.
 */
import type { Readable } from "node:stream";
import type { Authentication } from "#gateway/auth/authenticate.ts";
import { ChunkedBody } from "#gateway/auth/chunked-body.ts";
import type { Payload } from "#gateway/auth/payload.ts";
import {
  type AnnouncedDigests,
  announcedDigests,
  announcedTrailers,
  BodyDigester,
  onlyMd5,
  parseChecksum,
  unsupportedTrailer,
} from "#gateway/body-digests.ts";
import { type ByteSource, emptySource, StreamSource } from "#gateway/body-source.ts";
import type { RequestBody, RequestHeaders } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import { freeMemory } from "#lib/bytes.ts";
import type { BodyDigests, ChecksumAlgorithm, ObjectBody } from "#objects/model.ts";

/** Nothing is read before the handler asks; `onFirstRead` is then the place to send `100 Continue`. */
export function openBody(
  stream: Readable,
  { headers, payload }: Pick<Authentication, "headers" | "payload">,
  onFirstRead?: () => void,
): RequestBody {
  return new VerifiedBody({
    isStream: true,
    headers,
    payload,
    framing: () => readFraming(headers, payload),
    source: () => new StreamSource(stream, onFirstRead),
    sizes: ANY_SIZE,
  });
}

/** The file of a form: it ends where the form says, and its fields stand for headers. */
export function openFormFile(
  file: ByteSource,
  {
    headers,
    payload,
    fileSizes,
  }: Pick<Authentication, "headers" | "payload"> & { readonly fileSizes: SizeRange },
): RequestBody {
  return new VerifiedBody({
    isStream: false,
    headers,
    payload,
    framing: () => ({ size: undefined, isOpenEnded: true, trailers: undefined }),
    source: () => file,
    sizes: fileSizes,
  });
}

/** Inclusive. */
export interface SizeRange {
  readonly minBytes: number;
  readonly maxBytes: number;
}

/** Handlers know what is too large for them. */
const ANY_SIZE: SizeRange = { minBytes: 0, maxBytes: Number.MAX_SAFE_INTEGER };

interface Framing {
  /** As announced. */
  readonly size: number | undefined;
  /** The body has an end of its own, so that it needs no size. */
  readonly isOpenEnded: boolean;
  /** Of aws-chunked with a trailer. */
  readonly trailers: readonly string[] | undefined;
}

function readFraming(headers: RequestHeaders, payload: Payload): Framing {
  const isOpenEnded = headers.get("transfer-encoding") !== undefined;
  const trailers = payload.mode.endsWith("-trailer") ? announcedTrailers(headers) : undefined;
  if (!trailers && headers.get("x-amz-trailer") !== undefined) throw unsupportedTrailer();
  if (payload.mode === "hash" || payload.mode === "unsigned") {
    const length = headers.get("content-length");
    return { size: length === undefined ? undefined : Number(length), isOpenEnded, trailers };
  }
  return { size: decodedLength(headers), isOpenEnded, trailers };
}

function decodedLength(headers: RequestHeaders): number {
  const text = headers.get("x-amz-decoded-content-length");
  if (text === undefined) throw new S3Error("MissingContentLength");
  const length = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(length)) return length;
  throw new S3Error("InvalidArgument", {
    message: "The value of x-amz-decoded-content-length is not a length.",
    elements: { ArgumentName: "x-amz-decoded-content-length", ArgumentValue: text },
  });
}

interface BodyParts {
  /** Nobody else holds a piece of the source. */
  readonly isStream: boolean;
  readonly headers: RequestHeaders;
  readonly payload: Payload;
  readonly framing: () => Framing;
  readonly source: () => ByteSource;
  readonly sizes: SizeRange;
}

class VerifiedBody implements RequestBody {
  readonly #parts: BodyParts;
  #framing: Framing | undefined;
  #announced: AnnouncedDigests | undefined;
  #isTaken = false;

  constructor(parts: BodyParts) {
    this.#parts = parts;
  }

  get size(): number | undefined {
    return this.#frame().size;
  }

  get hasDigest(): boolean {
    const { contentMd5, algorithm } = this.#digests();
    return contentMd5 !== undefined || algorithm !== undefined;
  }

  get checksumAlgorithm(): ChecksumAlgorithm | undefined {
    return this.#digests().algorithm;
  }

  async document(
    limitBytes: number,
    checksumsAreOf: "document" | "object" = "document",
  ): Promise<Buffer> {
    const { size } = this.#frame();
    if (size !== undefined && size > limitBytes) throw new S3Error("MaxMessageLengthExceeded");
    const announced =
      checksumsAreOf === "document" ? this.#digests() : onlyMd5(this.#parts.headers);
    const pieces: Uint8Array[] = [];
    let length = 0;
    const { contentMd5, algorithm } = announced;
    const wanted = { md5: contentMd5 !== undefined, algorithm, announced, isKept: true };
    for await (const piece of this.#take(wanted)) {
      length += piece.length;
      if (length > limitBytes) throw new S3Error("MaxMessageLengthExceeded");
      pieces.push(piece);
    }
    const [only] = pieces;
    return pieces.length === 1 && only instanceof Buffer ? only : Buffer.concat(pieces, length);
  }

  object({ checksum }: { checksum: ChecksumAlgorithm | undefined }): ObjectBody {
    const { size, isOpenEnded } = this.#frame();
    if (size === undefined && !isOpenEnded) throw new S3Error("MissingContentLength");
    const announced = this.#digests();
    const algorithm = announced.algorithm ?? checksum;
    return this.#take({ md5: true, algorithm, announced, isKept: false });
  }

  #take({
    md5,
    algorithm,
    announced,
    isKept,
  }: {
    md5: boolean;
    algorithm: ChecksumAlgorithm | undefined;
    announced: AnnouncedDigests;
    /** The reader keeps all pieces. */
    isKept: boolean;
  }): PassingBody {
    if (this.#isTaken) throw new Error("Cannot read the body of a request: it has been read");
    this.#isTaken = true;
    const { isStream, payload, source, sizes } = this.#parts;
    const { size, isOpenEnded, trailers } = this.#frame();
    const isFramed = payload.mode !== "hash" && payload.mode !== "unsigned";
    const isEmpty = !isFramed && !isOpenEnded && (size ?? 0) === 0;
    return new PassingBody({
      isStream: isStream && !isKept,
      size: isEmpty ? 0 : size,
      sizes,
      source: isEmpty ? () => emptySource : source,
      framing: isFramed
        ? new ChunkedBody({ decodedLength: size ?? 0, signing: payload.signing, trailers })
        : undefined,
      announced,
      sha256: payload.sha256,
      digester: new BodyDigester({ md5, algorithm, sha256: payload.sha256 !== undefined }),
      algorithm,
    });
  }

  #frame(): Framing {
    this.#framing ??= this.#parts.framing();
    return this.#framing;
  }

  #digests(): AnnouncedDigests {
    this.#announced ??= announcedDigests(this.#parts.headers, this.#frame().trailers);
    return this.#announced;
  }
}

interface PassingParts {
  readonly isStream: boolean;
  readonly size: number | undefined;
  readonly sizes: SizeRange;
  readonly source: () => ByteSource;
  readonly framing: ChunkedBody | undefined;
  readonly announced: AnnouncedDigests;
  /** What the payload's SHA-256 must be. */
  readonly sha256: Buffer | undefined;
  readonly digester: BodyDigester;
  readonly algorithm: ChecksumAlgorithm | undefined;
}

/** The bytes on their way through, read once. */
class PassingBody implements ObjectBody {
  readonly size: number | undefined;
  readonly #parts: PassingParts;
  #received = 0;
  #isVerified = false;

  constructor(parts: PassingParts) {
    this.size = parts.size;
    this.#parts = parts;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    const { framing } = this.#parts;
    const source = this.#parts.source();
    for (;;) {
      const piece = await source.next();
      if (!piece) break;
      if (framing) {
        for (const slice of notTooMany(framing.push(piece))) {
          this.#digest(slice);
          yield slice;
        }
        this.#discard(piece);
        continue;
      }
      this.#digest(piece);
      if (this.#received === this.size) {
        this.#verify(undefined);
        yield piece;
        return;
      }
      yield piece;
      this.#discard(piece);
    }
    this.#verify(framing?.end());
  }

  digests(): BodyDigests {
    if (!this.#isVerified) throw new Error("Cannot tell the digests of a body: it has not ended");
    const { digester, algorithm } = this.#parts;
    return {
      md5: digester.md5,
      checksum: algorithm && {
        algorithm,
        type: "FULL_OBJECT",
        value: digester.checksum.toString("base64"),
      },
    };
  }

  /** Its reader has asked for the next one, and keeps none but the last. */
  #discard(piece: Buffer): void {
    if (this.#parts.isStream && this.#received !== this.size) freeMemory(piece);
  }

  #digest(piece: Uint8Array): void {
    const { digester, sizes } = this.#parts;
    const isFirst = this.#received === 0;
    this.#received += piece.length;
    if (this.size !== undefined && this.#received > this.size) throw new S3Error("IncompleteBody");
    if (this.#received > sizes.maxBytes) {
      throw outOfRange("EntityTooLarge", this.#received, { MaxSizeAllowed: sizes.maxBytes });
    }
    if (isFirst && this.#received === this.size) digester.whole(piece);
    else digester.update(piece);
  }

  #verify(trailers: ReadonlyMap<string, string> | undefined): void {
    const { digester, sizes, announced, sha256 } = this.#parts;
    if (this.size !== undefined && this.#received !== this.size) {
      throw new S3Error("IncompleteBody");
    }
    if (this.#received < sizes.minBytes) {
      throw outOfRange("EntityTooSmall", this.#received, { MinSizeAllowed: sizes.minBytes });
    }
    digester.finish();
    if (sha256 && !sha256.equals(digester.sha256)) throw wrongSha256(sha256, digester.sha256);
    const { contentMd5, algorithm } = announced;
    if (contentMd5 && !contentMd5.equals(digester.md5)) throw wrongMd5(contentMd5, digester.md5);
    if (algorithm) verifyChecksum(algorithm, announced, { trailers, computed: digester.checksum });
    this.#isVerified = true;
  }
}

/** Chunks of a few bytes would cost a hundred times their bytes: beyond this many in one piece they are joined. */
const SLICES_MAX = 16;

function notTooMany(slices: Buffer[]): Buffer[] {
  return slices.length > SLICES_MAX ? [Buffer.concat(slices)] : slices;
}

function verifyChecksum(
  algorithm: ChecksumAlgorithm,
  { checksum }: AnnouncedDigests,
  { trailers, computed }: { trailers: ReadonlyMap<string, string> | undefined; computed: Buffer },
): void {
  const inTrailer = trailers?.get(`x-amz-checksum-${algorithm.toLowerCase()}`);
  const expected = checksum ?? parseChecksum(algorithm, inTrailer ?? "");
  if (expected.equals(computed)) return;
  throw new S3Error("BadDigest", {
    message: `The ${algorithm} you specified did not match the calculated checksum.`,
  });
}

function wrongSha256(expected: Buffer, computed: Buffer): S3Error {
  return new S3Error("XAmzContentSHA256Mismatch", {
    elements: {
      ClientComputedContentSHA256: expected.toString("hex"),
      S3ComputedContentSHA256: computed.toString("hex"),
    },
  });
}

function wrongMd5(expected: Buffer, computed: Buffer): S3Error {
  return new S3Error("BadDigest", {
    message: "The Content-MD5 you specified did not match what we received.",
    elements: {
      ExpectedDigest: expected.toString("base64"),
      CalculatedDigest: computed.toString("base64"),
    },
  });
}

function outOfRange(
  code: "EntityTooLarge" | "EntityTooSmall",
  proposed: number,
  limit: Readonly<Record<string, number>>,
): S3Error {
  const numbers = { ProposedSize: proposed, ...limit };
  const elements = Object.entries(numbers).map(([name, bytes]) => [name, String(bytes)]);
  return new S3Error(code, { elements: Object.fromEntries(elements) });
}
