import { describe, expect, test } from "vitest";
import { CHECKSUM_BYTES, type ChecksumAlgorithm, createChecksum } from "#lib/checksums.ts";

/** The published check values of each algorithm, for the nine bytes "123456789". */
const CHECK = {
  CRC32: "cbf43926",
  CRC32C: "e3069283",
  CRC64NVME: "ae8b14860a799888",
  SHA1: "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
  SHA256: "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
} as const satisfies Readonly<Record<ChecksumAlgorithm, string>>;

describe.each(Object.entries(CHECK) as [ChecksumAlgorithm, string][])("%s", (algorithm, check) => {
  test("gives the published check value", () => {
    const checksum = createChecksum(algorithm);
    checksum.update(Buffer.from("123456789"));
    const digest = checksum.digest();
    expect(digest.toString("hex")).toBe(check);
    expect(digest.length).toBe(CHECKSUM_BYTES[algorithm]);
  });

  test("does not depend on how the bytes are cut", () => {
    const checksum = createChecksum(algorithm);
    for (const piece of ["", "1", "2345", "", "6789"]) checksum.update(Buffer.from(piece));
    expect(checksum.digest().toString("hex")).toBe(check);
  });
});
