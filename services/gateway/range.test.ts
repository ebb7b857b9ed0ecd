/** Byte ranges: what is read, what is ignored, what is refused. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { S3Error } from "#gateway/errors.ts";
import { type ByteRange, contentRange, copySourceRange, requestedRange } from "#gateway/range.ts";
import { rounds } from "#lib/testing/rounds.ts";

/** Within small objects, at their ends, and far behind them. */
const position = fc.oneof(fc.nat(45), fc.constantFrom(2 ** 31, 2 ** 53, 1e20));
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

  test("any range means what it does when one goes through the bytes one by one", () => {
    fc.assert(
      fc.property(position, position, fc.nat(40), (a, b, size) => {
        const bytes = Array.from({ length: size }, (_, index) => index);
        const cases: readonly (readonly [header: string, wanted: readonly number[]])[] = [
          [`bytes=${a}-`, bytes.filter((byte) => byte >= a)],
          [`bytes=-${a}`, bytes.filter((byte) => byte >= size - a)],
          [`bytes=${a}-${b}`, bytes.filter((byte) => a <= byte && byte <= b)],
        ];
        for (const [header, wanted] of a <= b ? cases : cases.slice(0, 2)) {
          const [first, last] = [wanted[0], wanted.at(-1)];
          const shown = first === undefined ? "InvalidRange" : `bytes ${first}-${last}/${size}`;
          expect([header, outcomeOf(() => requestedRange(header, size), size)]).toEqual([
            header,
            shown,
          ]);
        }
      }),
      { numRuns: rounds(500) },
    );
  });

  test("numbers of any length are no reason to fail", () => {
    const long = "9".repeat(400);
    expect(requestedRange(`bytes=0-${long}`, 10)).toEqual({ start: 0, end: 10 });
    expect(requestedRange(`bytes=-${long}`, 10)).toEqual({ start: 0, end: 10 });
    expect(() => requestedRange(`bytes=${long}-`, 10)).toThrow(failing("InvalidRange"));
    expect(() => copySourceRange(`bytes=0-${long}`, 10)).toThrow(failing("InvalidRange"));
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

  test("any range that lies inside is taken as it is, any other refused", () => {
    fc.assert(
      fc.property(fc.nat(45), position, fc.nat(40), (a, b, size) => {
        const wanted = b < size ? `bytes ${a}-${b}/${size}` : "InvalidRange";
        const outcome = outcomeOf(() => copySourceRange(`bytes=${a}-${b}`, size), size);
        expect(outcome).toEqual(b < a ? "InvalidArgument" : wanted);
      }),
      { numRuns: rounds(500) },
    );
  });
});

/** As Content-Range shows it, or the code of the refusal. */
function outcomeOf(reading: () => ByteRange | undefined, size: number): string {
  try {
    const range = reading();
    return range === undefined ? "all" : contentRange(range, size);
  } catch (error) {
    return error instanceof S3Error ? error.code : String(error);
  }
}
