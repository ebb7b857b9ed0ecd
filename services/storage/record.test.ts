import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CHUNK_BYTES } from "#shards/shard-store.ts";
import { decodeHead, encodeHead, headBytes, type Record, recordBytes } from "#storage/record.ts";

const hex = (bytes: number) =>
  fc
    .uint8Array({ minLength: bytes, maxLength: bytes })
    .map((each) => Buffer.from(each).toString("hex"));
const uint32 = fc.nat(0xffffffff);
const offset = fc.nat(2 ** 40);
const shardId = fc.record({
  group: fc.nat(0xffff),
  writeId: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((each) => Buffer.from(each)),
  index: fc.nat(23),
});
const content = fc.record({ id: shardId, tag: hex(8) });

const record: fc.Arbitrary<Record> = fc.oneof(
  fc.record({
    kind: fc.constant("volume" as const),
    volume: uint32,
    diskId: hex(16),
    secret: hex(16).map((each) => Buffer.from(each, "hex")),
    owner: hex(16),
  }),
  fc.record({ kind: fc.constant("batch" as const), durable: offset }),
  fc
    .record({
      kind: fc.constant("block" as const),
      content,
      number: uint32,
      length: fc.integer({ min: 1, max: 5 * CHUNK_BYTES }),
    })
    .map((each) => ({
      ...each,
      checksums: Uint32Array.from({ length: Math.ceil(each.length / CHUNK_BYTES) }, (_, at) => at),
    })),
  fc.record({
    kind: fc.constant("seal" as const),
    id: shardId,
    tag: hex(8),
    content,
    length: offset,
    digest: uint32,
    sequence: offset,
    blockBytes: uint32,
    blocks: fc.array(fc.record({ volume: uint32, offset }), { maxLength: 5 }),
    session: fc.string({ maxLength: 32 }),
    siblings: fc.array(uint32, { maxLength: 24 }),
    about: fc.uint8Array({ maxLength: 300 }).map((each) => Buffer.from(each)),
  }),
  fc.record({
    kind: fc.constant("remove" as const),
    id: shardId,
    tags: fc.array(hex(8), { minLength: 1, maxLength: 4 }),
  }),
  fc.constant({ kind: "end" as const }),
);

function encoded(each: Record, place: { offset: number; salt: number }): Buffer {
  const head = Buffer.alloc(headBytes(each), 0xaa);
  encodeHead(each, head, place);
  return head;
}

describe("a record's head", () => {
  test("says what was written, and how long the record is", () => {
    fc.assert(
      fc.property(record, offset, uint32, (each, at, salt) => {
        const decoded = decodeHead(encoded(each, { offset: at, salt }), 0, { offset: at, salt });
        expect(decoded?.record).toEqual(each);
        expect(decoded?.bytes).toBe(recordBytes(each));
      }),
    );
  });

  test("is no record with any bit flipped", () => {
    fc.assert(
      fc.property(record, fc.nat(), (each, bit) => {
        const place = { offset: 4096, salt: 77 };
        const head = encoded(each, place);
        const at = bit % (head.length * 8);
        head[at >>> 3] = (head[at >>> 3] ?? 0) ^ (1 << (at & 7));
        expect(decodeHead(head, 0, place)).toBeUndefined();
      }),
    );
  });

  test("is no record at another place or in another volume", () => {
    const place = { offset: 4096, salt: 77 };
    const head = encoded({ kind: "batch", durable: 5 }, place);
    expect(decodeHead(head, 0, place)?.record).toEqual({ kind: "batch", durable: 5 });
    expect(decodeHead(head, 0, { ...place, offset: 4104 })).toBeUndefined();
    expect(decodeHead(head, 0, { ...place, salt: 78 })).toBeUndefined();
  });

  test("is no record when its end is missing", () => {
    const place = { offset: 8, salt: 1 };
    const head = encoded({ kind: "batch", durable: 5 }, place);
    for (let length = 0; length < head.length; length++) {
      expect(decodeHead(head.subarray(0, length), 0, place)).toBeUndefined();
    }
  });
});
