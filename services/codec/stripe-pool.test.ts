import * as fc from "fast-check";
import { expect, test } from "vitest";
import { plainBlockMath } from "#codec/block-math.ts";
import { type Run, StripePool } from "#codec/stripe-pool.ts";
import { rounds } from "#lib/testing/rounds.ts";

const PAGE = 64 * 1024;

function pool(pages: number): StripePool {
  return new StripePool(plainBlockMath(pages * PAGE));
}

const never = new AbortController().signal;

test("runs that are out at the same time do not overlap and lie in the memory", async () => {
  const step = fc.tuple(fc.integer({ min: 1, max: 5 * PAGE }), fc.nat());
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const memory = pool(16);
      const out: { from: number; to: number; run: Run }[] = [];
      for (const [bytes, which] of steps) {
        const taken = memory.take([bytes], never);
        // Whoever waits is served as soon as enough has come back.
        for (let index = which; (await now(taken)) === undefined; index += 7) {
          for (const { run } of out.splice(index % out.length, 1)) run.free();
        }
        for (const run of await taken) out.push({ from: run.offset, to: run.offset + bytes, run });
        const inOrder = out.toSorted((left, right) => left.from - right.from);
        const ends = [0, ...inOrder.map(({ to }) => to)];
        expect(inOrder.every(({ from }, index) => from >= (ends[index] ?? 0))).toBe(true);
        expect(ends.at(-1)).toBeLessThanOrEqual(16 * PAGE);
      }
    }),
    { numRuns: rounds(50) },
  );
});

test("those who wait are served in turn, also when a later one asks for less", async () => {
  const memory = pool(4);
  const [first] = await memory.take([2 * PAGE], never);
  const [second] = await memory.take([2 * PAGE], never);
  const large = memory.take([4 * PAGE], never);
  const small = memory.take([PAGE], never);
  first?.free();
  expect(await now(small)).toBeUndefined();
  second?.free();
  const [run] = await large;
  expect(await now(small)).toBeUndefined();
  run?.free();
  expect(await small).toHaveLength(1);
});

test("whoever comes while others wait stands behind them", async () => {
  const memory = pool(4);
  const [held] = await memory.take([2 * PAGE], never);
  const large = memory.take([4 * PAGE], never);
  expect(await now(memory.take([PAGE], never))).toBeUndefined();
  held?.free();
  expect(await large).toHaveLength(1);
});

test("one who gives up leaves the queue to those behind", async () => {
  const memory = pool(4);
  await memory.take([3 * PAGE], never);
  const impatient = new AbortController();
  const large = memory.take([4 * PAGE], impatient.signal);
  const small = memory.take([PAGE], never);
  impatient.abort(new Error("gone"));
  await expect(large).rejects.toThrow("gone");
  expect(await small).toHaveLength(1);
});

test("several runs come together or not at all", async () => {
  const memory = pool(4);
  const [held] = await memory.take([2 * PAGE], never);
  const both = memory.take([2 * PAGE, 2 * PAGE], never);
  expect(await now(both)).toBeUndefined();
  held?.free();
  expect(await both).toHaveLength(2);
});

test("a run freed twice is free once", async () => {
  const memory = pool(1);
  const [run] = await memory.take([PAGE], never);
  run?.free();
  await memory.take([PAGE], never);
  run?.free();
  expect(await now(memory.take([PAGE], never))).toBeUndefined();
});

test("more than the whole pool is refused at once", async () => {
  await expect(pool(2).take([2 * PAGE, 1], never)).rejects.toThrow("the pool has 131072");
});

/** What the promise gives without waiting; undefined when it waits. */
async function now<Value>(promise: Promise<Value>): Promise<Value | undefined> {
  const later = new Promise<undefined>((resolve) => {
    setImmediate(() => resolve(undefined));
  });
  return Promise.race([promise, later]);
}
