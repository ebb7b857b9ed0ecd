/** Which algorithm goes with which type, and how checksums are shown. */
import { describe, expect, test } from "vitest";
import {
  addChecksumHeaders,
  checksumElements,
  checksumType,
  expectedChecksum,
  isChecksumValue,
  parseAlgorithm,
  wantsChecksums,
} from "#gateway/checksum-headers.ts";
import type { S3Request } from "#gateway/context.ts";
import { headersOf, requestOf, versionOf } from "#gateway/testing/requests.ts";

const invalidRequest = expect.objectContaining({ name: "S3Error", code: "InvalidRequest" });

describe("rule 2: checksum types", () => {
  test.each([
    ["CRC64NVME", undefined, "FULL_OBJECT"],
    ["CRC64NVME", "FULL_OBJECT", "FULL_OBJECT"],
    ["CRC32", undefined, "COMPOSITE"],
    ["CRC32", "FULL_OBJECT", "FULL_OBJECT"],
    ["CRC32C", "COMPOSITE", "COMPOSITE"],
    ["SHA1", undefined, "COMPOSITE"],
    ["SHA256", "COMPOSITE", "COMPOSITE"],
    [undefined, undefined, undefined],
  ] as const)("%s asked as %s is %s", (algorithm, header, type) => {
    expect(checksumType(algorithm, header)).toBe(type);
  });

  test.each([
    ["CRC64NVME", "COMPOSITE"],
    ["SHA1", "FULL_OBJECT"],
    ["SHA256", "FULL_OBJECT"],
    ["CRC32", "PARTIAL"],
    [undefined, "FULL_OBJECT"],
  ] as const)("%s as %s is refused", (algorithm, header) => {
    expect(() => checksumType(algorithm, header)).toThrow(invalidRequest);
  });

  test("algorithms are named in any case, and unknown ones refused", () => {
    expect(parseAlgorithm("crc32c")).toBe("CRC32C");
    expect(() => parseAlgorithm("MD4")).toThrow(invalidRequest);
    expect(() => parseAlgorithm("toString")).toThrow(invalidRequest);
  });

  test("a composite one is shown with its number of parts, a full one without", () => {
    const composite = versionOf({
      partCount: 3,
      checksum: { algorithm: "SHA256", type: "COMPOSITE", value: "abc=" },
    });
    const headers: Record<string, string | undefined> = {};
    addChecksumHeaders(headers, composite);
    expect(headers).toEqual({
      "x-amz-checksum-sha256": "abc=-3",
      "x-amz-checksum-type": "COMPOSITE",
    });
    expect(checksumElements({ ...composite, checksum: undefined })).toBe("");
    expect(
      checksumElements({
        partCount: 3,
        checksum: { algorithm: "CRC32", type: "FULL_OBJECT", value: "AAAAAA==" },
      }),
    ).toBe("<ChecksumCRC32>AAAAAA==</ChecksumCRC32><ChecksumType>FULL_OBJECT</ChecksumType>");
  });

  test("they are shown only when asked for", () => {
    expect(wantsChecksums(headersOf())).toBe(false);
    expect(wantsChecksums(headersOf({ "x-amz-checksum-mode": "ENABLED" }))).toBe(true);
    expect(() => wantsChecksums(headersOf({ "x-amz-checksum-mode": "yes" }))).toThrow(
      expect.objectContaining({ code: "InvalidArgument" }),
    );
  });
});

function carrying(headers: Record<string, string>): S3Request {
  return requestOf({ headers });
}

test("a completion's checksum is composite when it names a number of parts", () => {
  expect(expectedChecksum(carrying({}))).toBeUndefined();
  expect(expectedChecksum(carrying({ "x-amz-checksum-sha1": "abc=-3" }))).toEqual({
    algorithm: "SHA1",
    type: "COMPOSITE",
    value: "abc=",
  });
  expect(expectedChecksum(carrying({ "x-amz-checksum-crc32": "AAAAAA==" }))?.type).toBe(
    "FULL_OBJECT",
  );
  expect(() =>
    expectedChecksum(carrying({ "x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-sha1": "a" })),
  ).toThrow(invalidRequest);
});

test("a checksum's value is base64 of the digest's length", () => {
  expect(isChecksumValue("CRC32", "AAAAAA==")).toBe(true);
  expect(isChecksumValue("CRC32", "AAAA")).toBe(false);
  expect(isChecksumValue("CRC32", "bad")).toBe(false);
  expect(isChecksumValue("SHA256", "AAAAAA==")).toBe(false);
});
