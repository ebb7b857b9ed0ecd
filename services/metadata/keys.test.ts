import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { rounds } from "#lib/testing/rounds.ts";
import {
  afterBucket,
  afterPrefix,
  bucketKey,
  bucketNameOf,
  bucketRange,
  finishedUploadKey,
  finishedUploadOf,
  liveKey,
  objectKeyOf,
  olderVersionKey,
  olderVersionOf,
  olderVersionsRange,
  partKey,
  partNumberOf,
  partsRange,
  SEQUENCE_MAX,
  trashInSlot,
  trashKey,
  trashOf,
  trashSlot,
  trashUntil,
  uploadKey,
  uploadOf,
} from "#metadata/keys.ts";
import { KEY_BYTES_MAX } from "#metadata/metadata-store.ts";

const ID = "000102030405060708090a0b0c0d0eff";
const OTHER_ID = "ffffffffffffffffffffffffffffffff";
const NONCE = Buffer.alloc(14, 0xfe);
const UPLOAD = Buffer.alloc(20, 0xff);

const objectKey = fc
  .string({ unit: "binary", minLength: 1, maxLength: 12 })
  .filter((key) => !key.includes("\0"));
const sequence = fc.integer({ min: 1, max: SEQUENCE_MAX });
const RUNS = { numRuns: rounds(200) };

const inside = (key: Buffer, { from, to }: { from: Uint8Array; to: Uint8Array }): boolean =>
  key.compare(from) >= 0 && key.compare(to) < 0;
const order = (one: string, other: string): number =>
  Buffer.compare(Buffer.from(one), Buffer.from(other));

describe("keys", () => {
  test("current objects sort by the UTF-8 bytes of their keys, beyond U+FFFF too", () => {
    fc.assert(
      fc.property(objectKey, objectKey, (one, other) => {
        expect(liveKey(ID, one).compare(liveKey(ID, other))).toBe(order(one, other));
        expect(objectKeyOf(liveKey(ID, one))).toBe(one);
      }),
      RUNS,
    );
    // As UTF-16 these two sort the other way round.
    expect(liveKey(ID, "\u{1F600}").compare(liveKey(ID, "\uFF5E"))).toBe(1);
  });

  test("older versions sort by key, then newest first, and never mix with those of a longer key", () => {
    fc.assert(
      fc.property(objectKey, objectKey, sequence, sequence, (one, other, first, second) => {
        const expected = order(one, other) || Math.sign(second - first);
        expect(olderVersionKey(ID, one, first).compare(olderVersionKey(ID, other, second))).toBe(
          expected,
        );
        expect(olderVersionOf(olderVersionKey(ID, one, first))).toEqual({
          key: one,
          sequence: first,
        });
        expect(inside(olderVersionKey(ID, other, first), olderVersionsRange(ID, one))).toBe(
          one === other,
        );
      }),
      RUNS,
    );
  });

  test("a range below a sequence number leaves that version and newer ones out", () => {
    const range = olderVersionsRange(ID, "k", 5);
    expect(inside(olderVersionKey(ID, "k", 4), range)).toBe(true);
    expect(inside(olderVersionKey(ID, "k", 5), range)).toBe(false);
  });

  test("uploads sort by key, then by their ids; parts by number", () => {
    fc.assert(
      fc.property(objectKey, objectKey, (one, other) => {
        const compared = uploadKey(ID, one, UPLOAD).compare(uploadKey(ID, other, UPLOAD));
        expect(compared).toBe(order(one, other));
        expect(uploadOf(uploadKey(ID, one, UPLOAD))).toEqual({ key: one, uploadId: UPLOAD });
      }),
      RUNS,
    );
    expect(partNumberOf(partKey(ID, UPLOAD, 10_000))).toBe(10_000);
    expect(inside(partKey(ID, UPLOAD, 10_000), partsRange(ID, UPLOAD))).toBe(true);
    expect(inside(partKey(ID, UPLOAD, 7), partsRange(ID, UPLOAD, 7))).toBe(false);
    expect(inside(partKey(OTHER_ID, UPLOAD, 7), partsRange(ID, UPLOAD))).toBe(false);
    expect(finishedUploadOf(finishedUploadKey(ID, UPLOAD))).toEqual({
      bucketId: ID,
      uploadId: UPLOAD,
    });
  });

  test("trash is found by time and, within a slot, by key", () => {
    const key = trashKey({ bucketId: ID, trashedMs: 1e12, key: "k", nonce: NONCE });
    const slot = trashSlot(1e12);
    expect(trashOf(key)).toEqual({ bucketId: ID, slot, key: "k", nonce: NONCE });
    expect(inside(key, trashUntil(ID, 1e12))).toBe(true);
    expect(inside(key, trashUntil(ID, 1e12 - 2 ** 22))).toBe(false);
    expect(inside(key, trashInSlot(ID, slot, "k"))).toBe(true);
    expect(inside(key, trashInSlot(ID, slot, "k\x01"))).toBe(false);
    expect(inside(key, trashInSlot(ID, slot + 1, "k"))).toBe(false);
    expect(afterBucket(key).compare(key)).toBe(1);
    expect(inside(key, { from: afterBucket(key), to: Buffer.from("U") })).toBe(false);
  });

  test("buckets are listed by prefix and after a name", () => {
    const range = bucketRange({ prefix: "b", after: "bb" });
    expect(
      ["a", "b", "bb", "bba", "bc", "c"].filter((name) => inside(bucketKey(name), range)),
    ).toEqual(["bba", "bc"]);
    expect(inside(bucketKey("b"), bucketRange({ prefix: "b", after: "" }))).toBe(true);
    expect(bucketNameOf(bucketKey("my-bucket"))).toBe("my-bucket");
  });

  test("the end of a prefix carries over 0xff", () => {
    expect(afterPrefix(Buffer.from([1, 0xff, 0xff]))).toEqual(Buffer.from([2]));
    expect(() => afterPrefix(Buffer.from([0xff]))).toThrow("0xff");
  });

  test("the longest key fits every driver", () => {
    const longest = "\u{10FFFF}".repeat(256);
    const key = trashKey({ bucketId: ID, trashedMs: 1e12, key: longest, nonce: NONCE });
    expect(key.length).toBe(1060);
    expect(uploadKey(ID, longest, UPLOAD).length).toBeLessThan(KEY_BYTES_MAX);
  });

  test("what is no bucket id is refused", () => {
    expect(() => liveKey("abc", "k")).toThrow("not a bucket id");
    expect(() => liveKey(`${ID.slice(0, 30)}zz`, "k")).toThrow("not a bucket id");
  });
});
