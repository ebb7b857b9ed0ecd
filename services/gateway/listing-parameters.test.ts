/** Limits, spelling and tokens of listings. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  continuationToken,
  keySpelling,
  pageLimit,
  readContinuationToken,
} from "#gateway/listing-parameters.ts";
import { parseQuery } from "#gateway/query.ts";
import { rounds } from "#lib/testing/rounds.ts";

const invalid = expect.objectContaining({ name: "S3Error", code: "InvalidArgument" });

describe("rule 11: paging", () => {
  test.each([
    ["", 1000],
    ["max-keys=", 1000],
    ["max-keys=0", 0],
    ["max-keys=7", 7],
    ["max-keys=1000", 1000],
    ["max-keys=1001", 1000],
    ["max-keys=2147483647", 1000],
  ])("%s is a page of %i", (query, limit) => {
    expect(pageLimit(parseQuery(query), "max-keys")).toBe(limit);
  });

  test.each(["max-keys=blah", "max-keys=-1", "max-keys=1.5", "max-keys=2147483648"])(
    "%s is refused",
    (query) => {
      expect(() => pageLimit(parseQuery(query), "max-keys")).toThrow(invalid);
    },
  );

  test("a continuation token gives back any key, and hides it", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (key) => {
        const token = continuationToken(key);
        expect(readContinuationToken(token)).toBe(key);
        expect(token).toMatch(/^[\w-]+$/);
      }),
      { numRuns: rounds(100) },
    );
  });

  test.each(["foo", "MTo=", "!", "a/b"])("%s is no token of ours", (token) => {
    expect(() => readContinuationToken(token)).toThrow(invalid);
  });
});

describe("rule 10: encoding-type=url", () => {
  test("encodes but for slashes, so that any decoder reads it", () => {
    const { spell, element } = keySpelling(parseQuery("encoding-type=url"));
    expect(element).toBe("<EncodingType>url</EncodingType>");
    expect(["asdf+b", "foo+1/", "quux ab/", "100%", "\u0001", "ä"].map(spell)).toEqual([
      "asdf%2Bb",
      "foo%2B1/",
      "quux%20ab/",
      "100%25",
      "%01",
      "%C3%A4",
    ]);
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (key) => {
        expect(decodeURIComponent(spell(key))).toBe(key);
      }),
      { numRuns: rounds(100) },
    );
  });

  test("otherwise keys are raw, but for what XML needs", () => {
    const { spell, element } = keySpelling(parseQuery(""));
    expect(element).toBe("");
    expect(spell("a b+c<d")).toBe("a b+c&lt;d");
  });

  test("any other type is refused", () => {
    expect(() => keySpelling(parseQuery("encoding-type=base64"))).toThrow(invalid);
  });
});
