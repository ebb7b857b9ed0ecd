/** Where a copy-source header points. */
import { describe, expect, test } from "vitest";
import { parseCopySource, refuseOversizedCopy } from "#gateway/copy-source.ts";

const ID = "0123456789abcdefghijklmnopqrstuv";
const invalid = expect.objectContaining({ name: "S3Error", code: "InvalidArgument" });

describe("rule 22: the source of a copy", () => {
  test.each([
    ["/b/k", "b", "k", undefined],
    ["b/k", "b", "k", undefined],
    ["b/dir/k", "b", "dir/k", undefined],
    ["b//k", "b", "/k", undefined],
    ["b%2Fk", "b", "k", undefined],
    ["b/a%20b+c%2Bd", "b", "a b c+d", undefined],
    ["b/100%2525", "b", "100%25", undefined],
    [`b/k?versionId=${ID}`, "b", "k", ID],
    ["b/k?versionId=null", "b", "k", "null"],
    ["b/%3FversionId", "b", "?versionId", undefined],
    [`b/a%3Fb?versionId=${ID}`, "b", "a?b", ID],
  ])("%s", (header, bucketName, key, versionId) => {
    expect(parseCopySource(header)).toEqual({ bucketName, key, versionId });
  });

  test.each(["", "/", "b", "b/", "/b/", "b/%zz", "b/k?versionId=what", "b/k?versionId="])(
    "%j is refused",
    (header) => {
      expect(() => parseCopySource(header)).toThrow(invalid);
    },
  );

  test("is at most 5 GiB large", () => {
    expect(() => refuseOversizedCopy(5 * 1024 ** 3)).not.toThrow();
    expect(() => refuseOversizedCopy(5 * 1024 ** 3 + 1)).toThrow(
      expect.objectContaining({ name: "S3Error", code: "InvalidRequest" }),
    );
  });
});
