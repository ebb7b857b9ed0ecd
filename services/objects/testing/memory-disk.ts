/** A disk in memory whose every step a test can let fail, wait or hang, and whose bytes it can flip or lose. */
import { crc32c } from "#lib/crc32c.ts";
import { ShardDigest } from "#shards/digest.ts";
import {
  type Block,
  CHUNK_BYTES,
  ShardConflict,
  ShardCorrupt,
  type ShardId,
  type ShardInfo,
  ShardMissing,
  type ShardPage,
  type ShardSeal,
  type ShardStore,
  type ShardWriter,
  type StoreHealth,
} from "#shards/shard-store.ts";

export type DiskStep =
  | "append"
  | "seal"
  | "put"
  | "read"
  | "stat"
  | "verify"
  | "link"
  | "remove"
  | "list";

interface Shard {
  readonly info: ShardInfo;
  readonly bytes: Buffer;
  /** The CRC32C of each chunk of each block, with where it lies. */
  readonly chunks: readonly { readonly from: number; readonly to: number; readonly crc: number }[];
}

export class MemoryDisk implements ShardStore {
  readonly diskId: string;
  /** Before each step; may throw, or wait. */
  fault: ((step: DiskStep, id: ShardId | undefined) => Promise<void> | void) | undefined;
  /** After a seal or put took effect, before it is answered. */
  afterwards: ((id: ShardId) => Promise<void> | void) | undefined;
  free = 0.5;
  reads = 0;
  bytesRead = 0;
  /** Writers that are neither sealed nor aborted. */
  openWriters = 0;
  readonly #shards = new Map<string, Shard>();

  constructor(diskId: string) {
    this.diskId = diskId;
  }

  get size(): number {
    return this.#shards.size;
  }

  has(id: ShardId): boolean {
    return this.#shards.has(nameOf(id));
  }

  ids(): readonly ShardId[] {
    return [...this.#shards.values()].map(({ info }) => info.id);
  }

  flip(id: ShardId, at = 0): void {
    const bytes = this.#shards.get(nameOf(id))?.bytes;
    if (!bytes) throw new Error("Cannot flip a byte: no such shard");
    bytes[at] = (bytes[at] ?? 0) ^ 0xff;
  }

  lose(id: ShardId): void {
    this.#shards.delete(nameOf(id));
  }

  empty(): void {
    this.#shards.clear();
  }

  write(id: ShardId, { signal }: { signal: AbortSignal }): ShardWriter {
    const blocks: Block[] = [];
    let isOver = false;
    this.openWriters += 1;
    const end = () => {
      if (!isOver) this.openWriters -= 1;
      isOver = true;
    };
    return {
      append: async (block) => {
        await this.#step("append", id, signal);
        // As a disk would: what the pieces hold now is what is kept.
        const copy = Buffer.concat(block.pieces);
        blocks.push({ ...block, pieces: [copy] });
      },
      seal: async (seal) => {
        await this.#step("seal", id, signal);
        if (isOver) throw new Error("Cannot seal: the shard was aborted");
        this.#keep(id, blocks, seal);
        end();
        await this.afterwards?.(id);
      },
      abort: () => {
        end();
        return Promise.resolve();
      },
    };
  }

  async put(
    id: ShardId,
    { block, seal }: { block: Block | undefined; seal: ShardSeal },
    { signal }: { signal: AbortSignal },
  ): Promise<void> {
    await this.#step("put", id, signal);
    this.#keep(id, block ? [block] : [], seal);
    await this.afterwards?.(id);
  }

  async read(
    id: ShardId,
    { offset, length }: { offset: number; length: number },
    { signal }: { signal: AbortSignal },
  ): Promise<Uint8Array> {
    await this.#step("read", id, signal);
    this.reads += 1;
    this.bytesRead += length;
    const { bytes, chunks } = this.#shard(id);
    if (offset + length > bytes.length) throw new RangeError(`Read beyond ${bytes.length}`);
    for (const { from, to, crc } of chunks) {
      if (to <= offset || from >= offset + length) continue;
      if (crc32c(bytes.subarray(from, to)) !== crc) throw new ShardCorrupt("Checksum differs");
    }
    return Buffer.from(bytes.subarray(offset, offset + length));
  }

  async stat(id: ShardId, signal: AbortSignal): Promise<ShardInfo | undefined> {
    await this.#step("stat", id, signal);
    return this.#shards.get(nameOf(id))?.info;
  }

  async verify(id: ShardId, signal: AbortSignal): Promise<"good" | "bad" | "missing"> {
    await this.#step("verify", id, signal);
    const shard = this.#shards.get(nameOf(id));
    if (!shard) return "missing";
    const isGood = shard.chunks.every(({ from, to, crc }) => {
      return crc32c(shard.bytes.subarray(from, to)) === crc;
    });
    return isGood ? "good" : "bad";
  }

  async link(
    { source, target }: { source: ShardId; target: ShardId },
    seal: ShardSeal,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#step("link", target, signal);
    const { info, bytes, chunks } = this.#shard(source);
    this.#shards.set(nameOf(target), { info: { ...info, ...seal, id: target }, bytes, chunks });
  }

  async remove(ids: readonly ShardId[], signal: AbortSignal): Promise<void> {
    for (const id of ids) {
      await this.#step("remove", id, signal);
      this.#shards.delete(nameOf(id));
    }
  }

  async list(
    { after, group, limit }: { after?: ShardId; group?: number; limit: number },
    signal: AbortSignal,
  ): Promise<ShardPage> {
    await this.#step("list", undefined, signal);
    const from = after && nameOf(after);
    const names = [...this.#shards.keys()]
      .filter((name) => from === undefined || name > from)
      .filter((name) => group === undefined || name.startsWith(hex(group, 4)))
      .toSorted();
    const shards = names.slice(0, limit).map((name) => (this.#shards.get(name) as Shard).info);
    return { shards, next: names.length > limit ? shards.at(-1)?.id : undefined };
  }

  health(): Promise<StoreHealth> {
    let live = 0;
    for (const { bytes } of this.#shards.values()) live += bytes.length;
    const capacity = 1_000_000;
    return Promise.resolve({
      state: "writable",
      capacity,
      free: capacity * this.free,
      live,
      used: live,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #keep(id: ShardId, blocks: readonly Block[], seal: ShardSeal): void {
    const digest = new ShardDigest();
    const chunks: { from: number; to: number; crc: number }[] = [];
    for (const block of blocks) {
      const base = digest.length;
      block.checksums.forEach((crc, place) => {
        const from = base + place * CHUNK_BYTES;
        chunks.push({ from, to: Math.min(from + CHUNK_BYTES, base + block.length), crc });
      });
      digest.add(block);
    }
    if (digest.value !== seal.siblings[id.index]) throw new Error("Cannot seal: digest differs");
    const known = this.#shards.get(nameOf(id));
    if (known && known.info.digest !== digest.value)
      throw new ShardConflict("Other bytes are there");
    const bytes = Buffer.concat(blocks.flatMap(({ pieces }) => pieces));
    const info = {
      ...seal,
      id,
      length: digest.length,
      blocks: blocks.length,
      digest: digest.value,
    };
    this.#shards.set(nameOf(id), { info, bytes, chunks });
  }

  #shard(id: ShardId): Shard {
    const shard = this.#shards.get(nameOf(id));
    if (!shard) throw new ShardMissing("No such shard");
    return shard;
  }

  async #step(step: DiskStep, id: ShardId | undefined, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await this.fault?.(step, id);
    signal.throwIfAborted();
  }
}

function nameOf({ group, writeId, index }: ShardId): string {
  return hex(group, 4) + Buffer.from(writeId).toString("hex") + hex(index, 2);
}

function hex(number: number, digits: number): string {
  return number.toString(16).padStart(digits, "0");
}
