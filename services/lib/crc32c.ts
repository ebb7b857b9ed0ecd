/** CRC32C (Castagnoli): what guards every shard, record and index entry. */
import { crc32c as native } from "@node-rs/crc32";

/** CRC32C of the bytes, as an unsigned 32-bit number; `initial` continues an earlier one. */
export function crc32c(bytes: Uint8Array, initial = 0): number {
  return native(bytes, initial);
}

/** The CRC32C of each `chunkBytes` of the pieces taken as one run of bytes. */
export function chunkChecksums(
  pieces: readonly Uint8Array[],
  length: number,
  chunkBytes: number,
): Uint32Array {
  const checksums = new Uint32Array(Math.ceil(length / chunkBytes));
  let position = 0;
  for (const piece of pieces) {
    for (let start = 0; start < piece.length; ) {
      const chunk = Math.floor(position / chunkBytes);
      const end = Math.min(piece.length, start + (chunk + 1) * chunkBytes - position);
      checksums[chunk] = crc32c(piece.subarray(start, end), checksums[chunk]);
      position += end - start;
      start = end;
    }
  }
  return checksums;
}
