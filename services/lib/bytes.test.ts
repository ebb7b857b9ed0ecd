import { expect, test } from "vitest";
import { freeMemory } from "#lib/bytes.ts";

test("memory of a large buffer is given back at once", () => {
  const bytes = Buffer.alloc(65_536, 1);
  const { buffer } = bytes;
  freeMemory(bytes);
  expect([bytes.length, buffer.byteLength]).toEqual([0, 0]);
});

test("a part of a larger buffer, shared memory and small buffers stay as they are", () => {
  const whole = Buffer.alloc(65_536, 1);
  freeMemory(whole.subarray(0, 32_768));
  expect(whole[0]).toBe(1);
  const shared = new Uint8Array(new SharedArrayBuffer(8192)).fill(1);
  freeMemory(shared);
  expect(shared[8191]).toBe(1);
  const small = Buffer.alloc(100, 1);
  freeMemory(small);
  expect(small).toHaveLength(100);
});
