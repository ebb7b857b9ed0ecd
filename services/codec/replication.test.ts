import { describe, expect, test } from "vitest";
import { codecContract, encode, someBytes } from "#codec/codec.contract.ts";
import type { StripeEncoder } from "#codec/codec.ts";
import { Replication } from "#codec/replication.ts";
import { BufferPool } from "#lib/buffer-pool.ts";

const MEBIBYTE = 1024 * 1024;

for (const copies of [1, 2, 3]) {
  const name = `replica-${copies}`;
  codecContract(name, () => new Replication({ name, copies, unit: 4096 }, new BufferPool(0)));
}

describe("replication", () => {
  const pool = new BufferPool(4 * MEBIBYTE);
  const codec = new Replication({ name: "replica-2", copies: 2, unit: MEBIBYTE }, pool);
  const open = (size?: number) => codec.encoder(new AbortController().signal, size);

  test("gives a body that came in one piece to every copy as it is", async () => {
    const body = someBytes(4096);
    const encoder = await open(body.length);
    encoder.push(body);
    const { blocks } = encoder.finish();
    expect(blocks).toHaveLength(2);
    for (const block of blocks) expect(block).toEqual([body]);
    expect(blocks[0]?.[0]).toBe(body);
  });

  test.each([undefined, 70_000])(
    "puts pieces together, which are their owner's again (size %s)",
    async (size) => {
      const body = someBytes(70_000);
      const encoder = await open(size);
      for (let start = 0; start < body.length; start += 16_384) {
        const piece = Buffer.from(body.subarray(start, start + 16_384));
        expect(encoder.push(piece)).toBe(piece.length);
        piece.fill(0);
      }
      const { blocks, length } = encoder.finish();
      expect(length).toBe(body.length);
      for (const block of blocks) expect(Buffer.concat(block).equals(body)).toBe(true);
      expect(blocks[0]).toHaveLength(1);
    },
  );

  test("the stripes of one encoder do not disturb each other", async () => {
    const body = someBytes(2 * MEBIBYTE);
    const encoder = await open(body.length);
    const finished: Uint8Array[] = [];
    for (let start = 0; start < body.length; ) {
      start += encoder.push(body.subarray(start, start + 1000));
      if (encoder.isFull) finished.push(...(encoder.finish().blocks[0] ?? []));
    }
    expect(Buffer.concat(finished).equals(body)).toBe(true);
    expect(await encode(codec, body, 1000)).toHaveLength(2);
  });

  test("memory is used again after its stripe's release, once", async () => {
    const one = await filled(open);
    expect((await filled(open)).buffer).not.toBe(one.buffer);
    one.stripe.release();
    one.stripe.release();
    expect((await filled(open)).buffer).toBe(one.buffer);
    expect((await filled(open)).buffer).not.toBe(one.buffer);
  });

  test("an encoder that is discarded gives its memory back", async () => {
    const small = new BufferPool(MEBIBYTE);
    const encoder = await new Replication(
      { name: "replica-1", copies: 1, unit: MEBIBYTE },
      small,
    ).encoder(new AbortController().signal, undefined);
    encoder.push(someBytes(10));
    encoder.discard();
    encoder.discard();
    expect(small.take(MEBIBYTE)).not.toBe(small.take(MEBIBYTE));
  });
});

/** A full stripe and where it stands. */
async function filled(open: () => Promise<StripeEncoder>) {
  const encoder = await open();
  encoder.push(someBytes(MEBIBYTE));
  const stripe = encoder.finish();
  return { stripe, buffer: stripe.blocks[0]?.[0]?.buffer };
}
