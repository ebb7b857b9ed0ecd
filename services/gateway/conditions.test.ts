/** The If-Match family by RFC 9110 for reads, and by AWS's narrower rules for writes and deletes. */
import { describe, expect, test } from "vitest";
import {
  checkCopySourceConditions,
  checkReadConditions,
  deleteConditions,
  deletePrecondition,
  matchSize,
  matchTime,
  writePrecondition,
} from "#gateway/conditions.ts";
import { S3Error } from "#gateway/errors.ts";
import { headersOf, versionOf } from "#gateway/testing/requests.ts";

const VERSION = versionOf();
const ETAG = VERSION.etag;
const NOW = Date.UTC(2026, 6, 1);
const MODIFIED = "Mon, 01 Jun 2026 12:00:00 GMT";
const BEFORE = "Mon, 01 Jun 2026 11:59:59 GMT";
const AFTER = "Mon, 01 Jun 2026 12:00:01 GMT";
const TO_COME = "Wed, 01 Jul 2026 00:00:01 GMT";

describe("rule 4: conditional reads follow RFC 9110's order", () => {
  test.each([
    ["nothing asked", {}, "read"],
    ["If-Match of this ETag", { "if-match": `"${ETAG}"` }, "read"],
    ["If-Match without quotes", { "if-match": ETAG }, "read"],
    ["If-Match of one in a list", { "if-match": `"other", "${ETAG}"` }, "read"],
    ["If-Match *", { "if-match": "*" }, "read"],
    ["If-Match of another", { "if-match": '"other"' }, "PreconditionFailed"],
    ["If-None-Match of this", { "if-none-match": `"${ETAG}"` }, "NotModified"],
    ["If-None-Match of this, weakly", { "if-none-match": `W/"${ETAG}"` }, "NotModified"],
    ["If-None-Match *", { "if-none-match": "*" }, "NotModified"],
    ["If-None-Match of another", { "if-none-match": '"other"' }, "read"],
    ["modified since before", { "if-modified-since": BEFORE }, "read"],
    ["modified since its own second", { "if-modified-since": MODIFIED }, "NotModified"],
    ["modified since after", { "if-modified-since": AFTER }, "NotModified"],
    ["modified since a time to come", { "if-modified-since": TO_COME }, "read"],
    ["modified since nonsense", { "if-modified-since": "yesterday" }, "read"],
    ["unmodified since before", { "if-unmodified-since": BEFORE }, "PreconditionFailed"],
    ["unmodified since its own second", { "if-unmodified-since": MODIFIED }, "read"],
    [
      "If-Match beats If-Unmodified-Since",
      { "if-match": ETAG, "if-unmodified-since": BEFORE },
      "read",
    ],
    [
      "If-None-Match beats If-Modified-Since",
      { "if-none-match": '"other"', "if-modified-since": AFTER },
      "read",
    ],
    [
      "a failed If-Match comes before a 304",
      { "if-match": '"other"', "if-none-match": ETAG },
      "PreconditionFailed",
    ],
  ])("%s", (_, headers, expected) => {
    expect(read(headers as Record<string, string>)).toBe(expected);
  });

  test("a 304 carries the ETag", () => {
    const headers = headersOf({ "if-none-match": ETAG });
    expect(() => checkReadConditions(headers, VERSION, NOW)).toThrow(
      expect.objectContaining({
        status: 304,
        headers: { etag: `"${ETAG}"`, "last-modified": MODIFIED },
      }),
    );
  });

  test("on a copy's source every miss is a failed precondition", () => {
    expect(copy({ "x-amz-copy-source-if-none-match": ETAG })).toBe("PreconditionFailed");
    expect(copy({ "x-amz-copy-source-if-modified-since": AFTER })).toBe("PreconditionFailed");
    expect(copy({ "x-amz-copy-source-if-match": '"other"' })).toBe("PreconditionFailed");
    expect(copy({ "x-amz-copy-source-if-unmodified-since": BEFORE })).toBe("PreconditionFailed");
    expect(
      copy({
        "x-amz-copy-source-if-match": ETAG,
        "x-amz-copy-source-if-unmodified-since": BEFORE,
      }),
    ).toBe("read");
    expect(
      copy({
        "x-amz-copy-source-if-none-match": "other",
        "x-amz-copy-source-if-modified-since": AFTER,
      }),
    ).toBe("read");
  });
});

describe("rule 3: conditional writes", () => {
  test.each([
    ["nothing asked", {}, true, "read"],
    ["If-None-Match * on an object", { "if-none-match": "*" }, true, "PreconditionFailed"],
    ["If-None-Match * on none", { "if-none-match": "*" }, false, "read"],
    ["If-None-Match of this ETag", { "if-none-match": ETAG }, true, "PreconditionFailed"],
    ["If-None-Match of another ETag", { "if-none-match": '"other"' }, true, "read"],
    ["If-None-Match of an ETag on none", { "if-none-match": ETAG }, false, "read"],
    ["both", { "if-match": ETAG, "if-none-match": "*" }, true, "NotImplemented"],
    ["If-Match of this", { "if-match": `"${ETAG}"` }, true, "read"],
    ["If-Match of another", { "if-match": '"other"' }, true, "PreconditionFailed"],
    ["If-Match on none", { "if-match": ETAG }, false, "NoSuchKey"],
    ["If-Match * on none", { "if-match": "*" }, false, "NoSuchKey"],
  ])("%s", (_, headers, current, expected) => {
    expect(write(headers as Record<string, string>, current)).toBe(expected);
  });

  test("nothing asked costs no precondition", () => {
    expect(writePrecondition(headersOf())).toBeUndefined();
  });
});

describe("rule 3: conditional deletes", () => {
  test.each([
    [{ "if-match": ETAG }, "read"],
    [{ "if-match": "*" }, "read"],
    [{ "if-match": '"other"' }, "PreconditionFailed"],
    [{ "x-amz-if-match-size": "10" }, "read"],
    [{ "x-amz-if-match-size": "11" }, "PreconditionFailed"],
    [{ "x-amz-if-match-size": "-1" }, "InvalidArgument"],
    [{ "x-amz-if-match-last-modified-time": MODIFIED }, "read"],
    [{ "x-amz-if-match-last-modified-time": "2026-06-01T12:00:00Z" }, "read"],
    [{ "x-amz-if-match-last-modified-time": AFTER }, "PreconditionFailed"],
    [{ "x-amz-if-match-last-modified-time": "soon" }, "InvalidArgument"],
    [{ "if-match": ETAG, "x-amz-if-match-size": "11" }, "PreconditionFailed"],
    [{ "x-amz-if-match-size": "0x" }, "InvalidArgument"],
  ])("%j: %s", (headers, expected) => {
    expect(remove(headers as unknown as Record<string, string>)).toBe(expected);
  });

  test("what is absent already fails none", () => {
    expect(remove({ "if-match": '"other"' }, false)).toBe("read");
  });

  test("nothing asked costs no precondition", () => {
    expect(deletePrecondition(deleteConditions(headersOf()))).toBeUndefined();
  });

  test("sizes and times of documents are read like those of headers", () => {
    expect(matchSize("Size", "12")).toBe(12);
    expect(matchTime("LastModifiedTime", "Mon, 01 Jun 2026 12:00:00 GMT")).toBe(
      Date.UTC(2026, 5, 1, 12),
    );
  });
});

function read(headers: Record<string, string>): string {
  return outcome(() => checkReadConditions(headersOf(headers), VERSION, NOW));
}

function copy(headers: Record<string, string>): string {
  return outcome(() => checkCopySourceConditions(headersOf(headers), VERSION, NOW));
}

function write(headers: Record<string, string>, current = true): string {
  return outcome(() => writePrecondition(headersOf(headers))?.(current ? VERSION : undefined));
}

function remove(headers: Record<string, string>, current = true): string {
  return outcome(() => {
    const judge = deletePrecondition(deleteConditions(headersOf(headers)));
    judge?.(current ? VERSION : undefined);
  });
}

function outcome(judge: () => void): string {
  try {
    judge();
    return "read";
  } catch (error) {
    if (error instanceof S3Error) return error.code;
    throw error;
  }
}
