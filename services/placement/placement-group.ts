/** Which placement group a write belongs to: the first four bytes of its random id, modulo the number of groups. */
import type { Random } from "#lib/random.ts";

export const WRITE_ID_BYTES = 16;

const RANGE = 2 ** 32;

export function groupOf(writeId: Uint8Array, groupCount: number): number {
  return leading(writeId) % groupCount;
}

/** A fresh id of the group given: what a second name for the same bytes needs, to lie on the same disks. */
export function writeIdIn(
  group: number,
  { groupCount, random }: { groupCount: number; random: Random },
): Buffer {
  const writeId = random.bytes(WRITE_ID_BYTES);
  const drawn = leading(writeId);
  const shifted = drawn - (drawn % groupCount) + group;
  writeId.writeUInt32BE(shifted < RANGE ? shifted : shifted - groupCount);
  return writeId;
}

function leading(writeId: Uint8Array): number {
  const [first = 0, second = 0, third = 0, fourth = 0] = writeId;
  return ((first << 24) | (second << 16) | (third << 8) | fourth) >>> 0;
}
