/** AWS's rules for tag sets, and the header that carries one. */
import { describe, expect, test } from "vitest";
import { checkedTags, OBJECT_TAGS_MAX, tagsFromHeader } from "#gateway/tags.ts";

const invalidTag = expect.objectContaining({ name: "S3Error", code: "InvalidTag" });
const check = (...tags: { key: string; value: string }[]) =>
  checkedTags(tags, { max: OBJECT_TAGS_MAX });

describe("a tag set", () => {
  test("is ordered by the bytes of its keys", () => {
    expect(tagsFromHeader("foo=bar&bar&Zoo=1")).toEqual([
      { key: "Zoo", value: "1" },
      { key: "bar", value: "" },
      { key: "foo", value: "bar" },
    ]);
  });

  test("takes the longest key and value", () => {
    const longest = { key: "k".repeat(128), value: "v".repeat(256) };
    expect(check(longest)).toEqual([longest]);
  });

  test("takes letters of any script, digits, spaces and AWS's seven signs", () => {
    expect(check({ key: "Größe 日本 _.:/=+-@", value: "٣" })).toHaveLength(1);
  });

  test.each([
    ["an empty key", { key: "", value: "" }],
    ["a key too long", { key: "k".repeat(129), value: "" }],
    ["a value too long", { key: "k", value: "v".repeat(257) }],
    ["a sign not allowed in a key", { key: "a|b", value: "" }],
    ["a sign not allowed in a value", { key: "a", value: "<b>" }],
    ["a key of AWS's own", { key: "aws:createdBy", value: "" }],
  ])("refuses %s", (_, tag) => {
    expect(() => check(tag)).toThrow(invalidTag);
  });

  test("refuses an eleventh tag and a second of one key", () => {
    const many = Array.from({ length: 11 }, (_, index) => ({ key: `k${index}`, value: "" }));
    expect(() => check(...many)).toThrow(invalidTag);
    expect(check(...many.slice(1))).toHaveLength(10);
    expect(() => check({ key: "a", value: "1" }, { key: "a", value: "2" })).toThrow(invalidTag);
  });
});

describe("x-amz-tagging", () => {
  test("is decoded as a query string is", () => {
    expect(tagsFromHeader("a%20b=c+d&e=f=g")).toEqual([
      { key: "a b", value: "c d" },
      { key: "e", value: "f=g" },
    ]);
  });

  test("may be empty or absent", () => {
    expect(tagsFromHeader("")).toEqual([]);
    expect(tagsFromHeader(undefined)).toEqual([]);
  });

  test("is refused when it cannot be decoded", () => {
    expect(() => tagsFromHeader("a=%zz")).toThrow(
      expect.objectContaining({ code: "InvalidArgument" }),
    );
  });
});
