import { fileURLToPath } from "node:url";
import * as fc from "fast-check";
import protobuf from "protobufjs";
import { expect, test } from "vitest";
import { UnreadableRecord } from "#metadata/record-wire.ts";
import { type About, decodeAbout, encodeAbout } from "#objects/about.ts";

const schema = protobuf.loadSync(
  fileURLToPath(new URL("../../proto/about.proto", import.meta.url)),
);
const ABOUT = schema.lookupType("anybucket.about.About");

const text = fc.string({ unit: "grapheme", minLength: 1, maxLength: 100 });
const id = fc
  .uint8Array({ minLength: 16, maxLength: 16 })
  .map((bytes) => Buffer.from(bytes).toString("hex"));

test("what a shard says of itself is what the schema says, and reads back", () => {
  const whole = fc.record({ bucketId: id, bucketName: text, key: text });
  const part = fc.record({
    bucketId: id,
    bucketName: text,
    key: text,
    uploadId: text,
    partNumber: fc.integer({ min: 1, max: 10_000 }),
  });
  const about = fc.record({
    clusterId: id,
    owner: fc.oneof(whole, part),
    codec: fc.constantFrom("replica-1", "ec-4+2"),
    unit: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
    size: fc.maxSafeNat(),
    described: fc.uint8Array({ maxLength: 50 }).map((bytes) => Buffer.from(bytes)),
  });
  fc.assert(
    fc.property(about, (given: About) => {
      const bytes = encodeAbout(given);
      expect(decodeAbout(bytes)).toEqual(given);
      expect(Buffer.from(ABOUT.encode(ABOUT.decode(bytes)).finish()).equals(bytes)).toBe(true);
    }),
  );
});

test("one without an owner is unreadable, which is never the same as unreferenced", () => {
  expect(() => decodeAbout(Buffer.from([8, 1]))).toThrow(UnreadableRecord);
  expect(() => decodeAbout(Buffer.alloc(0))).toThrow(UnreadableRecord);
  expect(() => decodeAbout(Buffer.from([8, 2]))).toThrow(UnreadableRecord);
});
