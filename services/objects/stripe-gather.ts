/**
 * One piece of a stripe from as few shards as give it.
 *
 * First the data blocks that hold the piece are read, only the bytes wanted of each: when all is well that is all, and
 * nothing is decoded. When one of them fails, or is late, others are read in its place, over the bytes of a block that
 * are wanted of any (the columns), until k blocks are at hand to compute what is missing. Whatever comes first counts.
 */
import type { Codec } from "#codec/codec.ts";
import type { BlockRange } from "#objects/extents.ts";
import type { Hedged, ReadPace } from "#objects/read-pace.ts";
import { ShardFault } from "#objects/shard-read.ts";

/** Reads [from, to) of block `index`; rejects with ShardFault, or the signal's reason. */
export type ReadBlock = (block: BlockRange) => Promise<Uint8Array>;

/** Fewer than k shards gave their bytes. `faults` by index. */
export class TooFewShards extends Error {
  override readonly name = "TooFewShards";
  readonly faults: ReadonlyMap<number, ShardFault>;

  constructor(faults: ReadonlyMap<number, ShardFault>) {
    super("Cannot read a stripe: too few shards gave their bytes");
    this.faults = faults;
  }
}

export interface GatherRequest {
  readonly codec: Codec;
  /** In order; of copies one, of whichever index. */
  readonly wanted: readonly BlockRange[];
  /** All indexes, best first. */
  readonly order: readonly number[];
  readonly readBlock: ReadBlock;
  readonly pace: ReadPace;
  /** When to ask elsewhere. */
  readonly delayMs: number;
  /** Told of each shard that failed, even when the others sufficed. */
  readonly onFault: (index: number, fault: ShardFault) => void;
}

export class StripeGather implements Hedged {
  readonly startedMs: number;
  readonly delayMs: number;
  readonly #request: GatherRequest;
  readonly #columns: { readonly from: number; readonly to: number };
  readonly #result = Promise.withResolvers<readonly Uint8Array[]>();
  /** By place in `wanted`. */
  readonly #direct: (Uint8Array | undefined)[];
  #directMissing: number;
  /** By index: the columns of that block. */
  readonly #blocks: (Uint8Array | undefined)[] = [];
  #blocksAtHand = 0;
  /** Indexes whose columns are on their way and not late. */
  readonly #expected = new Set<number>();
  readonly #asked = new Set<number>();
  /** Indexes that are asked for their columns only when the others are too few. */
  readonly #late = new Set<number>();
  readonly #faults = new Map<number, ShardFault>();
  #pending = 0;
  #isRecovering = false;
  #isDone = false;

  constructor(request: GatherRequest) {
    this.#request = request;
    this.startedMs = request.pace.now();
    this.delayMs = request.delayMs;
    this.#direct = request.wanted.map(() => undefined);
    this.#directMissing = request.wanted.length;
    this.#columns = {
      from: Math.min(...request.wanted.map(({ from }) => from)),
      to: Math.max(...request.wanted.map(({ to }) => to)),
    };
  }

  run(): Promise<readonly Uint8Array[]> {
    const { pace, wanted } = this.#request;
    pace.watch(this);
    wanted.forEach((block, place) => this.#askDirect(block, place));
    return this.#result.promise;
  }

  hedge(): void {
    this.#expected.clear();
    this.#request.wanted.forEach(({ index }, place) => {
      if (!this.#direct[place]) this.#late.add(index);
    });
    this.#recover();
  }

  #askDirect(block: BlockRange, place: number): void {
    const { index } = block;
    const isWhole = block.from === this.#columns.from && block.to === this.#columns.to;
    if (isWhole) this.#expect(index);
    this.#ask(block, (bytes) => {
      this.#direct[place] = bytes;
      this.#directMissing -= 1;
      if (isWhole) this.#have(index, bytes);
    });
  }

  #askColumns(index: number): void {
    this.#expect(index);
    this.#ask({ index, ...this.#columns }, (bytes) => this.#have(index, bytes));
  }

  #ask(block: BlockRange, arrived: (bytes: Uint8Array) => void): void {
    this.#pending += 1;
    void this.#read(block, arrived);
  }

  async #read(block: BlockRange, arrived: (bytes: Uint8Array) => void): Promise<void> {
    try {
      const bytes = await this.#request.readBlock(block);
      this.#pending -= 1;
      arrived(bytes);
      this.#conclude();
    } catch (error) {
      this.#pending -= 1;
      this.#failed(block.index, error);
    }
  }

  #failed(index: number, error: unknown): void {
    this.#expected.delete(index);
    if (!(error instanceof ShardFault)) {
      this.#fail(error);
      return;
    }
    if (!this.#faults.has(index)) this.#request.onFault(index, error);
    this.#faults.set(index, error);
    if (!this.#isDone) this.#recover();
  }

  #expect(index: number): void {
    this.#asked.add(index);
    this.#expected.add(index);
  }

  #have(index: number, bytes: Uint8Array): void {
    this.#expected.delete(index);
    if (this.#blocks[index]) return;
    this.#blocks[index] = bytes;
    this.#blocksAtHand += 1;
  }

  /** Asks for as many more blocks as are needed to have k, counting those on their way. */
  #recover(): void {
    this.#isRecovering = true;
    const { codec, order } = this.#request;
    const late = order.filter((index) => this.#late.has(index));
    for (const index of [...order.filter((one) => !this.#late.has(one)), ...late]) {
      if (this.#blocksAtHand + this.#expected.size >= codec.k) break;
      if (!this.#asked.has(index) && !this.#faults.has(index)) this.#askColumns(index);
    }
    this.#conclude();
  }

  #conclude(): void {
    if (this.#isDone) return;
    if (this.#directMissing === 0) return this.#succeed(this.#direct as readonly Uint8Array[]);
    if (this.#isRecovering && this.#blocksAtHand >= this.#request.codec.k) {
      return this.#succeed(this.#recovered());
    }
    if (this.#pending === 0) this.#fail(new TooFewShards(this.#faults));
  }

  #recovered(): readonly Uint8Array[] {
    const { codec, wanted } = this.#request;
    const missing = wanted.filter(({ index }, place) => {
      return !this.#direct[place] && !this.#blocks[index];
    });
    const rebuilt =
      missing.length === 0
        ? []
        : codec.rebuild(
            this.#blocks,
            missing.map(({ index }) => index),
          );
    missing.forEach(({ index }, place) => {
      this.#blocks[index] = rebuilt[place];
    });
    return wanted.map(({ index, from, to }, place) => {
      const columns = this.#blocks[index] as Uint8Array;
      const start = from - this.#columns.from;
      return this.#direct[place] ?? columns.subarray(start, start + to - from);
    });
  }

  #succeed(pieces: readonly Uint8Array[]): void {
    this.#end();
    this.#result.resolve(pieces);
  }

  #fail(error: unknown): void {
    this.#end();
    this.#result.reject(error);
  }

  #end(): void {
    this.#isDone = true;
    this.#request.pace.unwatch(this);
  }
}
