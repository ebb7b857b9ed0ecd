/**
 * Makes missing shards of one write again, from k others that agree with what all of them say of each other.
 *
 * A shard's bytes are determined by its write, so its digest must be the one that its siblings' seals carry; one that
 * comes out otherwise is never sealed. Doing it twice, or in two processes, gives the same shard.
 */

import type { Codec } from "#codec/codec.ts";
import type { Pace } from "#keeper/pace.ts";
import { checksummedBlock, ShardDigest } from "#shards/digest.ts";
import type {
  Block,
  ShardId,
  ShardInfo,
  ShardSeal,
  ShardStore,
  ShardWriter,
} from "#shards/shard-store.ts";

export interface RebuildRequest {
  readonly codec: Codec;
  /** Of any good shard. */
  readonly info: ShardInfo;
  /** Disks with a good copy, by index of the shard; also of those wanted, when they lie on other disks. */
  readonly sources: ReadonlyMap<number, ShardStore>;
  readonly wanted: readonly WantedShard[];
  readonly pace: Pace;
  /** Takes away a bad copy. */
  readonly remove: (store: ShardStore, ids: readonly ShardId[]) => Promise<void>;
  readonly signal: AbortSignal;
}

export interface WantedShard {
  readonly index: number;
  readonly store: ShardStore;
  /** A bad copy is there and has to go first. */
  readonly isReplacement: boolean;
}

/** A source turned out bad while it was read. */
export class BadSource extends Error {
  override readonly name = "BadSource";
  readonly index: number;

  constructor(index: number, cause: unknown) {
    super(`Cannot read shard ${index} to rebuild others`, { cause });
    this.index = index;
  }
}

/**
 * Answers the bytes written. Throws BadSource, and when the outcome is not what the siblings say. A disk that does not
 * take its shard keeps no other from getting theirs; its error is thrown in the end.
 */
export async function rebuildShards(request: RebuildRequest): Promise<number> {
  const { codec, info, wanted, pace, signal } = request;
  const lanes = wanted.map((one) => new Lane(one, request));
  try {
    for (let offset = 0; offset < info.length; offset += codec.unit) {
      const length = Math.min(codec.unit, info.length - offset);
      await pace.take(length * (codec.k + wanted.length), signal);
      const blocks = await readBlocks(request, { offset, length });
      await Promise.all(lanes.map((lane) => lane.append(blocks.get(lane.index))));
      signal.throwIfAborted();
      if (lanes.every(({ fault }) => fault !== undefined)) break;
    }
    await Promise.all(lanes.map((lane) => lane.seal()));
    for (const { fault } of lanes) if (fault !== undefined) throw fault;
  } catch (error) {
    await Promise.allSettled(lanes.map((lane) => lane.abort()));
    throw error;
  }
  return info.length * wanted.length;
}

async function readBlocks(
  { codec, info, sources, wanted, signal }: RebuildRequest,
  { offset, length }: { offset: number; length: number },
): Promise<ReadonlyMap<number, Uint8Array>> {
  const direct = wanted.filter(({ index }) => sources.has(index)).map(({ index }) => index);
  const computed = wanted.filter(({ index }) => !sources.has(index)).map(({ index }) => index);
  const needed = new Set(direct);
  for (const index of sources.keys()) {
    if (computed.length === 0 || needed.size >= codec.k) break;
    needed.add(index);
  }
  const { group, writeId } = info.id;
  const blocks: (Uint8Array | undefined)[] = [];
  const reading = [...needed].map(async (index) => {
    try {
      const id = { group, writeId, index };
      blocks[index] = await sources.get(index)?.read(id, { offset, length }, { signal });
    } catch (error) {
      signal.throwIfAborted();
      throw new BadSource(index, error);
    }
  });
  await Promise.all(reading);
  const results = new Map<number, Uint8Array>();
  for (const index of direct) results.set(index, blocks[index] as Uint8Array);
  if (computed.length === 0) return results;
  codec.rebuild(blocks, computed).forEach((block, place) => {
    results.set(computed[place] as number, block);
  });
  return results;
}

/** One shard being written. */
class Lane {
  readonly index: number;
  readonly #wanted: WantedShard;
  readonly #id: ShardId;
  readonly #info: ShardInfo;
  readonly #signal: AbortSignal;
  readonly #remove: RebuildRequest["remove"];
  readonly #digest = new ShardDigest();
  /** A shard of one block takes one message. */
  #whole: Block | undefined;
  #writer: ShardWriter | undefined;
  /** Why the shard will not be made now. */
  fault: Error | undefined;

  constructor(wanted: WantedShard, { info, signal, remove }: RebuildRequest) {
    this.index = wanted.index;
    this.#wanted = wanted;
    this.#id = { group: info.id.group, writeId: info.id.writeId, index: wanted.index };
    this.#info = info;
    this.#signal = signal;
    this.#remove = remove;
  }

  append(bytes: Uint8Array | undefined): Promise<void> {
    return this.#unlessFailed(() => this.#append(bytes));
  }

  /** The bad copy goes only now, when the good one needs no more than its seal. */
  seal(): Promise<void> {
    return this.#unlessFailed(() => this.#seal());
  }

  async abort(): Promise<void> {
    await this.#writer?.abort();
  }

  async #unlessFailed(step: () => Promise<void>): Promise<void> {
    if (this.fault !== undefined) return;
    try {
      await step();
    } catch (error) {
      this.fault = error instanceof Error ? error : new Error(String(error));
    }
  }

  async #append(bytes: Uint8Array | undefined): Promise<void> {
    if (!bytes) throw new Error(`Cannot rebuild shard ${this.index}: a block of it is missing`);
    const block = checksummedBlock([bytes]);
    this.#digest.add(block);
    if (block.length === this.#info.length) {
      this.#whole = block;
      return;
    }
    this.#writer ??= this.#wanted.store.write(this.#id, { signal: this.#signal, forRepair: true });
    await this.#writer.append(block);
  }

  async #seal(): Promise<void> {
    const { session, sequence, siblings, about } = this.#info;
    if (this.#digest.value !== siblings[this.index]) {
      throw new Error(`Cannot rebuild shard ${this.index}: it differs from what its siblings say`);
    }
    const { store, isReplacement } = this.#wanted;
    if (isReplacement) await this.#remove(store, [this.#id]);
    const seal: ShardSeal = { session, sequence, siblings, about };
    if (this.#writer) {
      await this.#writer.seal(seal);
      return;
    }
    const options = { signal: this.#signal, forRepair: true };
    await store.put(this.#id, { block: this.#whole, seal }, options);
  }
}
