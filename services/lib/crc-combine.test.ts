import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createChecksum } from "#lib/checksums.ts";
import { type CrcAlgorithm, combineCrcs } from "#lib/crc-combine.ts";
import { rounds } from "#lib/testing/rounds.ts";

const ALGORITHMS: readonly CrcAlgorithm[] = ["CRC32", "CRC32C", "CRC64NVME"];

describe.each(ALGORITHMS)("%s", (algorithm) => {
  const combine = (first: Uint8Array, second: Uint8Array, secondLength: number) =>
    combineCrcs(algorithm, { first, second, secondLength });
  const crcOf = (bytes: Uint8Array) => {
    const checksum = createChecksum(algorithm);
    checksum.update(bytes);
    return checksum.digest();
  };

  test("of two runs is that of the bytes one after the other", () => {
    const run = fc.uint8Array({ maxLength: 3000 });
    fc.assert(
      fc.property(run, run, (left, right) => {
        const combined = combine(crcOf(left), crcOf(right), right.length);
        expect(combined).toEqual(crcOf(Buffer.concat([left, right])));
      }),
      { numRuns: rounds(200) },
    );
  });

  test("takes lengths beyond 32 bits: it does not matter in which order runs are put together", () => {
    const length = fc.integer({ min: 0, max: 5 * 1024 ** 4 });
    const crc = fc.uint8Array({ minLength: crcOf(Buffer.alloc(0)).length, maxLength: 8 });
    fc.assert(
      fc.property(crc, crc, crc, length, length, (a, b, c, bLength, cLength) => {
        const [first, second, third] = [a, b, c].map((bytes) => bytes.subarray(0, size(algorithm)));
        if (!first || !second || !third) throw new Error("Three CRCs were made");
        const fromLeft = combine(combine(first, second, bLength), third, cLength);
        const fromRight = combine(first, combine(second, third, cLength), bLength + cLength);
        expect(fromLeft).toEqual(fromRight);
      }),
      { numRuns: rounds(100) },
    );
  });

  test("of another algorithm's length is refused", () => {
    expect(() => combine(Buffer.alloc(5), crcOf(Buffer.alloc(1)), 1)).toThrow("one has 5 bytes");
  });
});

function size(algorithm: CrcAlgorithm): number {
  return algorithm === "CRC64NVME" ? 8 : 4;
}
