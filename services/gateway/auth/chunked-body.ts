/**
 * aws-chunked: bodies in chunks that carry their own signatures, and trailers behind them. Pieces of any size go
 * in, the object's bytes come out as slices of them, and nothing is held back but a line of framing: whoever reads
 * must not believe the bytes before `end` has returned.
 *
 *     1000;chunk-signature=…␍␊ (4,096 bytes) ␍␊ 0;chunk-signature=…␍␊ x-amz-checksum-crc32:…␍␊ x-amz-trailer-signature:…␍␊ ␍␊
 *
 * Each signature covers the one before it, so chunks cannot be left out, repeated or exchanged.
 */
import { createHash, type Hash, hash } from "node:crypto";
import type { ChunkSigning } from "#gateway/auth/payload.ts";
import { S3Error } from "#gateway/errors.ts";

const LINE_FEED = 0x0a;
const EMPTY_SHA256 = hash("sha256", "", "hex");

/** Sixteen digits of size and a signature, with room; of a trailer, any checksum with room. */
const LINE_BYTES_MAX = 1024;
/** All signed chunks but the last are at least so large, as on AWS: the cost of a signature stays small beside the bytes. */
const CHUNK_BYTES_MIN = 8192;

const SIGNED_HEADER = /^([0-9a-fA-F]{1,16});chunk-signature=([0-9a-f]{64})$/;
const PLAIN_HEADER = /^([0-9a-fA-F]{1,16})$/;

export interface ChunkedBodyOptions {
  /** x-amz-decoded-content-length. */
  readonly decodedLength: number;
  /** undefined: chunks are not signed. */
  readonly signing: ChunkSigning | undefined;
  /** Names that x-amz-trailer announced, in lower case; undefined: no trailer may follow. */
  readonly trailers: readonly string[] | undefined;
}

type State = "header" | "data" | "data-end" | "trailer" | "last-line" | "done";

export class ChunkedBody {
  readonly #options: ChunkedBodyOptions;
  readonly #trailers = new Map<string, string>();
  #state: State = "header";
  /** The beginning of a line whose end has not come yet. */
  #line = "";
  #decoded = 0;
  /** Of the chunk at hand. */
  #size = 0;
  #remaining = 0;
  #signature = "";
  #hash: Hash | undefined;
  /** Signature of the chunk before. */
  #previous: string;
  #chunks = 0;
  #wasSmall = false;
  #trailerText = "";
  #trailerIsVerified = false;
  #emptyLines = 0;

  constructor(options: ChunkedBodyOptions) {
    this.#options = options;
    this.#previous = options.signing?.seed ?? "";
  }

  /** The object's bytes within these. Whole chunks have been verified; what is cut off is verified with the rest of its chunk. */
  push(bytes: Buffer): Buffer[] {
    const slices: Buffer[] = [];
    let position = 0;
    while (position < bytes.length) {
      if (this.#state === "data") {
        const slice = bytes.subarray(position, position + this.#remaining);
        position += slice.length;
        this.#takeData(slice);
        slices.push(slice);
        continue;
      }
      const end = bytes.indexOf(LINE_FEED, position);
      const stop = end === -1 ? bytes.length : end;
      if (this.#line.length + stop - position > LINE_BYTES_MAX) throw malformed();
      this.#line += bytes.toString("latin1", position, stop);
      position = stop + 1;
      if (end === -1) break;
      const line = this.#line;
      this.#line = "";
      this.#takeLine(line);
    }
    return slices;
  }

  /** To be called when the body has ended: the trailers, by name in lower case. */
  end(): ReadonlyMap<string, string> {
    if (this.#state !== "done" || this.#line !== "") throw new S3Error("IncompleteBody");
    for (const name of this.#options.trailers ?? []) {
      if (!this.#trailers.has(name)) throw new S3Error("MalformedTrailerError");
    }
    return this.#trailers;
  }

  #takeLine(line: string): void {
    switch (this.#state) {
      case "header":
        this.#beginChunk(withoutReturn(line));
        return;
      case "data-end":
        if (line !== "\r") throw malformed();
        this.#state = "header";
        return;
      case "trailer":
        this.#takeTrailer(line.endsWith("\r") ? line.slice(0, -1) : line);
        return;
      case "last-line":
        if (line !== "\r") throw malformed();
        this.#state = "done";
        return;
      case "done":
        // One more empty line: minio-go ends a trailer's line with a line feed of its own.
        if (line !== "\r" || !this.#options.trailers || ++this.#emptyLines > 1) throw malformed();
        return;
      case "data":
        throw new Error("Cannot read a line of framing: inside a chunk's data");
    }
  }

  #beginChunk(header: string): void {
    const { signing, decodedLength } = this.#options;
    const match = (signing ? SIGNED_HEADER : PLAIN_HEADER).exec(header);
    if (!match) throw malformed();
    const size = Number.parseInt(match[1] ?? "", 16);
    this.#signature = match[2] ?? "";
    if (this.#decoded + size > decodedLength) throw new S3Error("IncompleteBody");
    if (size === 0) {
      this.#verifyChunk(EMPTY_SHA256);
      if (this.#decoded < decodedLength) throw new S3Error("IncompleteBody");
      this.#state = this.#options.trailers ? "trailer" : "last-line";
      return;
    }
    if (this.#wasSmall) throw tooSmall(this.#chunks, this.#size);
    this.#chunks += 1;
    this.#wasSmall = signing !== undefined && size < CHUNK_BYTES_MIN;
    this.#size = size;
    this.#remaining = size;
    this.#state = "data";
  }

  #takeData(slice: Buffer): void {
    this.#remaining -= slice.length;
    this.#decoded += slice.length;
    if (this.#options.signing) {
      if (slice.length === this.#size) {
        this.#verifyChunk(hash("sha256", slice, "hex"));
      } else {
        this.#hash ??= createHash("sha256");
        this.#hash.update(slice);
        if (this.#remaining === 0) {
          this.#verifyChunk(this.#hash.digest("hex"));
          this.#hash = undefined;
        }
      }
    }
    if (this.#remaining === 0) this.#state = "data-end";
  }

  #verifyChunk(sha256: string): void {
    const { signing } = this.#options;
    if (!signing) return;
    const text = `AWS4-HMAC-SHA256-PAYLOAD\n${signing.timestamp}\n${signing.scope}\n${this.#previous}\n${EMPTY_SHA256}\n${sha256}`;
    if (!signing.key.hasSigned(text, this.#signature)) throw wrongSignature(text, this.#signature);
    this.#previous = this.#signature;
  }

  #takeTrailer(line: string): void {
    const { signing, trailers = [] } = this.#options;
    if (line === "") {
      if (!signing || this.#trailerIsVerified || trailers.length === 0) this.#state = "done";
      // minio-go again: the line feed that ends the trailer's text, then that of the line.
      else if (this.#trailerText === "" || ++this.#emptyLines > 1) throw malformedTrailer();
      return;
    }
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(colon, 0)).toLowerCase();
    const value = line.slice(colon + 1).trim();
    if (this.#trailerIsVerified) throw malformedTrailer();
    if (signing && name === "x-amz-trailer-signature") {
      this.#verifyTrailer(signing, value);
      return;
    }
    if (!trailers.includes(name) || this.#trailers.has(name)) throw malformedTrailer();
    this.#trailers.set(name, value);
    this.#trailerText += `${name}:${value}\n`;
  }

  #verifyTrailer(signing: ChunkSigning, signature: string): void {
    const sha256 = hash("sha256", this.#trailerText, "hex");
    const text = `AWS4-HMAC-SHA256-TRAILER\n${signing.timestamp}\n${signing.scope}\n${this.#previous}\n${sha256}`;
    if (!signing.key.hasSigned(text, signature)) throw wrongSignature(text, signature);
    this.#trailerIsVerified = true;
    this.#emptyLines = 0;
  }
}

function withoutReturn(line: string): string {
  if (!line.endsWith("\r")) throw malformed();
  return line.slice(0, -1);
}

function malformed(): S3Error {
  return new S3Error("InvalidRequest", {
    message: "The body is not well-formed aws-chunked data.",
  });
}

function malformedTrailer(): S3Error {
  return new S3Error("MalformedTrailerError");
}

function tooSmall(chunk: number, size: number): S3Error {
  return new S3Error("InvalidChunkSizeError", {
    elements: { Chunk: String(chunk), BadChunkSize: String(size) },
  });
}

function wrongSignature(text: string, provided: string): S3Error {
  return new S3Error("SignatureDoesNotMatch", {
    elements: { StringToSign: text, SignatureProvided: provided },
  });
}
