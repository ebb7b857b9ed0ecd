/** Reads shards out of volumes and believes no byte that its checksum does not vouch for. */
import { crc32c } from "#lib/crc32c.ts";
import { errorCode } from "#lib/disk.ts";
import {
  CHUNK_BYTES,
  ShardCorrupt,
  type ShardId,
  type ShardReadOptions,
  ShardStoreUnavailable,
} from "#shards/shard-store.ts";
import type { ShardEntry } from "#storage/index-rows.ts";
import {
  blockHeadBytes,
  decodeHead,
  isBlockOf,
  type Location,
  type SealRecord,
  saltOf,
  sameShard,
} from "#storage/record.ts";
import { blockLength } from "#storage/shard-index.ts";
import type { VolumeFiles } from "#storage/volume-files.ts";

/** The volume that the index names is gone: compaction may have moved the shard since the index was read. */
export class VolumeGone extends Error {
  override readonly name = "VolumeGone";
}

/** Up to this far into a block its head and the bytes wanted are read in one go. */
const READ_THROUGH_BYTES = 64 * 1024;

/** Part of one block that a read needs: whole chunks, of which the ends may be cut off afterwards. */
interface BlockRead {
  readonly number: number;
  /** First chunk, and bytes of this one and those that follow. */
  readonly chunk: number;
  readonly bytes: number;
  readonly into: readonly Uint8Array[];
}

type TellKept = ShardReadOptions["onKept"];

export class ShardReader {
  readonly #files: VolumeFiles;
  readonly #secret: Buffer;

  constructor(files: VolumeFiles, secret: Buffer) {
    this.#files = files;
    this.#secret = secret;
  }

  /** Bytes of the shard; into the buffer given, when there is one. Throws ShardCorrupt or VolumeGone. */
  async read(
    entry: ShardEntry,
    range: { offset: number; length: number },
    { into, onKept }: Pick<ShardReadOptions, "into" | "onKept"> = {},
  ): Promise<Uint8Array> {
    const { offset, length } = range;
    if (length === 0) return into?.subarray(0, 0) ?? new Uint8Array(0);
    if (entry.length <= CHUNK_BYTES && entry.blocks.length === 1) {
      const small = await this.#readSmall(entry);
      if (length === entry.length) onKept?.(small.kept);
      const bytes = small.bytes.subarray(offset, offset + length);
      if (into === undefined) return bytes;
      into.set(bytes);
      return into.subarray(0, length);
    }
    const first = Math.floor(offset / entry.blockBytes);
    const last = Math.floor((offset + length - 1) / entry.blockBytes);
    const start = first * entry.blockBytes + floorChunk(offset - first * entry.blockBytes);
    const end = coveredEnd(entry, last, offset + length);
    const tell = first === last && end - start === length ? onKept : undefined;
    if (into === undefined || (first === last && end - start <= CHUNK_BYTES)) {
      return this.#readCover(entry, { ...range, first, last, start, end }, { into, tell });
    }
    await this.#readInto(entry, { ...range, first, last }, { into, tell });
    return into.subarray(0, length);
  }

  /** The seal, from the volume. */
  async readSeal(id: ShardId, entry: ShardEntry): Promise<SealRecord> {
    const { volume, offset, bytes } = entry.seal;
    const buffer = Buffer.allocUnsafe(bytes);
    await this.#readAt(volume, offset, [buffer]);
    const decoded = decodeHead(buffer, 0, { offset, salt: saltOf(this.#secret, volume) });
    const record = decoded?.record;
    if (record?.kind !== "seal" || record.tag !== entry.tag || !sameShard(record.id, id)) {
      throw new ShardCorrupt(`Cannot read seal at ${volume}:${offset}: it is not there`);
    }
    return record;
  }

  /** Reads all of the block, and checks it. */
  async readBlock(entry: ShardEntry, number: number): Promise<Buffer> {
    const bytes = blockLength(entry, number);
    const buffer = Buffer.allocUnsafe(bytes);
    await this.#readChunks(entry, { number, chunk: 0, bytes, into: [buffer] });
    return buffer;
  }

  /** Whole chunks into one buffer, of which the answer is a part. */
  async #readCover(
    entry: ShardEntry,
    cover: {
      offset: number;
      length: number;
      first: number;
      last: number;
      start: number;
      end: number;
    },
    { into, tell }: { into: Uint8Array | undefined; tell: TellKept },
  ): Promise<Uint8Array> {
    const { offset, length, first, last, start, end } = cover;
    const isExact = into !== undefined && end - start === length;
    const buffer = isExact ? into.subarray(0, length) : Buffer.allocUnsafe(end - start);
    if (first === last) {
      const chunk = (start - first * entry.blockBytes) / CHUNK_BYTES;
      const wanted = { number: first, chunk, bytes: end - start, into: [buffer] };
      const kept = await this.#readChunks(entry, wanted);
      tell?.(kept);
    } else {
      const reads: Promise<unknown>[] = [];
      for (let number = first; number <= last; number++) {
        const blockStart = number * entry.blockBytes;
        const from = Math.max(start, blockStart);
        const to = Math.min(end, blockStart + blockLength(entry, number));
        reads.push(
          this.#readChunks(entry, {
            number,
            chunk: (from - blockStart) / CHUNK_BYTES,
            bytes: to - from,
            into: [buffer.subarray(from - start, to - start)],
          }),
        );
      }
      await allOf(reads);
    }
    if (isExact) return buffer;
    const wanted = buffer.subarray(offset - start, offset - start + length);
    if (into === undefined) return wanted;
    into.set(wanted);
    return into.subarray(0, length);
  }

  /** Straight into the caller's buffer; only chunks that the range cuts go by way of a buffer of ours. */
  async #readInto(
    entry: ShardEntry,
    range: { offset: number; length: number; first: number; last: number },
    { into, tell }: { into: Uint8Array; tell: TellKept },
  ): Promise<void> {
    const reads: Promise<Uint32Array>[] = [];
    const copies: { from: Uint8Array; at: number }[] = [];
    for (let number = range.first; number <= range.last; number++) {
      const blockStart = number * entry.blockBytes;
      const blockBytes = blockLength(entry, number);
      const from = Math.max(range.offset - blockStart, 0);
      const to = Math.min(range.offset + range.length - blockStart, blockBytes);
      const start = floorChunk(from);
      const end = Math.min(ceilChunk(to), blockBytes);
      const at = blockStart + from - range.offset;
      const pieces: Uint8Array[] = [];
      let direct = from;
      if (start < from) {
        const head = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, end - start));
        pieces.push(head);
        copies.push({ from: head.subarray(from - start, to - start), at });
        direct = Math.min(start + CHUNK_BYTES, end);
      }
      const directEnd = end > to ? Math.max(floorChunk(to), direct) : end;
      if (directEnd > direct) {
        pieces.push(into.subarray(at + direct - from, at + directEnd - from));
      }
      if (end > directEnd) {
        const tail = Buffer.allocUnsafe(end - directEnd);
        pieces.push(tail);
        copies.push({ from: tail.subarray(0, to - directEnd), at: at + directEnd - from });
      }
      reads.push(
        this.#readChunks(entry, {
          number,
          chunk: start / CHUNK_BYTES,
          bytes: end - start,
          into: pieces,
        }),
      );
    }
    const [kept] = await allOf(reads);
    if (kept) tell?.(kept);
    for (const { from, at } of copies) into.set(from, at);
  }

  /** Answers the kept checksums of these chunks. */
  async #readChunks(entry: ShardEntry, wanted: BlockRead): Promise<Uint32Array> {
    const location = entry.blocks[wanted.number];
    if (location === undefined) throw new ShardCorrupt("The seal has fewer blocks than its length");
    const { volume, offset } = location;
    const length = blockLength(entry, wanted.number);
    const headLength = blockHeadBytes(length);
    const skipped = wanted.chunk * CHUNK_BYTES;
    const isThrough = skipped <= READ_THROUGH_BYTES;
    const head = Buffer.allocUnsafe(headLength + (isThrough ? skipped : 0));
    if (isThrough) {
      await this.#readAt(volume, offset, [head, ...wanted.into]);
    } else {
      await allOf([
        this.#readAt(volume, offset, [head]),
        this.#readAt(volume, offset + headLength + skipped, wanted.into),
      ]);
    }
    return this.#check(entry, wanted, head);
  }

  /** A small block whole, head and bytes in one buffer: one read of one piece is the cheapest there is. */
  async #readSmall(entry: ShardEntry): Promise<{ bytes: Buffer; kept: Uint32Array }> {
    const location = entry.blocks[0];
    if (location === undefined) throw new ShardCorrupt("The seal has fewer blocks than its length");
    const headLength = blockHeadBytes(entry.length);
    const buffer = Buffer.allocUnsafe(headLength + entry.length);
    await this.#readAt(location.volume, location.offset, [buffer]);
    const bytes = buffer.subarray(headLength);
    const wanted = { number: 0, chunk: 0, bytes: bytes.length, into: [bytes] };
    return { bytes, kept: this.#check(entry, wanted, buffer) };
  }

  /** The head must be that of the very block, and every chunk must have the checksum it says. Answers those. */
  #check(entry: ShardEntry, wanted: BlockRead, head: Buffer): Uint32Array {
    const { volume, offset } = entry.blocks[wanted.number] ?? NOWHERE;
    const decoded = decodeHead(head, 0, { offset, salt: saltOf(this.#secret, volume) });
    const record = decoded?.record;
    if (record === undefined || !isBlockOf(record, entry.content, wanted.number)) {
      throw new ShardCorrupt(`Cannot read block at ${volume}:${offset}: it is not there`);
    }
    let chunk = wanted.chunk;
    for (const piece of wanted.into) {
      for (let at = 0; at < piece.length; at += CHUNK_BYTES, chunk++) {
        if (crc32c(piece.subarray(at, at + CHUNK_BYTES)) !== record.checksums[chunk]) {
          throw new ShardCorrupt(`Chunk ${chunk} of the block at ${volume}:${offset} is wrong`);
        }
      }
    }
    return record.checksums.subarray(wanted.chunk, chunk);
  }

  async #readAt(volume: number, offset: number, into: readonly Uint8Array[]): Promise<void> {
    let wanted = 0;
    for (const { length } of into) wanted += length;
    let got: number;
    try {
      got = await this.#files.read(volume, offset, into);
    } catch (cause) {
      if (errorCode(cause) === "ENOENT") {
        throw new VolumeGone(`Volume ${volume} is not there`, { cause });
      }
      if (errorCode(cause) === "EIO") {
        throw new ShardCorrupt(`Cannot read volume ${volume} at ${offset}`, { cause });
      }
      throw new ShardStoreUnavailable(`Cannot read volume ${volume} at ${offset}`, { cause });
    }
    if (got < wanted) throw new ShardCorrupt(`Volume ${volume} ends before ${offset + wanted}`);
  }
}

const NOWHERE: Location = { volume: 0, offset: 0 };

/** As Promise.all, but nothing is still writing into a buffer when it rejects. */
async function allOf<T>(reads: readonly Promise<T>[]): Promise<readonly T[]> {
  const outcomes = await Promise.allSettled(reads);
  return outcomes.map((outcome) => {
    if (outcome.status === "rejected") throw outcome.reason;
    return outcome.value;
  });
}

function floorChunk(offset: number): number {
  return offset - (offset % CHUNK_BYTES);
}

function ceilChunk(offset: number): number {
  return Math.ceil(offset / CHUNK_BYTES) * CHUNK_BYTES;
}

/** Where the chunk that holds the byte before `end` ends, in the shard. */
function coveredEnd(entry: ShardEntry, block: number, end: number): number {
  const blockStart = block * entry.blockBytes;
  return blockStart + Math.min(ceilChunk(end - blockStart), blockLength(entry, block));
}
