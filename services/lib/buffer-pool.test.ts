import { describe, expect, test } from "vitest";
import { BufferPool } from "#lib/buffer-pool.ts";

const MEBIBYTE = 1024 * 1024;

describe("pooled buffers", () => {
  test("are used again once they are given back, and not before", () => {
    const pool = new BufferPool(4 * MEBIBYTE);
    const one = pool.take(MEBIBYTE);
    const other = pool.take(MEBIBYTE);
    expect(other).not.toBe(one);
    pool.give(one);
    expect(pool.take(MEBIBYTE)).toBe(one);
  });

  test("are at least as long as what is to be read into them", () => {
    const pool = new BufferPool(16 * MEBIBYTE);
    for (const bytes of [1, 64 * 1024, 64 * 1024 + 1, MEBIBYTE - 1, MEBIBYTE, 5 * MEBIBYTE]) {
      const buffer = pool.take(bytes);
      expect(buffer.length).toBeGreaterThanOrEqual(bytes);
      pool.give(buffer);
      expect(pool.take(bytes).length).toBeGreaterThanOrEqual(bytes);
    }
  });

  test("are kept up to a bound", () => {
    const pool = new BufferPool(2 * MEBIBYTE);
    const buffers = [1, 2, 3].map(() => pool.take(MEBIBYTE));
    for (const buffer of buffers) pool.give(buffer);
    const again = [1, 2, 3].map(() => pool.take(MEBIBYTE));
    expect(again.filter((buffer) => buffers.includes(buffer))).toHaveLength(2);
  });
});
