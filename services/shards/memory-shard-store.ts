/** A ShardStore in memory, for tests and simulation: what a disk promises, without the disk. */
import { crc32c } from "#lib/crc32c.ts";
import { type Random, systemRandom } from "#lib/random.ts";
import { ShardDigest } from "#shards/digest.ts";
import { RemovalFence } from "#shards/removal-fence.ts";
import {
  BLOCK_BYTES_MAX,
  type Block,
  CHUNK_BYTES,
  ShardConflict,
  ShardCorrupt,
  type ShardId,
  type ShardInfo,
  ShardMissing,
  type ShardPage,
  type ShardReadOptions,
  type ShardSeal,
  type ShardStore,
  ShardStoreFull,
  ShardStoreUnavailable,
  type ShardWriter,
  type StoreHealth,
} from "#shards/shard-store.ts";

interface Blocks {
  /** Length of all but the last. */
  readonly bytes: number;
  readonly list: { readonly content: Buffer; readonly checksums: Uint32Array }[];
}

interface Sealed {
  readonly info: ShardInfo;
  readonly blocks: Blocks;
}

export class MemoryShardStore implements ShardStore {
  readonly diskId: string;
  readonly #capacity: number;
  readonly #shards = new Map<string, Sealed>();
  readonly #fence = new RemovalFence(0, async () => undefined);
  /** Set by tests: why every call fails. */
  fault: Error | undefined;

  constructor(options: { random?: Random; capacity?: number; diskId?: string } = {}) {
    this.diskId = options.diskId ?? (options.random ?? systemRandom).bytes(16).toString("hex");
    this.#capacity = options.capacity ?? 2 ** 40;
  }

  write(id: ShardId, options: { signal: AbortSignal; forRepair?: boolean }): ShardWriter {
    const blocks: Blocks["list"] = [];
    const digest = new ShardDigest();
    let blockBytes = 0;
    let state: "open" | "sealed" | "aborted" = "open";
    return {
      append: async (block) => {
        if (state !== "open") throw new Error(`The shard is ${state}`);
        blockBytes = acceptLength(block, { blockBytes, before: blocks.at(-1)?.content.length });
        blocks.push({ content: Buffer.concat(block.pieces), checksums: block.checksums.slice() });
        digest.add(block);
        this.#enter(options.signal);
        if (options.forRepair !== true) this.#requireRoom(digest.length);
      },
      seal: async (seal) => {
        if (state !== "open") throw new Error(`The shard is ${state}`);
        state = "sealed";
        this.#enter(options.signal);
        this.#seal(id, { blocks: { bytes: blockBytes, list: blocks }, digest, seal });
      },
      abort: async () => {
        if (state !== "open") return;
        state = "aborted";
        blocks.length = 0;
      },
    };
  }

  async put(
    id: ShardId,
    { block, seal }: { block: Block | undefined; seal: ShardSeal },
    options: { signal: AbortSignal; forRepair?: boolean },
  ): Promise<void> {
    const writer = this.write(id, options);
    if (block !== undefined && block.length > 0) await writer.append(block);
    await writer.seal(seal);
  }

  async read(
    id: ShardId,
    { offset, length }: { offset: number; length: number },
    options: ShardReadOptions,
  ): Promise<Uint8Array> {
    this.#enter(options.signal);
    const { info, blocks } = this.#require(id);
    if (length > BLOCK_BYTES_MAX || offset < 0 || offset + length > info.length) {
      throw new RangeError(`Bytes ${offset}+${length} of a shard of ${info.length}`);
    }
    const target = options.into?.subarray(0, length) ?? Buffer.alloc(length);
    for (let at = offset; at < offset + length; ) {
      const number = Math.floor(at / blocks.bytes);
      const start = at - number * blocks.bytes;
      const block = blocks.list[number];
      if (block === undefined) throw new ShardCorrupt("A block is missing");
      const end = Math.min(block.content.length, start + offset + length - at);
      checkChunks(block, { start, end });
      target.set(block.content.subarray(start, end), at - offset);
      at += end - start;
    }
    return target;
  }

  async stat(id: ShardId, signal: AbortSignal): Promise<ShardInfo | undefined> {
    this.#enter(signal);
    return this.#shards.get(keyOf(id))?.info;
  }

  async verify(id: ShardId, signal: AbortSignal): Promise<"good" | "bad" | "missing"> {
    this.#enter(signal);
    const shard = this.#shards.get(keyOf(id));
    if (shard === undefined) return "missing";
    return isGood(shard) ? "good" : "bad";
  }

  async link(
    { source, target }: { source: ShardId; target: ShardId },
    seal: ShardSeal,
    signal: AbortSignal,
  ): Promise<void> {
    this.#enter(signal);
    const { info, blocks } = this.#require(source);
    this.#insert(target, { info: { ...info, ...seal, id: target }, blocks });
  }

  async remove(ids: readonly ShardId[], signal: AbortSignal, term?: number): Promise<void> {
    this.#enter(signal);
    const removal = async () => {
      for (const id of ids) this.#shards.delete(keyOf(id));
    };
    await (term === undefined ? removal() : this.#fence.run(term, removal));
  }

  async list(
    { after, group, limit }: { after?: ShardId; group?: number; limit: number },
    signal: AbortSignal,
  ): Promise<ShardPage> {
    this.#enter(signal);
    const start = after === undefined ? "" : keyOf(after);
    const keys = [...this.#shards.keys()]
      .filter((key) => key > start)
      .filter((key) => group === undefined || this.#shards.get(key)?.info.id.group === group)
      .toSorted((left, right) => (left < right ? -1 : 1));
    const shards = keys
      .slice(0, limit)
      .map((key) => this.#shards.get(key)?.info)
      .filter((info) => info !== undefined);
    return { shards, next: keys.length > limit ? shards.at(-1)?.id : undefined };
  }

  async health(): Promise<StoreHealth> {
    const live = this.#live();
    const figures = {
      capacity: this.#capacity,
      free: Math.max(0, this.#capacity - live),
      live,
      used: live,
    };
    if (this.fault !== undefined) {
      return { state: "failed", ...figures, reason: this.fault.message };
    }
    return { state: live < this.#capacity ? "writable" : "full", ...figures };
  }

  /** Damages a byte of the shard, as a disk might. */
  corrupt(id: ShardId, offset = 0): void {
    const { blocks } = this.#require(id);
    const block = blocks.list[Math.floor(offset / blocks.bytes)];
    if (block === undefined) throw new RangeError(`The shard has no byte ${offset}`);
    const at = offset % blocks.bytes;
    block.content[at] = (block.content[at] ?? 0) ^ 1;
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #seal(
    id: ShardId,
    { blocks, digest, seal }: { blocks: Blocks; digest: ShardDigest; seal: ShardSeal },
  ): void {
    const { session, sequence, siblings, about } = seal;
    this.#insert(id, {
      info: {
        id,
        session,
        sequence,
        siblings: [...siblings],
        about: Buffer.from(about),
        length: digest.length,
        blocks: blocks.list.length,
        digest: digest.value,
      },
      blocks,
    });
  }

  #insert(id: ShardId, shard: Sealed): void {
    const { digest, length, siblings } = shard.info;
    if (siblings[id.index] !== digest) {
      throw new ShardConflict(`The siblings of shard ${id.index} expect another digest`);
    }
    const existing = this.#shards.get(keyOf(id));
    if (existing !== undefined) {
      if (existing.info.digest !== digest || existing.info.length !== length) {
        throw new ShardConflict("Another shard of that name is here, with other bytes");
      }
      if (isGood(existing)) return;
    }
    this.#shards.set(keyOf(id), shard);
  }

  #require(id: ShardId): Sealed {
    const shard = this.#shards.get(keyOf(id));
    if (shard === undefined) throw new ShardMissing("There is no such shard here");
    return shard;
  }

  #enter(signal: AbortSignal): void {
    signal.throwIfAborted();
    if (this.fault !== undefined) {
      throw new ShardStoreUnavailable("The store is not reachable", { cause: this.fault });
    }
  }

  #requireRoom(bytes: number): void {
    if (this.#live() + bytes > this.#capacity) throw new ShardStoreFull("The store is full");
  }

  /** Bytes that several names share count once. */
  #live(): number {
    let live = 0;
    for (const { list } of new Set([...this.#shards.values()].map(({ blocks }) => blocks))) {
      for (const { content } of list) live += content.length;
    }
    return live;
  }
}

/** Sorts as (group, writeId, index) do. */
function keyOf({ group, writeId, index }: ShardId): string {
  const name = Buffer.from(writeId).toString("hex");
  return `${group.toString(16).padStart(4, "0")}/${name}/${index.toString(16).padStart(2, "0")}`;
}

/** The length that all blocks but the last have. */
function acceptLength(
  block: Block,
  { blockBytes, before }: { blockBytes: number; before: number | undefined },
): number {
  if (block.length === 0 || block.length > BLOCK_BYTES_MAX) {
    throw new RangeError(`A block has 1 to ${BLOCK_BYTES_MAX} bytes, not ${block.length}`);
  }
  if (block.checksums.length !== Math.ceil(block.length / CHUNK_BYTES)) {
    throw new RangeError(
      `A block of ${block.length} bytes has ${block.checksums.length} checksums`,
    );
  }
  if (before === undefined) return block.length;
  if (before < blockBytes || block.length > blockBytes) {
    throw new RangeError("All blocks of a shard but the last have one length");
  }
  return blockBytes;
}

function checkChunks(
  { content, checksums }: Blocks["list"][number],
  { start, end }: { start: number; end: number },
): void {
  for (let chunk = Math.floor(start / CHUNK_BYTES); chunk * CHUNK_BYTES < end; chunk++) {
    const bytes = content.subarray(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES);
    if (crc32c(bytes) !== checksums[chunk]) throw new ShardCorrupt(`Chunk ${chunk} is wrong`);
  }
}

function isGood({ blocks }: Sealed): boolean {
  try {
    for (const block of blocks.list) checkChunks(block, { start: 0, end: block.content.length });
    return true;
  } catch (error) {
    if (error instanceof ShardCorrupt) return false;
    throw error;
  }
}
