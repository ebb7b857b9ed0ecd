/** The five checksums of S3 behind one interface. */
import { createHash } from "node:crypto";
import { crc32 } from "@node-rs/crc32";
import { crc32c } from "#lib/crc32c.ts";
import { Crc64Nvme } from "#lib/crc64nvme.ts";

export type ChecksumAlgorithm = "CRC32" | "CRC32C" | "CRC64NVME" | "SHA1" | "SHA256";

/** Bytes of a digest. */
export const CHECKSUM_BYTES = {
  CRC32: 4,
  CRC32C: 4,
  CRC64NVME: 8,
  SHA1: 20,
  SHA256: 32,
} as const satisfies Readonly<Record<ChecksumAlgorithm, number>>;

/** A checksum of bytes that come in pieces. */
export interface StreamingChecksum {
  update(bytes: Uint8Array): void;
  /** CRCs big endian, as S3 shows them in base64. Called once, after the last update. */
  digest(): Buffer;
}

export function createChecksum(algorithm: ChecksumAlgorithm): StreamingChecksum {
  switch (algorithm) {
    case "CRC32":
      return new Crc32Checksum(crc32);
    case "CRC32C":
      return new Crc32Checksum(crc32c);
    case "CRC64NVME":
      return new Crc64Nvme();
    case "SHA1":
      return createHash("sha1");
    case "SHA256":
      return createHash("sha256");
  }
}

class Crc32Checksum implements StreamingChecksum {
  readonly #advance: (bytes: Uint8Array, value: number) => number;
  #value = 0;

  constructor(advance: (bytes: Uint8Array, value: number) => number) {
    this.#advance = advance;
  }

  update(bytes: Uint8Array): void {
    this.#value = this.#advance(bytes, this.#value);
  }

  digest(): Buffer {
    const bytes = Buffer.allocUnsafe(4);
    bytes.writeUInt32BE(this.#value);
    return bytes;
  }
}
