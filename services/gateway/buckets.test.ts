/** Names that a new bucket may have. */
import { expect, test } from "vitest";
import { isBucketName } from "#gateway/buckets.ts";

test.each(["abc", "a-b", "1.2.3", "foo.bar", "a".repeat(63), "0aaa"])(
  "%s names a bucket",
  (name) => {
    expect(isBucketName(name)).toBe(true);
  },
);

test.each([
  "",
  "ab",
  "a".repeat(64),
  "Abc",
  "a_b",
  "-ab",
  "ab-",
  "a..b",
  "192.168.5.4",
  "xn--abc",
  "foo-s3alias",
  "a/b",
])("%j does not", (name) => {
  expect(isBucketName(name)).toBe(false);
});
