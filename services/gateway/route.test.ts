/** Targets, hosts and keys are taken apart without guessing, and no request is taken for another operation than it names. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isBucketName, mayNameBucket } from "#gateway/bucket-name.ts";
import type { Operation } from "#gateway/context.ts";
import { OPERATIONS } from "#gateway/operations.ts";
import { parseQuery } from "#gateway/query.ts";
import { findAddress, findOperation, hostName, splitTarget } from "#gateway/route.ts";
import { headersOf } from "#gateway/testing/requests.ts";
import { rounds } from "#lib/testing/rounds.ts";

const code = (name: string) => expect.objectContaining({ name: "S3Error", code: name });

/** The operation that a request line and headers name. */
function operationOf(line: string, headers: Record<string, string> = {}): string {
  const [method = "", target = ""] = line.split(" ");
  const { rawPath, rawQuery } = splitTarget(target);
  const address = findAddress(rawPath, "localhost", []);
  const query = parseQuery(rawQuery);
  return findOperation({ method, address, query, headers: headersOf(headers) }).name;
}

/** Bucket and key in path style. */
function path(rawPath: string): [string, string] {
  const { bucketName, key } = findAddress(rawPath, "localhost", []);
  return [bucketName, key];
}

describe("targets", () => {
  test("are taken apart where they are, without normalising", () => {
    expect(splitTarget("/b/../%2e//x?a=/?b")).toEqual({
      rawPath: "/b/../%2e//x",
      rawQuery: "a=/?b",
      authority: undefined,
    });
    expect(splitTarget("http://h:1/b?c")).toEqual({
      rawPath: "/b",
      rawQuery: "c",
      authority: "h:1",
    });
    expect(splitTarget("http://h")).toMatchObject({ rawPath: "/", authority: "h" });
    expect(() => splitTarget("*")).toThrow(code("InvalidURI"));
    expect(() => splitTarget("b/k")).toThrow(code("InvalidURI"));
  });
});

describe("hosts", () => {
  test.each([
    ["localhost:9000", "localhost"],
    ["S3.Example.COM", "s3.example.com"],
    ["s3.example.com.:443", "s3.example.com"],
    ["my_store:9000", "my_store"],
    ["127.0.0.1", "127.0.0.1"],
    ["[::1]:9000", "[::1]"],
  ])("%s is %s", (host, name) => {
    expect(hostName(host)).toBe(name);
  });

  test.each(["a@b", "a:b@c", "a:b", "", ":80", "a b", "a/b", "a:123456", "-a", "[::1", "a,b", "ü"])(
    "refuses %j",
    (host) => {
      expect(() => hostName(host)).toThrow(code("BadRequest"));
    },
  );
});

describe("addresses", () => {
  test("path style: the bucket, then every byte of the key", () => {
    expect(path("/")).toEqual(["", ""]);
    expect(path("/photos")).toEqual(["photos", ""]);
    expect(path("/photos/")).toEqual(["photos", ""]);
    expect(path("/photos/a/b/")).toEqual(["photos", "a/b/"]);
    expect(path("/photos//a")).toEqual(["photos", "/a"]);
    expect(path("/photos/../x")).toEqual(["photos", "../x"]);
    expect(path("/photos/a%2Fb+c%20d%25")).toEqual(["photos", "a/b+c d%"]);
    expect(path("/photos/%252e")).toEqual(["photos", "%2e"]);
    expect(path("/photos/%F0%9F%98%80")).toEqual(["photos", "😀"]);
  });

  test("raw bytes that a client did not escape are read as UTF-8", () => {
    const raw = Buffer.from("/photos/grün").toString("latin1");
    expect(path(raw)).toEqual(["photos", "grün"]);
    expect(() => path("/photos/\xff")).toThrow(code("InvalidURI"));
  });

  test.each(["%", "%2", "%zz", "%ff", "%c0%af", "%ed%a0%80", "a%00b"])(
    "refuses the key %s",
    (key) => {
      expect(() => path(`/photos/${key}`)).toThrow(code("InvalidURI"));
    },
  );

  test("a key has at most 1,024 bytes", () => {
    expect(path(`/photos/${"%C3%BC".repeat(512)}`)[1]).toHaveLength(512);
    expect(() => path(`/photos/${"%C3%BC".repeat(512)}a`)).toThrow(code("KeyTooLongError"));
    expect(() => path(`/photos/${"a".repeat(1025)}`)).toThrow(code("KeyTooLongError"));
  });

  test.each(["a", "..", "a%2Fb", "a b", "%00", "-a", "%C3%BC", "x".repeat(256)])(
    "nothing can be in a bucket called %s",
    (name) => {
      expect(() => path(`/${name}/key`)).toThrow(code("InvalidBucketName"));
    },
  );

  test("a path that begins with two slashes names no bucket", () => {
    expect(() => path("//photos")).toThrow(code("InvalidBucketName"));
  });

  test("any key comes back as it was, however it is escaped", () => {
    const key = fc
      .string({ unit: "binary", minLength: 1, maxLength: 50 })
      .filter((text) => !text.includes("\0"));
    fc.assert(
      fc.property(key, fc.boolean(), (text, everything) => {
        const escaped = everything
          ? [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("")
          : encodeURIComponent(text);
        expect(path(`/photos/${escaped}`)).toEqual(["photos", text]);
      }),
      { numRuns: rounds(100) },
    );
  });

  test("virtual hosts: sub-domains of our domains and of localhost", () => {
    const domains = ["s3.example.com", "example.com"];
    const at = (host: string) => {
      const { bucketName, key, isVirtualHost } = findAddress("/a/b", host, domains);
      return [isVirtualHost, bucketName, key];
    };
    expect(at("photos.s3.example.com")).toEqual([true, "photos", "a/b"]);
    expect(at("my.photos.s3.example.com")).toEqual([true, "my.photos", "a/b"]);
    expect(at("photos.example.com")).toEqual([true, "photos", "a/b"]);
    expect(at("photos.localhost")).toEqual([true, "photos", "a/b"]);
    // The domain itself is no bucket of the domain around it.
    expect(() => at("s3.example.com")).toThrow(code("InvalidBucketName"));
    expect(findAddress("/photos/b", "s3.example.com", domains).isVirtualHost).toBe(false);
    expect(findAddress("/photos/b", "photos.example.org", domains).isVirtualHost).toBe(false);
    expect(findAddress("/photos/b", "notexample.com", domains).isVirtualHost).toBe(false);
    expect(findAddress("/photos/b", "10.0.0.1", domains).isVirtualHost).toBe(false);
    expect(() => findAddress("/", "a_.-..localhost", [])).not.toThrow();
    expect(() => findAddress("/", "-a.localhost", [])).toThrow(code("InvalidBucketName"));
  });
});

describe("operations", () => {
  test.each([
    ["GET /", "ListBuckets"],
    ["GET /?x-id=ListBuckets", "ListBuckets"],
    ["GET /?x-id=ListDirectoryBuckets", "ListDirectoryBuckets"],
    ["PUT /photos", "CreateBucket"],
    ["GET /photos", "ListObjects"],
    ["GET /photos?list-type=2&prefix=a", "ListObjectsV2"],
    ["GET /photos?prefix=&delimiter=", "ListObjects"],
    ["GET /photos?versions", "ListObjectVersions"],
    ["GET /photos?versioning=", "GetBucketVersioning"],
    ["POST /photos?delete", "DeleteObjects"],
    ["POST /photos", "PostObject"],
    ["PUT /photos/a", "PutObject"],
    ["GET /photos/a?versionId=x&response-expires=", "GetObject"],
    ["GET /photos/a?1234", "GetObject"],
    ["HEAD /photos/a?partNumber=1", "HeadObject"],
    ["PUT /photos/a?partNumber=1&uploadId=x", "UploadPart"],
    ["POST /photos/a?uploads", "CreateMultipartUpload"],
    ["POST /photos/a?uploadId=x", "CompleteMultipartUpload"],
    ["DELETE /photos/a?uploadId=x", "AbortMultipartUpload"],
    ["POST /photos/a?select&select-type=2", "SelectObjectContent"],
    ["GET /photos?analytics&id=1", "GetBucketAnalyticsConfiguration"],
    ["GET /photos?analytics", "ListBucketAnalyticsConfigurations"],
    ["OPTIONS /photos/a?anything", "Preflight"],
    ["OPTIONS /", "Preflight"],
    ["GET /photos?utm_source=mail", "ListObjects"],
  ])("%s is %s", (line, name) => {
    expect(operationOf(line)).toBe(name);
  });

  test("a header tells a copy from an upload, also when a presigned URL carries it", () => {
    const source = { "x-amz-copy-source": "/b/k" };
    expect(operationOf("PUT /photos/a", source)).toBe("CopyObject");
    expect(operationOf("PUT /photos/a?partNumber=1&uploadId=x", source)).toBe("UploadPartCopy");
    expect(operationOf("PUT /photos/a?x-amz-copy-source=%2Fb%2Fk")).toBe("CopyObject");
    expect(operationOf("POST /WriteGetObjectResponse", { "x-amz-request-route": "r" })).toBe(
      "WriteGetObjectResponse",
    );
  });

  // Edge rule 13: an unknown sub-resource is never taken for the resource itself.
  test.each([
    "GET /photos?newfangled",
    "DELETE /photos?newfangled",
    "PUT /photos?newfangled=",
    "DELETE /photos/a?newfangled",
    "PUT /photos/a?append",
    "DELETE /photos?location",
    "POST /photos/a",
    "GET /?acl",
    "HEAD /photos?versioning",
    "DELETE /photos/a?acl",
    "GET /photos?list-type=3",
    "GET /photos/a?cors",
    "PATCH /photos/a",
    "PUT /",
  ])("%s is 501", (line) => {
    expect(() => operationOf(line)).toThrow(code("NotImplemented"));
  });

  test("a part without its upload does not overwrite the object", () => {
    expect(() => operationOf("PUT /photos/a?partNumber=1")).toThrow(code("InvalidArgument"));
  });

  test("every row can be reached, and by what it says", () => {
    for (const [name, row] of Object.entries<Operation>(OPERATIONS)) {
      const place = { service: "/", bucket: "/photos", object: "/photos/a" }[row.target];
      const headers = Object.fromEntries((row.headers ?? []).map((header) => [header, "x"]));
      expect(operationOf(`${row.method} ${place}?${(row.query ?? []).join("&")}`, headers)).toBe(
        name,
      );
    }
  });
});

describe("names of buckets", () => {
  test.each(["abc", "a.b.c", "my-bucket", "123", "a".repeat(63), "192.168.5", "x--y"])(
    "%s is one",
    (name) => {
      expect(isBucketName(name)).toBe(true);
      expect(mayNameBucket(name)).toBe(true);
    },
  );

  test.each([
    "ab",
    "a".repeat(64),
    "Abc",
    "a_b_c",
    "-abc",
    "abc-",
    ".abc",
    "a..b",
    "192.168.5.4",
    "xn--abc",
    "sthree-abc",
    "abc-s3alias",
    "abc--ol-s3",
    "abc--x-s3",
    "a/b",
    "abc\n",
    "äbc",
    "",
  ])("no new bucket is called %j", (name) => {
    expect(isBucketName(name)).toBe(false);
  });
});
