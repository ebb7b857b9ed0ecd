import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type BlockMath, plainBlockMath } from "#codec/block-math.ts";
import { BlockRecovery, RECOVERY_BYTES } from "#codec/block-recovery.ts";
import { codecContract, encode, erasures, someBytes } from "#codec/codec.contract.ts";
import type { EncodedStripe } from "#codec/codec.ts";
import { ReedSolomon } from "#codec/reed-solomon.ts";
import { DATA_SHARDS_MAX, PARITY_SHARDS_MAX } from "#codec/storage-class.ts";
import { type Run, StripePool } from "#codec/stripe-pool.ts";
import { wasmBlockMath } from "#codec/wasm/kernel.ts";
import { rounds } from "#lib/testing/rounds.ts";

const POOL_BYTES = 1024 * 1024;
const POOL_PAGES = 16;
const never = new AbortController().signal;
const MATHS = { plain: plainBlockMath, simd: wasmBlockMath } as const;
type MathName = keyof typeof MATHS;

function memoryOf(math: MathName): { pool: StripePool; recovery: BlockRecovery } {
  const make: (bytes: number) => BlockMath = MATHS[math];
  return {
    pool: new StripePool(make(POOL_BYTES)),
    recovery: new BlockRecovery(make(RECOVERY_BYTES)),
  };
}

function open(
  { k, m, unit }: { k: number; m: number; unit: number },
  { pool, recovery }: { pool: StripePool; recovery: BlockRecovery },
): ReedSolomon {
  const memory = { pool: () => pool, recovery: () => recovery };
  return new ReedSolomon({ name: `ec-${k}+${m}`, k, m, unit }, memory);
}

for (const math of ["plain", "simd"] as const) {
  const memory = memoryOf(math);
  for (const { k, m, unit } of [
    { k: 1, m: 2, unit: 64 },
    { k: 2, m: 1, unit: 100 },
    { k: 4, m: 2, unit: 192 },
    { k: 5, m: 3, unit: 65 },
    { k: 16, m: 8, unit: 33 },
  ]) {
    codecContract(`ec-${k}+${m} ${math}`, () => open({ k, m, unit }, memory));
  }
}

describe("Reed–Solomon", () => {
  const plain = memoryOf("plain");
  const simd = memoryOf("simd");

  test("SIMD and the plain reference give the same blocks for every code and odd lengths", async () => {
    for (let k = 1; k <= DATA_SHARDS_MAX; k += 1) {
      for (let m = 1; m <= PARITY_SHARDS_MAX; m += 1) {
        const body = someBytes(k * 131 + m);
        const expected = await encode(open({ k, m, unit: 97 }, plain), body, body.length);
        const given = await encode(open({ k, m, unit: 97 }, simd), body, body.length);
        expect(given, `ec-${k}+${m}`).toEqual(expected);
      }
    }
  });

  test("SIMD and the plain reference agree over more than a strip of the cache", async () => {
    for (const { k, m } of [
      { k: 3, m: 8 },
      { k: 4, m: 2 },
      { k: 16, m: 6 },
    ]) {
      const body = someBytes(k * 5003);
      const expected = await encode(open({ k, m, unit: 5003 }, plain), body, body.length);
      expect(await encode(open({ k, m, unit: 5003 }, simd), body, body.length)).toEqual(expected);
    }
  });

  test("every pattern of lost shards is made good, for every code of up to 11 shards", async () => {
    for (let k = 1; k <= 10; k += 1) {
      for (let m = 1; m <= PARITY_SHARDS_MAX && k + m <= 11; m += 1) {
        const codec = open({ k, m, unit: 2 }, simd);
        const body = someBytes(2 * k);
        const [blocks = []] = await encode(codec, body, body.length);
        for (const lost of erasures(k + m, m, Number.POSITIVE_INFINITY)) {
          const left = blocks.map((block, shard) => (lost.includes(shard) ? undefined : block));
          const decoded = Buffer.concat(codec.decode(left, body.length));
          expect(decoded.equals(body), `ec-${k}+${m} without ${lost.join()}`).toBe(true);
        }
      }
    }
  });

  test("blocks longer than a strip are rebuilt", async () => {
    const codec = open({ k: 3, m: 2, unit: 40_001 }, simd);
    const body = someBytes(3 * 40_001);
    const [blocks = []] = await encode(codec, body, 8192);
    const left = [undefined, blocks[1], undefined, blocks[3], blocks[4]];
    expect(Buffer.concat(codec.decode(left, body.length)).equals(body)).toBe(true);
  });

  test("more blocks than there is parity can be rebuilt at once, from others than those given as wanted", async () => {
    const codec = open({ k: 2, m: 1, unit: 64 }, simd);
    const [blocks = []] = await encode(codec, someBytes(128), 128);
    const wrong = [Buffer.alloc(64), blocks[1], blocks[2]];
    expect(codec.rebuild(wrong, [0])).toEqual([blocks[0]]);
    expect(() => codec.rebuild(wrong, [0, 1])).toThrow("1 others are at hand, 2 are needed");
  });

  test("the parity of a known stripe never changes, for it is the format", async () => {
    const codec = open({ k: 4, m: 3, unit: 4 }, simd);
    const [blocks = []] = await encode(codec, Buffer.from("sixteen bytes ok"), 16);
    expect(blocks.slice(4).map((block) => block.toString("hex"))).toEqual([
      "07550d5a",
      "1e1c1fdc",
      "662b876f",
    ]);
  });

  test("more than was announced is refused, and a third stripe before a release", async () => {
    const codec = open({ k: 2, m: 1, unit: 64 }, memoryOf("plain"));
    const { signal } = new AbortController();
    const small = await codec.encoder(signal, 10);
    expect(() => small.push(Buffer.alloc(11))).toThrow("10 more were announced");
    const encoder = await codec.encoder(signal, 1000);
    for (const _ of [1, 2]) {
      encoder.push(Buffer.alloc(128));
      encoder.finish();
    }
    expect(() => encoder.push(Buffer.alloc(1))).toThrow(
      "neither of two finished ones was released",
    );
  });

  test("no way to use an encoder keeps memory of the pool", async () => {
    const memory = memoryOf("plain");
    const codec = open({ k: 2, m: 1, unit: 64 }, memory);
    const { signal } = new AbortController();
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 700 }),
        fc.boolean(),
        fc.array(fc.constantFrom("push", "finish", "release", "discard"), { maxLength: 30 }),
        async (size, isAnnounced, steps) => {
          const encoder = await codec.encoder(signal, isAnnounced ? size : undefined);
          const finished: EncodedStripe[] = [];
          let rest = size;
          for (const step of steps) {
            if (step === "push" && finished.length < 2) {
              rest -= encoder.push(Buffer.alloc(Math.min(rest, 100)));
            } else if (step === "finish" && encoder.gathered > 0) {
              finished.push(encoder.finish());
              // Only the last stripe may be short.
              if (finished.at(-1)?.length !== 128) rest = 0;
            } else if (step === "release") {
              finished.shift()?.release();
            } else if (step === "discard") {
              encoder.discard();
              rest = 0;
            }
          }
          encoder.discard();
          for (const stripe of finished) stripe.release();
          const everything = await memory.pool.take([POOL_BYTES], AbortSignal.timeout(1000));
          expect(everything).toHaveLength(1);
          for (const run of everything) run.free();
        },
      ),
      { numRuns: rounds(200) },
    );
  });

  test("a stripe released twice comes back once", async () => {
    const memory = memoryOf("plain");
    const encoder = await open({ k: 2, m: 1, unit: 64 }, memory).encoder(never, 3 * 128);
    const stripe = () => {
      encoder.push(Buffer.alloc(128));
      return encoder.finish();
    };
    const [first, second] = [stripe(), stripe()];
    first.release();
    first.release();
    expect(await freePages(memory.pool)).toBe(POOL_PAGES - 2);
    second.release();
    stripe().release();
    expect(await freePages(memory.pool)).toBe(POOL_PAGES);
  });

  test("memory that the rest of the body does not need comes back before its end", async () => {
    const memory = memoryOf("plain");
    const encoder = await open({ k: 2, m: 1, unit: 64 }, memory).encoder(never, 128 + 5);
    expect(await freePages(memory.pool)).toBe(POOL_PAGES - 2);
    encoder.push(Buffer.alloc(128));
    encoder.finish().release();
    expect(await freePages(memory.pool)).toBe(POOL_PAGES - 1);
    encoder.push(Buffer.alloc(5));
    encoder.finish().release();
    expect(await freePages(memory.pool)).toBe(POOL_PAGES);
  });

  test("a small body takes little memory", async () => {
    const memory = memoryOf("plain");
    const encoder = await open({ k: 4, m: 2, unit: 65_536 }, memory).encoder(never, 1000);
    expect(await freePages(memory.pool)).toBe(POOL_PAGES - 1);
    encoder.discard();
  });

  test("an encoder whose announced body is done holds nothing, without being discarded", async () => {
    const memory = memoryOf("plain");
    const codec = open({ k: 2, m: 1, unit: 64 }, memory);
    await encodeWithoutDiscard(codec, 128 * 3);
    await encodeWithoutDiscard(codec, 128 * 2 + 5);
    const [everything] = await memory.pool.take([POOL_BYTES], AbortSignal.timeout(1000));
    expect(everything?.offset).toBe(0);
  });
});

/** Pages that can be taken one by one without waiting. */
async function freePages(pool: StripePool): Promise<number> {
  const taken: Run[] = [];
  for (;;) {
    const giveUp = new AbortController();
    const one = pool.take([1], giveUp.signal);
    setImmediate(() => giveUp.abort());
    const runs = await one.catch(() => undefined);
    if (!runs) break;
    taken.push(...runs);
  }
  for (const run of taken) run.free();
  return taken.length;
}

async function encodeWithoutDiscard(codec: ReedSolomon, size: number): Promise<void> {
  const encoder = await codec.encoder(new AbortController().signal, size);
  for (let rest = size; rest > 0; ) {
    rest -= encoder.push(Buffer.alloc(rest));
    encoder.finish().release();
  }
}
