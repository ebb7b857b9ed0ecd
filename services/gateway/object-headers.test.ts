/** What travels with an object: in by the rules, out as it came. */
import { describe, expect, test } from "vitest";
import { shownMetadata } from "#gateway/header-text.ts";
import {
  applyOverrides,
  contentHeaders,
  type HeaderFields,
  objectAttributes,
  storageClass,
  userMetadata,
  versionHeaders,
} from "#gateway/object-headers.ts";
import { ALICE, bucketOf, headersOf, requestOf, versionOf } from "#gateway/testing/requests.ts";
import type { ContentHeaders, UserMetadata } from "#objects/model.ts";

const failing = (code: string) => expect.objectContaining({ name: "S3Error", code });

describe("system metadata", () => {
  test.each([
    ["gzip", "gzip"],
    ["deflate, gzip", "deflate, gzip"],
    ["gzip, aws-chunked", "gzip"],
    ["aws-chunked, gzip", "gzip"],
    ["aws-chunked,gzip,br", "gzip, br"],
    ["aws-chunked", undefined],
    ["aws-chunked, aws-chunked", undefined],
  ])("rule 1: Content-Encoding %s is kept as %s", (sent, kept) => {
    expect(contentHeaders(headersOf({ "content-encoding": sent })).contentEncoding).toBe(kept);
  });

  test("comes back as it was sent, and a type is always told", () => {
    const headers = contentHeaders(
      headersOf({ expires: "never", "cache-control": "no-store", "content-language": "de" }),
    );
    expect(versionHeaders(versionOf({ headers }), bucketOf())).toMatchObject({
      expires: "never",
      "cache-control": "no-store",
      "content-language": "de",
      "content-type": "binary/octet-stream",
    });
  });

  test("a redirect must lead somewhere", () => {
    expect(redirect("/other")).toEqual({ websiteRedirectLocation: "/other" });
    expect(() => redirect("other")).toThrow(failing("InvalidRedirectLocation"));
  });

  test("a form's field with a line break cannot become a header", () => {
    expect(() => contentHeaders(headersOf({ "content-type": "a\r\nb: c" }))).toThrow(
      failing("InvalidArgument"),
    );
  });
});

describe("rule 29: user metadata", () => {
  test("holds 2 KB of names and values, and no byte more", () => {
    expect(metadataOf(2046)).toHaveLength(2);
    expect(() => metadataOf(2047)).toThrow(failing("MetadataTooLarge"));
    expect(() => userMetadata(headersOf({ "x-amz-meta-a": "ä".repeat(1024) }))).toThrow(
      failing("MetadataTooLarge"),
    );
  });

  test("goes out as Latin-1 where that holds it, else as encoded words", () => {
    expect(shownMetadata("plain")).toBe("plain");
    expect(shownMetadata("Hello World\xe9")).toBe("Hello World\xe9");
    expect(shownMetadata("日本")).toBe("=?UTF-8?B?5pel5pys?=");
    // As Latin-1, a reader of UTF-8 would see another text.
    expect(shownMetadata("Ã©")).toBe("=?UTF-8?B?w4PCqQ==?=");
  });

  test("encoded words are of legal length and join to the text", () => {
    const text = "日本語の長い値、".repeat(20);
    const words = shownMetadata(text).split(" ");
    expect(words.every((word) => word.length <= 75)).toBe(true);
    const decoded = words.map((word) => Buffer.from(word.slice(10, -2), "base64").toString());
    expect(decoded.join("")).toBe(text);
  });
});

test("rule 31: a storage class that is not offered is refused", () => {
  expect(storageClass(headersOf())).toBe("STANDARD");
  expect(storageClass(headersOf({ "x-amz-storage-class": "STANDARD" }))).toBe("STANDARD");
  for (const name of ["GLACIER", "standard", ""]) {
    expect(() => storageClass(headersOf({ "x-amz-storage-class": name }))).toThrow(
      failing("InvalidStorageClass"),
    );
  }
});

describe("owner and ACL of an upload", () => {
  const writer = { ...ALICE, ownerId: "b".repeat(64) };
  const upload = (ownership: "BucketOwnerEnforced" | "BucketOwnerPreferred", acl?: string) =>
    objectAttributes(
      requestOf({
        caller: { kind: "user", user: writer },
        headers: acl === undefined ? {} : { "x-amz-acl": acl },
      }),
      bucketOf({ ownership }),
    );

  test("where ACLs are off, the bucket's owner owns all and no ACL is taken that says otherwise", () => {
    expect(upload("BucketOwnerEnforced")).toMatchObject({ ownerId: ALICE.ownerId, acl: "private" });
    expect(upload("BucketOwnerEnforced", "bucket-owner-full-control").acl).toBe("private");
    expect(() => upload("BucketOwnerEnforced", "public-read")).toThrow(
      failing("AccessControlListNotSupported"),
    );
  });

  test("where the bucket's owner is preferred, the ACL decides", () => {
    expect(upload("BucketOwnerPreferred").ownerId).toBe(writer.ownerId);
    expect(upload("BucketOwnerPreferred", "bucket-owner-full-control").ownerId).toBe(ALICE.ownerId);
  });

  test("unknown canned ACLs and single grants are refused", () => {
    expect(() => upload("BucketOwnerPreferred", "everybody")).toThrow(failing("InvalidArgument"));
    const request = requestOf({ headers: { "x-amz-grant-read": "id=1" } });
    expect(() => objectAttributes(request, bucketOf())).toThrow(failing("NotImplemented"));
  });

  test("what nobody signed for belongs to nobody's own id", () => {
    const request = requestOf({ caller: { kind: "anonymous" } });
    expect(objectAttributes(request, bucketOf()).ownerId).toMatch(/^65a011a2/);
  });
});

describe("response-* overrides", () => {
  const query = "response-content-type=text%2Fplain&response-expires=soon&x-id=GetObject";

  test("replace headers of a signed request", () => {
    const fields: HeaderFields = { "content-type": "image/png" };
    applyOverrides(fields, requestOf({ query }));
    expect(fields).toEqual({ "content-type": "text/plain", expires: "soon" });
  });

  test("are refused without a signature, and when no header can hold them", () => {
    const anonymous = requestOf({ query, caller: { kind: "anonymous" } });
    expect(() => applyOverrides({}, anonymous)).toThrow(failing("InvalidRequest"));
    for (const value of ["%E6%97%A5", "a%0D%0Ab"]) {
      const request = requestOf({ query: `response-content-disposition=${value}` });
      expect(() => applyOverrides({}, request)).toThrow(failing("InvalidArgument"));
    }
  });
});

test("rule 20 and 21: ETag is quoted, the date in whole seconds", () => {
  expect(versionHeaders(versionOf(), bucketOf())).toMatchObject({
    etag: '"781e5e245d69b566979b86e28d23f2c7"',
    "last-modified": "Mon, 01 Jun 2026 12:00:00 GMT",
  });
});

test("the version id is told where the bucket keeps or kept versions", () => {
  const states = ["unversioned", "enabled", "suspended"] as const;
  const ids = states.map(
    (versioning) => versionHeaders(versionOf(), bucketOf({ versioning }))["x-amz-version-id"],
  );
  expect(ids).toEqual([undefined, "null", "null"]);
});

function redirect(to: string): ContentHeaders {
  return contentHeaders(headersOf({ "x-amz-website-redirect-location": to }));
}

/** Names of two characters in sum, and so many of value. */
function metadataOf(length: number): UserMetadata {
  return userMetadata(headersOf({ "x-amz-meta-a": "v".repeat(length), "x-amz-meta-b": "" }));
}
