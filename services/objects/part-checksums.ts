/** The ETag and the checksum of an object in parts, made from those of its parts; pure. */
import { createHash, hash } from "node:crypto";
import { createChecksum } from "#lib/checksums.ts";
import { type CrcAlgorithm, combineCrcs } from "#lib/crc-combine.ts";
import type { Checksum, ChecksumAlgorithm, ChecksumType } from "#objects/model.ts";

export interface HashedPart {
  readonly size: number;
  /** MD5 as hex. */
  readonly etag: string;
  readonly checksum: Checksum | undefined;
}

/** MD5 of the parts' MD5s, without the `-N`. */
export function md5OfParts(parts: readonly Pick<HashedPart, "etag">[]): string {
  const md5 = createHash("md5");
  for (const { etag } of parts) md5.update(etag, "hex");
  return md5.digest("hex");
}

/**
 * What the upload asked for; undefined when its parts do not allow it. An upload that named no algorithm gets the
 * CRC64NVME of the whole, which its parts have by default, or the CRC that all its parts came with.
 */
export function checksumOfParts(
  parts: readonly HashedPart[],
  asked: { algorithm: ChecksumAlgorithm | undefined; type: ChecksumType | undefined },
): Checksum | undefined {
  const algorithm = asked.algorithm ?? parts[0]?.checksum?.algorithm;
  if (algorithm === undefined) return undefined;
  const digests: Buffer[] = [];
  for (const { checksum } of parts) {
    if (checksum?.algorithm !== algorithm) return undefined;
    digests.push(Buffer.from(checksum.value, "base64"));
  }
  const type = asked.type ?? defaultType(asked.algorithm);
  if (type === "COMPOSITE") return { algorithm, type, value: digestOf(algorithm, digests) };
  if (!isCrc(algorithm)) return undefined;
  const [first = Buffer.alloc(0), ...rest] = digests;
  const whole = rest.reduce(
    (crc, digest, index) =>
      combineCrcs(algorithm, {
        first: crc,
        second: digest,
        secondLength: parts[index + 1]?.size ?? 0,
      }),
    first,
  );
  return { algorithm, type, value: whole.toString("base64") };
}

/** S3's: SHA is composite, CRC64NVME of the whole, and the other two composite unless asked otherwise. */
export function defaultType(algorithm: ChecksumAlgorithm | undefined): ChecksumType {
  return algorithm === undefined || algorithm === "CRC64NVME" ? "FULL_OBJECT" : "COMPOSITE";
}

export function isCrc(algorithm: ChecksumAlgorithm): algorithm is CrcAlgorithm {
  return algorithm !== "SHA1" && algorithm !== "SHA256";
}

/** Names a list of parts, so that a replayed Complete is told from another one. */
export function digestOfList(
  parts: readonly { readonly number: number; readonly etag: string }[],
): Buffer {
  return hash("sha256", parts.map(({ number, etag }) => `${number}:${etag}\n`).join(""), "buffer");
}

function digestOf(algorithm: ChecksumAlgorithm, digests: readonly Buffer[]): string {
  const sum = createChecksum(algorithm);
  for (const digest of digests) sum.update(digest);
  return sum.digest().toString("base64");
}
