import * as fc from "fast-check";
import { expect, test } from "vitest";
import { Crc64Nvme } from "#lib/crc64nvme.ts";
import { rounds } from "#lib/testing/rounds.ts";

test("agrees with the definition, bit by bit, however the bytes are cut", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(300), (bytes, cut) => {
      const crc = new Crc64Nvme();
      crc.update(bytes.subarray(0, cut));
      crc.update(bytes.subarray(cut));
      expect(crc.digest().readBigUInt64BE()).toBe(byDefinition(bytes));
    }),
    { numRuns: rounds(200) },
  );
});

test("agrees with the definition at every length around the braid's and at every alignment", () => {
  const bytes = Uint8Array.from({ length: 180 }, (_, index) => Math.imul(index, 0x9e3779b1) >>> 24);
  for (let length = 0; length <= 160; length += 1) {
    const crc = new Crc64Nvme();
    const part = bytes.subarray(length % 17, (length % 17) + length);
    crc.update(part);
    expect(crc.digest().readBigUInt64BE(), `${length} bytes`).toBe(byDefinition(part));
  }
});

test("agrees with the definition at lengths around those where folding begins and pieces end", () => {
  const bytes = Uint8Array.from(
    { length: 70_000 },
    (_, index) => Math.imul(index, 0x9e3779b1) >>> 24,
  );
  for (const length of [2047, 2048, 2049, 2111, 2112, 2175, 2177, 4096, 65_535, 65_537, 67_600]) {
    const crc = new Crc64Nvme();
    const part = bytes.subarray(5, 5 + length);
    crc.update(part);
    expect(crc.digest().readBigUInt64BE(), `${length} bytes`).toBe(byDefinition(part));
  }
});

test("long pieces and short ones give the same", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 3000, maxLength: 12_000 }),
      fc.integer({ min: 500, max: 12_000 }),
      (bytes, pieceLength) => {
        const inPieces = new Crc64Nvme();
        for (let start = 0; start < bytes.length; start += pieceLength) {
          inPieces.update(bytes.subarray(start, start + pieceLength));
        }
        const byBytes = new Crc64Nvme();
        for (let at = 0; at < bytes.length; at += 1) byBytes.update(bytes.subarray(at, at + 1));
        expect(inPieces.digest()).toEqual(byBytes.digest());
      },
    ),
    { numRuns: rounds(30) },
  );
});

test("what the kernel adds to messages is a multiple of the polynomial", () => {
  const exponents = new Set([0, 171, 413, 540, 544, 609, 818, 944, 1125]);
  let remainder = 0n;
  let power = 1n << 63n;
  for (let exponent = 0; exponent <= 1125; exponent += 1) {
    if (exponents.has(exponent)) remainder ^= power;
    for (let bit = 0; bit < 8; bit += 1) power = overBit(power);
  }
  expect(remainder).toBe(0n);
});

test("several at a time do not disturb each other", () => {
  const both = [new Crc64Nvme(), new Crc64Nvme()];
  for (const piece of ["1234", "5", "6789"]) for (const crc of both) crc.update(Buffer.from(piece));
  expect(both.map((crc) => crc.digest().toString("hex"))).toEqual([
    "ae8b14860a799888",
    "ae8b14860a799888",
  ]);
});

function byDefinition(bytes: Uint8Array): bigint {
  let crc = 0xffff_ffff_ffff_ffffn;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit += 1) crc = overBit(crc);
  }
  return crc ^ 0xffff_ffff_ffff_ffffn;
}

function overBit(crc: bigint): bigint {
  return (crc >> 1n) ^ (crc & 1n ? 0x9a6c_9329_ac4b_c9b5n : 0n);
}
