/**
 * One shard on its way to the disk: blocks as they come, then the seal that makes them a shard.
 *
 * Blocks are not synced one by one. The seal's own sync covers those in the same volume; volumes that
 * hold earlier blocks are synced first, so a seal never becomes durable before its blocks.
 */

import { ShardDigest } from "#shards/digest.ts";
import {
  BLOCK_BYTES_MAX,
  type Block,
  CHUNK_BYTES,
  ShardConflict,
  type ShardId,
  type ShardSeal,
  type ShardWriter,
} from "#shards/shard-store.ts";
import type { ActiveVolumes } from "#storage/active-volumes.ts";
import type { ShardEntry } from "#storage/index-rows.ts";
import type { IndexTransaction } from "#storage/index-store.ts";
import { type Location, recordBytes, type SealRecord } from "#storage/record.ts";
import { applyRemoval, applySeal, type Sealing } from "#storage/shard-index.ts";
import type { Outgoing, Volume } from "#storage/volume.ts";

/** What a writer needs of the store it writes to. */
export interface WriterParts {
  readonly volumes: ActiveVolumes;
  newTag(): string;
  /** Throws ShardStoreFull, unless the shard may use the reserve. */
  admit(bytes: number, forRepair: boolean): Promise<void> | undefined;
  /** The shard that is there by that name; its bytes are read when `digest` and length are as given. */
  inspect(
    id: ShardId,
    expected: { digest: number; length: number },
  ): Promise<{ state: "absent" | "good" } | { state: "bad"; entry: ShardEntry }>;
  /** Makes seals with those tags count no more. */
  bury(id: ShardId, tags: readonly string[]): Promise<void>;
}

interface WriteOptions {
  readonly signal: AbortSignal;
  readonly forRepair?: boolean;
}

export class DiskShardWriter implements ShardWriter {
  readonly #parts: WriterParts;
  readonly #id: ShardId;
  readonly #options: WriteOptions;
  readonly #tag: string;
  readonly #digest = new ShardDigest();
  readonly #blocks: Location[] = [];
  readonly #volumes = new Set<Volume>();
  readonly #writing = new Set<Promise<void>>();
  #blockBytes = 0;
  #isLastSeen = false;
  #state: "open" | "sealed" | "aborted" = "open";
  #fault: Error | undefined;

  constructor(parts: WriterParts, id: ShardId, options: WriteOptions) {
    this.#parts = parts;
    this.#id = id;
    this.#options = options;
    this.#tag = parts.newTag();
  }

  async append(block: Block): Promise<void> {
    this.#requireOpen();
    this.#accept(block);
    const location = { volume: 0, offset: 0 };
    const number = this.#blocks.push(location) - 1;
    const writing = this.#write(block, { number, location });
    const settled = writing.catch((error: Error) => {
      this.#fault ??= error;
    });
    this.#writing.add(settled);
    void settled.then(() => this.#writing.delete(settled));
    await writing;
  }

  async seal(seal: ShardSeal): Promise<void> {
    if (this.#state === "sealed") throw new Error("The shard is sealed already");
    this.#requireOpen();
    this.#state = "sealed";
    try {
      await Promise.all(this.#writing);
      if (this.#fault !== undefined) throw this.#fault;
      this.#options.signal.throwIfAborted();
      await this.#sealWith([], seal);
    } finally {
      this.#release();
    }
  }

  async abort(): Promise<void> {
    if (this.#state !== "open") return;
    this.#state = "aborted";
    await Promise.all(this.#writing);
    this.#release();
  }

  /**
   * The whole shard at one go: one append, one sync shared with others. False when a shard of that name was there before, which
   * only a retry meets: then nothing of this one counts, and `putOver` looks at what is there.
   */
  async put(block: Block | undefined, seal: ShardSeal): Promise<boolean> {
    const blocks = await this.#whole(block);
    const sealing = await this.#append(this.#record(seal), { blocks, broken: [] });
    return sealing === "sealed";
  }

  /** The same where a shard of that name may be: one with equal bytes is left alone if they can be read, and else replaced. */
  async putOver(block: Block | undefined, seal: ShardSeal): Promise<void> {
    await this.#sealWith(await this.#whole(block), seal);
  }

  async #whole(block: Block | undefined): Promise<Outgoing[]> {
    const { signal, forRepair = false } = this.#options;
    signal.throwIfAborted();
    this.#state = "sealed";
    const outgoing: Outgoing[] = [];
    if (block !== undefined && block.length > 0) {
      this.#accept(block);
      const location = { volume: 0, offset: 0 };
      this.#blocks.push(location);
      outgoing.push(this.#outgoing(block, { number: 0, location }));
    }
    const admission = this.#parts.admit(this.#digest.length, forRepair);
    if (admission !== undefined) await admission;
    return outgoing;
  }

  #accept(block: Block): void {
    if (block.length === 0 || block.length > BLOCK_BYTES_MAX) {
      throw new RangeError(`A block has 1 to ${BLOCK_BYTES_MAX} bytes, not ${block.length}`);
    }
    if (block.checksums.length !== Math.ceil(block.length / CHUNK_BYTES)) {
      throw new RangeError(
        `A block of ${block.length} bytes has ${block.checksums.length} checksums`,
      );
    }
    if (this.#blocks.length === 0) this.#blockBytes = block.length;
    if (this.#isLastSeen || block.length > this.#blockBytes) {
      throw new RangeError("All blocks of a shard but the last have one length");
    }
    this.#isLastSeen = block.length < this.#blockBytes;
    this.#digest.add(block);
  }

  async #write(block: Block, place: { number: number; location: Location }): Promise<void> {
    this.#options.signal.throwIfAborted();
    const admission = this.#parts.admit(block.length, this.#options.forRepair ?? false);
    if (admission !== undefined) await admission;
    const volume = await this.#parts.volumes.acquire();
    // Held once, until the seal: the volume must not be closed, and compacted, before.
    if (this.#volumes.has(volume)) this.#parts.volumes.release(volume);
    else this.#volumes.add(volume);
    await volume.append({ records: [this.#outgoing(block, place)], durable: false });
  }

  #outgoing(block: Block, { number, location }: { number: number; location: Location }): Outgoing {
    return {
      record: {
        kind: "block",
        content: { id: this.#id, tag: this.#tag },
        number,
        length: block.length,
        checksums: block.checksums,
      },
      payload: block.pieces,
      location,
    };
  }

  async #sealWith(blocks: Outgoing[], seal: ShardSeal): Promise<void> {
    const record = this.#record(seal);
    const found = await this.#parts.inspect(this.#id, record);
    if (found.state === "good") return;
    const broken = found.state === "bad" ? tagsOf(found.entry) : [];
    const sealing = await this.#append(record, { blocks, broken });
    if (sealing === "sealed" || sealing === "twin") return;
    throw new ShardConflict("Another shard of that name was sealed at the same time");
  }

  #record(seal: ShardSeal): SealRecord {
    const { value: digest, length } = this.#digest;
    if (seal.siblings[this.#id.index] !== digest) {
      throw new ShardConflict(
        `Shard ${this.#id.index} has digest ${digest}, its siblings expect ${seal.siblings[this.#id.index]}`,
      );
    }
    return {
      kind: "seal",
      ...seal,
      id: this.#id,
      tag: this.#tag,
      content: { id: this.#id, tag: this.#tag },
      length,
      digest,
      blockBytes: this.#blockBytes,
      blocks: this.#blocks,
    };
  }

  /** The seal, behind the tombstone of a broken one whose place it takes. Unless it is "sealed", nothing of it counts. */
  async #append(
    record: SealRecord,
    { blocks, broken }: { blocks: readonly Outgoing[]; broken: readonly string[] },
  ): Promise<Sealing | undefined> {
    const place = { volume: 0, offset: 0 };
    const records = [...blocks];
    const removal = { kind: "remove", id: this.#id, tags: broken } as const;
    const tombstone = { record: removal, location: { volume: 0, offset: 0 } };
    if (broken.length > 0) records.push(tombstone);
    records.push({ record, location: place });
    let sealing: Sealing | undefined;
    let unnamed: readonly string[] = [];
    const apply = (index: IndexTransaction) => {
      if (broken.length > 0) {
        const bytes = recordBytes(removal);
        unnamed = applyRemoval(index, removal, { volume: tombstone.location.volume, bytes });
      }
      sealing = applySeal(index, record, { ...place, bytes: recordBytes(record) }, "new");
    };
    await this.#parts.volumes.append({ records, apply }, this.#volumes);
    if (unnamed.length > 0) await this.#parts.bury(this.#id, unnamed);
    // The other one's seal stands, and this one must not come to count later.
    if (sealing !== "sealed") await this.#parts.bury(this.#id, [this.#tag]);
    return sealing;
  }

  #requireOpen(): void {
    if (this.#state !== "open") throw new Error(`The shard is ${this.#state}`);
  }

  #release(): void {
    for (const volume of this.#volumes) this.#parts.volumes.release(volume);
    this.#volumes.clear();
  }
}

export function tagsOf(entry: ShardEntry): string[] {
  return [...new Set([entry.tag, ...entry.others.map(({ tag }) => tag)])];
}
