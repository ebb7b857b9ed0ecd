/** Bodies that come from inside: a manifest's bytes, and an object's own bytes on their way into a copy. */
import { createHash, hash } from "node:crypto";
import { createChecksum } from "#lib/checksums.ts";
import type { BodyDigests, Checksum, ChecksumAlgorithm, ObjectBody } from "#objects/model.ts";

/** A body that lies in memory. */
export class BytesBody implements ObjectBody {
  readonly size: number;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.size = bytes.length;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    if (this.#bytes.length > 0) yield this.#bytes;
  }

  digests(): BodyDigests {
    return { md5: hash("md5", this.#bytes, "buffer"), checksum: undefined };
  }
}

/** Bytes that are read from where they are stored, hashed on the way. */
export class StoredBody implements ObjectBody {
  readonly size: number;
  readonly #bytes: AsyncIterable<Uint8Array>;
  readonly #algorithm: ChecksumAlgorithm;
  #digests: BodyDigests | undefined;

  constructor(source: {
    bytes: AsyncIterable<Uint8Array>;
    size: number;
    algorithm: ChecksumAlgorithm;
  }) {
    this.#bytes = source.bytes;
    this.size = source.size;
    this.#algorithm = source.algorithm;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    const md5 = createHash("md5");
    const sum = createChecksum(this.#algorithm);
    let size = 0;
    for await (const bytes of this.#bytes) {
      md5.update(bytes);
      sum.update(bytes);
      size += bytes.length;
      yield bytes;
    }
    if (size !== this.size) {
      throw new Error(`Cannot copy an object: ${size} bytes came of ${this.size}`);
    }
    const value = sum.digest().toString("base64");
    const checksum: Checksum = { algorithm: this.#algorithm, type: "FULL_OBJECT", value };
    this.#digests = { md5: md5.digest(), checksum };
  }

  digests(): BodyDigests {
    if (this.#digests === undefined) throw new Error("Cannot give digests: the body has not ended");
    return this.#digests;
  }
}
