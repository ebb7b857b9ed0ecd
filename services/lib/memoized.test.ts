import { expect, test } from "vitest";
import { memoized } from "#lib/memoized.ts";

test("each text is computed once, until too many are kept", () => {
  const computed: string[] = [];
  const length = memoized((text) => {
    computed.push(text);
    return text.length;
  }, 2);
  expect(["a", "bb", "a", "bb"].map(length)).toEqual([1, 2, 1, 2]);
  expect(computed).toEqual(["a", "bb"]);
  expect(length("ccc")).toBe(3);
  expect(length("a")).toBe(1);
  expect(computed).toEqual(["a", "bb", "ccc", "a"]);
});

test("what throws is tried again", () => {
  let tries = 0;
  const fails = memoized((text): number => {
    tries += 1;
    throw new Error(text);
  }, 2);
  expect(() => fails("x")).toThrow("x");
  expect(() => fails("x")).toThrow("x");
  expect(tries).toBe(2);
});
