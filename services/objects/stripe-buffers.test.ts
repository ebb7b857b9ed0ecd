import { describe, expect, test } from "vitest";
import { BufferPool } from "#lib/buffer-pool.ts";
import { StripeBuffers } from "#objects/stripe-buffers.ts";

const MEBIBYTE = 1024 * 1024;

describe("buffers of stripes", () => {
  test("of a read that failed, or is still going on, are never used again", async () => {
    const pool = new BufferPool(8 * MEBIBYTE);
    const seen: Uint8Array[] = [];
    const note = (into: Uint8Array) => {
      seen.push(into);
      return into;
    };
    const stripe = new StripeBuffers(pool);
    const late = Promise.withResolvers<void>();
    const failed = stripe.fill(MEBIBYTE, async (into) => {
      note(into);
      throw new Error("bad");
    });
    await expect(failed).rejects.toThrow("bad");
    const pending = stripe.fill(MEBIBYTE, async (into) => {
      await late.promise;
      return note(into);
    });
    await stripe.fill(MEBIBYTE, async (into) => note(into));
    stripe.giveBack();
    late.resolve();
    await pending;
    const again = [1, 2, 3].map(() => pool.take(MEBIBYTE));
    const [bad, good, slow] = seen;
    expect(again).toContain(good);
    expect(again).not.toContain(bad);
    expect(again).not.toContain(slow);
  });
});
