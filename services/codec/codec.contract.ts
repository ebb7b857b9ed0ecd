/** What every codec promises: any k of the n blocks of a stripe give its bytes back. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Codec, StripeEncoder } from "#codec/codec.ts";
import { rounds } from "#lib/testing/rounds.ts";

/** Patterns tried at each size; parity-matrix.test.ts holds that every pattern of every code can be solved. */
const PATTERNS_MAX = 30;

/** `open` gives a codec with memory of its own. Its unit should be small. */
export function codecContract(name: string, open: () => Codec): void {
  describe(`${name} codec`, () => {
    const codec = open();
    const { k, m, unit } = codec;
    const stripe = k * unit;
    const losses = erasures(k + m, m, PATTERNS_MAX);

    test.each(interestingSizes(k, unit))("any k blocks give %i bytes back", async (size) => {
      const body = someBytes(size);
      const stripes = await encode(codec, body, Math.max(1, Math.floor(size / 3)));
      expect(stripes).toHaveLength(Math.ceil(size / stripe));
      for (const [index, blocks] of stripes.entries()) {
        const expected = body.subarray(index * stripe, (index + 1) * stripe);
        expect(blocks).toHaveLength(k + m);
        for (const lost of losses) {
          const left = blocks.map((block, shard) => (lost.includes(shard) ? undefined : block));
          const decoded = codec.decode(left, expected.length);
          expect(expected.equals(Buffer.concat(decoded)), `without ${lost.join()}`).toBe(true);
        }
      }
    });

    test("lost blocks are rebuilt as they were", async () => {
      const [blocks = []] = await encode(codec, someBytes(stripe - 1), stripe);
      for (const lost of losses) {
        const left = blocks.map((block, shard) => (lost.includes(shard) ? undefined : block));
        const rebuilt = codec.rebuild(left, lost);
        for (const [position, shard] of lost.entries()) {
          expect(rebuilt[position]).toEqual(blocks[shard]);
        }
      }
    });

    test("blocks are ⌈length / k⌉ bytes, the data as it is with zeros at the end", async () => {
      const body = someBytes(Math.max(1, stripe - k - 1));
      const [blocks = []] = await encode(codec, body, 7);
      const blockLength = Math.ceil(body.length / k);
      for (const block of blocks) expect(block).toHaveLength(blockLength);
      const padded = Buffer.concat([body, Buffer.alloc(k * blockLength - body.length)]);
      expect(Buffer.concat(blocks.slice(0, k)).equals(padded)).toBe(true);
    });

    test("with all data blocks at hand nothing is copied", async () => {
      const [blocks = []] = await encode(codec, someBytes(stripe - 1), stripe);
      const decoded = codec.decode(blocks, stripe - 1);
      expect(decoded.length).toBe(k);
      for (const [index, piece] of decoded.entries()) {
        expect(piece.buffer).toBe(blocks[index]?.buffer);
        expect(piece.byteOffset).toBe(blocks[index]?.byteOffset);
      }
    });

    test("fewer than k blocks, or blocks of another length, are refused", async () => {
      const [blocks = []] = await encode(codec, someBytes(stripe), stripe);
      const tooFew = blocks.map((block, shard) => (shard < k - 1 ? block : undefined));
      expect(() => codec.decode(tooFew, stripe)).toThrow(/at hand/);
      expect(() => codec.rebuild(tooFew, [k])).toThrow(/at hand/);
      const short = blocks.map((block) => block.subarray(1));
      expect(() => codec.decode(short, stripe)).toThrow(/bytes, not/);
    });

    test("an encoder takes bytes up to the stripe's end and says so", async () => {
      const encoder = await codec.encoder(new AbortController().signal, undefined);
      expect(() => encoder.finish()).toThrow("nothing was gathered");
      expect(encoder.push(Buffer.alloc(0))).toBe(0);
      expect(encoder.push(someBytes(stripe - 1))).toBe(stripe - 1);
      expect([encoder.isFull, encoder.gathered]).toEqual([false, stripe - 1]);
      expect(encoder.push(someBytes(5))).toBe(1);
      expect([encoder.isFull, encoder.gathered]).toEqual([true, stripe]);
      expect(encoder.push(someBytes(5))).toBe(0);
      const first = encoder.finish();
      expect([encoder.isFull, encoder.gathered, first.length]).toEqual([false, 0, stripe]);
      expect(encoder.push(someBytes(3))).toBe(3);
      const second = encoder.finish();
      expect([second.length, second.blockLength]).toEqual([3, Math.ceil(3 / k)]);
      for (const finished of [first, second]) finished.release();
      encoder.discard();
      encoder.discard();
    });

    test("a stripe keeps its bytes until its release, while the next is gathered", async () => {
      const body = someBytes(3 * stripe);
      const encoder = await codec.encoder(new AbortController().signal, body.length);
      push(encoder, body.subarray(0, stripe));
      const first = encoder.finish();
      push(encoder, body.subarray(stripe, 2 * stripe));
      const second = encoder.finish();
      const given = [first, second].map(({ blocks }) => blocks.slice(0, k).flat());
      expect(Buffer.concat(given.flat()).equals(body.subarray(0, 2 * stripe))).toBe(true);
      first.release();
      first.release();
      push(encoder, body.subarray(2 * stripe));
      const third = encoder.finish();
      const last = Buffer.concat(third.blocks.slice(0, k).flat());
      expect(last.equals(body.subarray(2 * stripe))).toBe(true);
      expect(Buffer.concat(given[1] ?? []).equals(body.subarray(stripe, 2 * stripe))).toBe(true);
    });

    test("bytes come back however they were cut and whatever was lost", async () => {
      const shards = Array.from({ length: k + m }, (_, shard) => shard);
      await fc.assert(
        fc.asyncProperty(
          fc.uint8Array({ maxLength: 2 * stripe + 3 }),
          fc.integer({ min: 1, max: stripe + 9 }),
          fc.shuffledSubarray(shards, { minLength: k, maxLength: k }),
          async (bytes, pieceLength, left) => {
            const decoded: Uint8Array[] = [];
            let rest = bytes.length;
            for (const blocks of await encode(codec, Buffer.from(bytes), pieceLength)) {
              const known = blocks.map((block, shard) =>
                left.includes(shard) ? block : undefined,
              );
              decoded.push(...codec.decode(known, Math.min(stripe, rest)));
              rest -= stripe;
            }
            expect(Buffer.concat(decoded).equals(bytes)).toBe(true);
          },
        ),
        { numRuns: rounds(30) },
      );
    });
  });
}

/** The blocks of each stripe of a body that comes in pieces of one length. */
export async function encode(codec: Codec, body: Buffer, pieceLength: number): Promise<Buffer[][]> {
  const encoder = await codec.encoder(new AbortController().signal, body.length);
  const stripes: Buffer[][] = [];
  const finish = () => {
    const stripe = encoder.finish();
    stripes.push(stripe.blocks.map((pieces) => Buffer.concat(pieces)));
    stripe.release();
  };
  for (let start = 0; start < body.length; ) {
    start += encoder.push(body.subarray(start, start + pieceLength));
    if (encoder.isFull) finish();
  }
  if (encoder.gathered > 0) finish();
  encoder.discard();
  return stripes;
}

/** Bytes that no shift or swap leaves alike. */
export function someBytes(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = 0x9e3779b9;
  for (let index = 0; index < length; index += 1) {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + index;
    bytes[index] = state >>> 11;
  }
  return bytes;
}

function push(encoder: StripeEncoder, bytes: Uint8Array): void {
  for (let start = 0; start < bytes.length; ) start += encoder.push(bytes.subarray(start));
}

function interestingSizes(k: number, unit: number): number[] {
  const edges = [1, unit, (k - 1) * unit, k * unit, 2 * k * unit];
  const sizes = edges.flatMap((edge) => [edge - 1, edge, edge + 1]);
  return [...new Set([...sizes, k - 1, k + 1])]
    .filter((size) => size >= 0)
    .toSorted((a, b) => a - b);
}

/** Ways to lose `lost` of n shards: all of them, or at most so many, evenly chosen. */
export function erasures(n: number, lost: number, atMost: number): readonly (readonly number[])[] {
  const all: number[][] = [];
  const chosen: number[] = [];
  const choose = (from: number) => {
    if (chosen.length === lost) all.push([...chosen]);
    for (let shard = from; chosen.length < lost && shard < n; shard += 1) {
      chosen.push(shard);
      choose(shard + 1);
      chosen.pop();
    }
  };
  choose(0);
  const step = Math.ceil(all.length / atMost);
  return all.filter((_, index) => index % step === 0);
}
