import { describe, expect, test } from "vitest";
import { codecContract, encode, someBytes } from "#codec/codec.contract.ts";
import { Replication } from "#codec/replication.ts";

for (const copies of [1, 2, 3]) {
  codecContract(
    `replica-${copies}`,
    () => new Replication({ name: `replica-${copies}`, copies, unit: 4096 }),
  );
}

describe("replication", () => {
  const MEBIBYTE = 1024 * 1024;
  const codec = new Replication({ name: "replica-2", copies: 2, unit: MEBIBYTE });
  const open = () => codec.encoder(new AbortController().signal);

  test("gives the very pieces that were pushed to every copy", async () => {
    const encoder = await open();
    const pieces = [someBytes(4096), someBytes(65_536)];
    for (const piece of pieces) encoder.push(piece);
    const { blocks } = encoder.finish();
    expect(blocks).toHaveLength(2);
    for (const block of blocks) {
      expect(block).toHaveLength(2);
      for (const [index, piece] of block.entries()) expect(piece).toBe(pieces[index]);
    }
  });

  test.each([1, 100, 5000, 16_383, 20_000])(
    "a stripe pushed in pieces of %i bytes has few pieces",
    async (pieceLength) => {
      const body = someBytes(MEBIBYTE);
      const encoder = await open();
      for (let start = 0; start < body.length; ) {
        start += encoder.push(body.subarray(start, start + pieceLength));
      }
      const [pieces = []] = encoder.finish().blocks;
      expect(pieces.length).toBeLessThanOrEqual(80);
      expect(Buffer.concat(pieces).equals(body)).toBe(true);
    },
  );

  test("small pieces between large ones stay in their place", async () => {
    const body = someBytes(MEBIBYTE);
    const encoder = await open();
    for (let start = 0, turn = 0; start < body.length; turn += 1) {
      const length = turn % 3 === 0 ? 16_384 : 1 + (turn % 7);
      start += encoder.push(body.subarray(start, start + length));
    }
    const [pieces = []] = encoder.finish().blocks;
    expect(pieces.length).toBeLessThanOrEqual(150);
    expect(Buffer.concat(pieces).equals(body)).toBe(true);
  });

  test("the stripes of one encoder do not disturb each other", async () => {
    const body = someBytes(2 * MEBIBYTE);
    const encoder = await open();
    const finished: Uint8Array[] = [];
    for (let start = 0; start < body.length; ) {
      start += encoder.push(body.subarray(start, start + 1000));
      if (encoder.isFull) finished.push(...(encoder.finish().blocks[0] ?? []));
    }
    expect(Buffer.concat(finished).equals(body)).toBe(true);
    expect(await encode(codec, body, 1000)).toHaveLength(2);
  });
});
