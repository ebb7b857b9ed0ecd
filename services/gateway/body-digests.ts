/** What a client says its body's digests are, and what they turn out to be: each computed once, whoever asks for it. */
import { createHash, type Hash, hash } from "node:crypto";
import type { RequestHeaders } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import {
  CHECKSUM_BYTES,
  type ChecksumAlgorithm,
  createChecksum,
  type StreamingChecksum,
} from "#lib/checksums.ts";
import { createMd5, md5 } from "#lib/md5.ts";

/** The digests that a request's headers announce. */
export interface AnnouncedDigests {
  readonly contentMd5: Buffer | undefined;
  readonly algorithm: ChecksumAlgorithm | undefined;
  /** undefined: it follows in the trailer. */
  readonly checksum: Buffer | undefined;
}

const CHECKSUM_PREFIX = "x-amz-checksum-";
/** Headers that begin like a checksum and speak about one. */
const ABOUT_CHECKSUMS = new Set(["algorithm", "mode", "type"]);

/** `trailers`: what x-amz-trailer announces, where the body can have a trailer. */
export function announcedDigests(
  headers: RequestHeaders,
  trailers: readonly string[] | undefined,
): AnnouncedDigests {
  const inHeaders = checksumHeaders(headers);
  const inTrailers = (trailers ?? []).map(algorithmOf);
  if (inHeaders.length + inTrailers.length > 1) {
    throw new S3Error("InvalidRequest", {
      message:
        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
    });
  }
  const algorithm = inHeaders[0] ?? inTrailers[0];
  checkSdkAlgorithm(headers, algorithm);
  const fromHeader = inHeaders[0];
  return {
    contentMd5: contentMd5(headers),
    algorithm,
    checksum:
      fromHeader && parseChecksum(fromHeader, headers.get(checksumHeader(fromHeader)) ?? ""),
  };
}

/** Where checksum headers speak of something else than the body. */
export function onlyMd5(headers: RequestHeaders): AnnouncedDigests {
  return { contentMd5: contentMd5(headers), algorithm: undefined, checksum: undefined };
}

/**
 * Base64 of the right length. What is not can be no body's checksum, so that the client's check has failed: BadDigest, as
 * ceph/s3-tests expects. AWS answers the same words with InvalidRequest (ceph/s3-tests#644).
 */
export function parseChecksum(algorithm: ChecksumAlgorithm, value: string): Buffer {
  const checksum = strictBase64(value, CHECKSUM_BYTES[algorithm]);
  if (checksum) return checksum;
  throw new S3Error("BadDigest", {
    message: `Value for ${checksumHeader(algorithm)} header is invalid.`,
  });
}

export function checksumHeader(algorithm: ChecksumAlgorithm): string {
  return `${CHECKSUM_PREFIX}${algorithm.toLowerCase()}`;
}

/** The names in x-amz-trailer: only checksums may follow a body. */
export function announcedTrailers(headers: RequestHeaders): readonly string[] {
  const text = headers.get("x-amz-trailer");
  if (text === undefined) return [];
  const names = text
    .toLowerCase()
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
  if (names.every((name) => name.startsWith(CHECKSUM_PREFIX))) return names;
  throw unsupportedTrailer();
}

export function unsupportedTrailer(): S3Error {
  return new S3Error("InvalidRequest", {
    message: "The value specified in the x-amz-trailer header is not supported",
  });
}

/** Which digests are to be computed. */
export interface WantedDigests {
  readonly md5: boolean;
  readonly sha256: boolean;
  readonly algorithm: ChecksumAlgorithm | undefined;
}

/** Computes digests of a body as it passes. A body that comes in one piece is hashed at one stroke, which costs less. */
export class BodyDigester {
  readonly #wanted: WantedDigests;
  #md5: Hash | undefined;
  #sha256: Hash | undefined;
  #checksum: StreamingChecksum | undefined;
  #isWhole = false;
  md5 = NO_DIGEST;
  sha256 = NO_DIGEST;
  checksum = NO_DIGEST;

  constructor(wanted: WantedDigests) {
    this.#wanted = wanted;
  }

  /** The only piece: nothing came before it and nothing follows. */
  whole(bytes: Uint8Array): void {
    const { algorithm } = this.#wanted;
    this.#isWhole = true;
    if (this.#wanted.md5) this.md5 = md5(bytes);
    if (this.#hashesSha256()) this.sha256 = hash("sha256", bytes, "buffer");
    if (algorithm)
      this.checksum = algorithm === "SHA256" ? this.sha256 : digestOf(algorithm, bytes);
  }

  update(bytes: Uint8Array): void {
    const { algorithm } = this.#wanted;
    if (this.#wanted.md5) (this.#md5 ??= createMd5()).update(bytes);
    if (this.#hashesSha256()) (this.#sha256 ??= createHash("sha256")).update(bytes);
    if (algorithm && algorithm !== "SHA256") {
      (this.#checksum ??= createChecksum(algorithm)).update(bytes);
    }
  }

  /** After the last piece; the digests can be read from then on. */
  finish(): void {
    if (this.#isWhole) return;
    // Of no bytes at all: nothing has begun yet.
    this.update(NO_BYTES);
    if (this.#md5) this.md5 = this.#md5.digest();
    if (this.#sha256) this.sha256 = this.#sha256.digest();
    if (this.#wanted.algorithm === "SHA256") this.checksum = this.sha256;
    else if (this.#checksum) this.checksum = this.#checksum.digest();
  }

  #hashesSha256(): boolean {
    return this.#wanted.sha256 || this.#wanted.algorithm === "SHA256";
  }
}

const NO_BYTES = new Uint8Array();
const NO_DIGEST: Buffer = Buffer.alloc(0);

function digestOf(algorithm: ChecksumAlgorithm, bytes: Uint8Array): Buffer {
  if (algorithm === "SHA1") return hash("sha1", bytes, "buffer");
  const checksum = createChecksum(algorithm);
  checksum.update(bytes);
  return checksum.digest();
}

function checksumHeaders(headers: RequestHeaders): ChecksumAlgorithm[] {
  return headers
    .withPrefix(CHECKSUM_PREFIX)
    .filter(([name]) => !ABOUT_CHECKSUMS.has(name.slice(CHECKSUM_PREFIX.length)))
    .map(([name]) => algorithmOf(name));
}

function algorithmOf(header: string): ChecksumAlgorithm {
  const name = header.slice(CHECKSUM_PREFIX.length).toUpperCase();
  if (isAlgorithm(name)) return name;
  throw new S3Error("InvalidRequest", {
    message: "The algorithm type you specified in x-amz-checksum- header is invalid.",
  });
}

function isAlgorithm(name: string): name is ChecksumAlgorithm {
  return Object.hasOwn(CHECKSUM_BYTES, name);
}

/** What SDKs say they compute must be what they send. */
function checkSdkAlgorithm(
  headers: RequestHeaders,
  algorithm: ChecksumAlgorithm | undefined,
): void {
  const announced = headers.get("x-amz-sdk-checksum-algorithm");
  if (announced === undefined || announced.toUpperCase() === algorithm) return;
  throw new S3Error("InvalidRequest", {
    message:
      algorithm === undefined && isAlgorithm(announced.toUpperCase())
        ? "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found."
        : "Value for x-amz-sdk-checksum-algorithm header is invalid.",
  });
}

function contentMd5(headers: RequestHeaders): Buffer | undefined {
  const value = headers.get("content-md5");
  if (value === undefined) return undefined;
  const digest = strictBase64(value, 16);
  if (digest) return digest;
  throw new S3Error("InvalidDigest", {
    message: "The Content-MD5 you specified was invalid.",
    elements: { "Content-MD5": value },
  });
}

function strictBase64(value: string, length: number): Buffer | undefined {
  const bytes = Buffer.from(value, "base64");
  return bytes.length === length && bytes.toString("base64") === value ? bytes : undefined;
}
