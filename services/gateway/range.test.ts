/** Byte ranges: what is read, what is ignored, what is refused. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { contentRange, copySourceRange, requestedRange } from "#gateway/range.ts";

const failing = (code: string) => expect.objectContaining({ name: "S3Error", code });

describe("rule 19: ranges", () => {
  test.each([
    ["bytes=0-0", 10, { start: 0, end: 1 }],
    ["bytes=2-5", 10, { start: 2, end: 6 }],
    ["bytes=2-", 10, { start: 2, end: 10 }],
    ["bytes=-3", 10, { start: 7, end: 10 }],
    ["bytes=-30", 10, { start: 0, end: 10 }],
    ["bytes=5-99", 10, { start: 5, end: 10 }],
    ["BYTES = 2 - 5", 10, { start: 2, end: 6 }],
  ])("%s of %i bytes", (header, size, range) => {
    expect(requestedRange(header, size)).toEqual(range);
  });

  test.each([
    undefined,
    "bytes=",
    "bytes=-",
    "bytes=a-b",
    "bytes=0-1,3-4",
    "bytes=5-2",
    "items=0-1",
    "0-1",
  ])("%s is no range, and all is read", (header) => {
    expect(requestedRange(header, 10)).toBeUndefined();
  });

  test.each([
    ["bytes=10-", 10],
    ["bytes=10-20", 10],
    ["bytes=-0", 10],
    ["bytes=0-", 0],
    ["bytes=-5", 0],
    ["bytes=40-50", 0],
  ])("%s of %i bytes is not satisfiable, and says the size", (header, size) => {
    expect(() => requestedRange(header, size)).toThrow(
      expect.objectContaining({
        code: "InvalidRange",
        status: 416,
        headers: { "content-range": `bytes */${size}` },
      }),
    );
  });

  test("any range that is given lies within the object and says so", () => {
    fc.assert(
      fc.property(fc.nat(1000), fc.nat(1000), fc.integer({ min: 1, max: 1000 }), (a, b, size) => {
        fc.pre(a <= b && a < size);
        const end = Math.min(b, size - 1) + 1;
        expect(requestedRange(`bytes=${a}-${b}`, size)).toEqual({ start: a, end });
        expect(contentRange({ start: a, end }, size)).toBe(`bytes ${a}-${end - 1}/${size}`);
      }),
      { numRuns: 200 },
    );
  });
});

describe("rule 19: ranges of a copy's source", () => {
  test("names both ends, inside the source", () => {
    expect(copySourceRange("bytes=0-4", 5)).toEqual({ start: 0, end: 5 });
  });

  test.each([
    "0-2",
    "bytes=0",
    "bytes=hello-world",
    "bytes=0-bar",
    "bytes=hello-",
    "bytes=0-2,3-5",
    "bytes=-3",
    "bytes=3-2",
  ])("%s is malformed", (header) => {
    expect(() => copySourceRange(header, 5)).toThrow(failing("InvalidArgument"));
  });

  test.each(["bytes=0-21", "bytes=5-6"])("%s goes past the end of five bytes", (header) => {
    expect(() => copySourceRange(header, 5)).toThrow(failing("InvalidRange"));
  });
});
