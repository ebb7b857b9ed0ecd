import { expect, test } from "vitest";
import { decodeStatus } from "#metadata/etcd-size.ts";

/** As etcd 3.6 writes them: header, version, bytes allocated, leader, bytes used, learner. */
const HEAD = [0x0a, 0x02, 0x18, 0x07, 0x12, 0x05, ...Buffer.from("3.6.4")];
const SIZES = [0x18, 0x80, 0x80, 0x80, 0x01, 0x20, 0x05, 0x48, 0x80, 0x80, 0x40, 0x50, 0x01];

function decode(...fields: readonly number[]) {
  return decodeStatus("one", Buffer.from([...HEAD, ...SIZES, ...fields]));
}

function alarm(text: string): readonly number[] {
  return [0x42, text.length, ...Buffer.from(text)];
}

test("a member tells what it has allocated and what of it is used", () => {
  expect(decode()).toEqual({
    member: "one",
    allocatedBytes: 2 * 1024 * 1024,
    usedBytes: 1024 * 1024,
    quotaBytes: undefined,
    isFull: false,
  });
});

test("it tells its quota from 3.6 on; a negative one is none", () => {
  expect(decode(0x60, 0x80, 0x80, 0x80, 0x80, 0x20).quotaBytes).toBe(8 * 1024 ** 3);
  const minusOne = [...Array<number>(9).fill(0xff), 0x01];
  expect(decode(0x60, ...minusOne).quotaBytes).toBeUndefined();
});

test("an alarm of space is one, another is not", () => {
  expect(decode(...alarm("memberID:1 alarm:CORRUPT ")).isFull).toBe(false);
  expect(decode(...alarm("etcdserver: no leader"), ...alarm("alarm:NOSPACE ")).isFull).toBe(true);
});
