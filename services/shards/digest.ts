/** The digest of a shard: what its siblings' seals say of it and what repair must reproduce. */
import { chunkChecksums, crc32c } from "#lib/crc32c.ts";
import { type Block, CHUNK_BYTES } from "#shards/shard-store.ts";

/** CRC32C over the chunk checksums (32 bits each, little endian) of all blocks in order, gathered block by block. */
export class ShardDigest {
  #value = 0;
  #length = 0;

  add(block: Block): void {
    const bytes = Buffer.allocUnsafe(block.checksums.length * 4 + 4);
    block.checksums.forEach((checksum, index) => bytes.writeUInt32LE(checksum, index * 4));
    bytes.writeUInt32LE(block.length, block.checksums.length * 4);
    this.#value = crc32c(bytes, this.#value);
    this.#length += block.length;
  }

  get value(): number {
    return this.#value;
  }

  get length(): number {
    return this.#length;
  }
}

/** A block with its checksums computed here. */
export function checksummedBlock(pieces: readonly Uint8Array[]): Block {
  let length = 0;
  for (const piece of pieces) length += piece.length;
  return { pieces, length, checksums: chunkChecksums(pieces, length, CHUNK_BYTES) };
}
