/** Reed–Solomon over GF(2⁸): k data blocks, m parity blocks, any k of them give the stripe back. */
import { BLOCK_ALIGNMENT, type BlockMath } from "#codec/block-math.ts";
import type { BlockRecovery } from "#codec/block-recovery.ts";
import type { Codec, EncodedStripe, StripeEncoder } from "#codec/codec.ts";
import type { Matrix } from "#codec/gf256.ts";
import { parityMatrix, recoveryMatrix } from "#codec/parity-matrix.ts";
import type { Run, StripePool } from "#codec/stripe-pool.ts";

/** Patterns of loss met at a time are few: those of the disks that are away. */
const RECOVERIES_MAX = 64;

type Blocks = readonly (Uint8Array | undefined)[];

export class ReedSolomon implements Codec {
  readonly name: string;
  readonly k: number;
  readonly m: number;
  readonly unit: number;
  readonly #parity: Matrix;
  readonly #recoveries = new Map<string, Matrix>();
  readonly #pool: () => StripePool;
  readonly #recovery: () => BlockRecovery;

  /** Memory is made when it is first used: a process that only reads needs none for stripes. */
  constructor(
    { name, k, m, unit }: { name: string; k: number; m: number; unit: number },
    memory: { readonly pool: () => StripePool; readonly recovery: () => BlockRecovery },
  ) {
    this.name = name;
    this.k = k;
    this.m = m;
    this.unit = unit;
    this.#parity = parityMatrix(k, m);
    this.#pool = memory.pool;
    this.#recovery = memory.recovery;
  }

  async encoder(signal: AbortSignal, size: number | undefined): Promise<StripeEncoder> {
    const stripe = this.k * this.unit;
    const body = size ?? Number.POSITIVE_INFINITY;
    // While one stripe is on its way to the disks the next is gathered.
    const stripes = [Math.min(body, stripe), Math.min(body - stripe, stripe)];
    const sizes = stripes.filter((bytes) => bytes > 0).map((bytes) => this.#stripeMemory(bytes));
    const pool = this.#pool();
    const runs = await pool.take(sizes, signal);
    return new ReedSolomonEncoder(
      { k: this.k, m: this.m, unit: this.unit, parity: this.#parity, math: pool.math },
      { runs, size: body },
    );
  }

  decode(blocks: Blocks, length: number): readonly Uint8Array[] {
    const blockLength = Math.ceil(length / this.k);
    const pieces: Uint8Array[] = [];
    const missing: number[] = [];
    for (let index = 0; index * blockLength < length; index += 1) {
      const block = blocks[index];
      if (block) pieces[index] = block;
      else missing.push(index);
    }
    if (missing.length > 0) {
      this.rebuild(blocks, missing).forEach((block, position) => {
        pieces[missing[position] as number] = block;
      });
    }
    for (const piece of pieces) {
      if (piece.length !== blockLength) {
        throw new Error(
          `Cannot decode ${this.name}: a block has ${piece.length} bytes, not ${blockLength}`,
        );
      }
    }
    const last = pieces.length - 1;
    if (last >= 0)
      pieces[last] = (pieces[last] as Uint8Array).subarray(0, length - last * blockLength);
    return pieces;
  }

  rebuild(blocks: Blocks, wanted: readonly number[]): readonly Uint8Array[] {
    const given = this.#given(blocks, wanted);
    const key = `${given.join()}>${wanted.join()}`;
    let matrix = this.#recoveries.get(key);
    if (!matrix) {
      if (this.#recoveries.size === RECOVERIES_MAX) this.#recoveries.clear();
      matrix = recoveryMatrix(this, { given, wanted });
      this.#recoveries.set(key, matrix);
    }
    const inputs = given.map((index) => blocks[index] as Uint8Array);
    return this.#recovery().recover(matrix, inputs);
  }

  /** Indexes of k blocks at hand other than the wanted ones; data first, then parity 0, whose sums are cheapest. */
  #given(blocks: Blocks, wanted: readonly number[]): number[] {
    const given: number[] = [];
    for (let index = 0; index < this.k + this.m && given.length < this.k; index += 1) {
      if (blocks[index] && !wanted.includes(index)) given.push(index);
    }
    if (given.length < this.k) {
      throw new Error(
        `Cannot rebuild blocks of ${this.name}: ${given.length} others are at hand, ${this.k} are needed`,
      );
    }
    return given;
  }

  #stripeMemory(bytes: number): number {
    const blockLength = Math.ceil(bytes / this.k);
    return aligned(this.k * blockLength) + this.m * aligned(blockLength) + BLOCK_ALIGNMENT;
  }
}

interface EncoderOptions {
  readonly k: number;
  readonly m: number;
  readonly unit: number;
  readonly parity: Matrix;
  readonly math: BlockMath;
}

class ReedSolomonEncoder implements StripeEncoder {
  readonly #options: EncoderOptions;
  readonly #stripeBytes: number;
  /** Runs not in use. */
  readonly #spare: Run[];
  #current: Run | undefined;
  #gathered = 0;
  /** Bytes still to come. */
  #rest: number;

  constructor(options: EncoderOptions, { runs, size }: { runs: readonly Run[]; size: number }) {
    this.#options = options;
    this.#stripeBytes = options.k * options.unit;
    this.#spare = runs.toReversed();
    this.#rest = size;
  }

  get isFull(): boolean {
    return this.#gathered === this.#stripeBytes;
  }

  get gathered(): number {
    return this.#gathered;
  }

  push(bytes: Uint8Array): number {
    const room = this.#stripeBytes - this.#gathered;
    const taken = bytes.length <= room ? bytes : bytes.subarray(0, room);
    if (taken.length === 0) return 0;
    if (taken.length > this.#rest) {
      throw new Error(`Cannot gather ${taken.length} bytes: ${this.#rest} more were announced`);
    }
    this.#current ??= this.#spare.pop();
    if (!this.#current) {
      throw new Error("Cannot gather a third stripe: neither of two finished ones was released");
    }
    this.#options.math.memory.set(taken, this.#current.offset + this.#gathered);
    this.#gathered += taken.length;
    this.#rest -= taken.length;
    return taken.length;
  }

  finish(): EncodedStripe {
    const run = this.#current;
    if (!run) throw new Error("Cannot finish a stripe: nothing was gathered");
    const length = this.#gathered;
    const { blocks, blockLength } = this.#encode(run.offset, length);
    this.#current = undefined;
    this.#gathered = 0;
    if (length < this.#stripeBytes) this.#rest = 0;
    if (this.#rest === 0) this.#freeSpare();
    let isReleased = false;
    const release = () => {
      if (!isReleased) this.#takeBack(run);
      isReleased = true;
    };
    return { length, blocks, blockLength, release };
  }

  discard(): void {
    this.#rest = 0;
    this.#gathered = 0;
    this.#current?.free();
    this.#current = undefined;
    this.#freeSpare();
  }

  #encode(offset: number, length: number): Pick<EncodedStripe, "blocks" | "blockLength"> {
    const { k, m, parity, math } = this.#options;
    const blockLength = Math.ceil(length / k);
    math.memory.fill(0, offset + length, offset + k * blockLength);
    const inputs = offsets(offset, k, blockLength);
    const outputs = offsets(offset + aligned(k * blockLength), m, aligned(blockLength));
    math.multiply(parity, { inputs, outputs, length: blockLength });
    const blocks = [...inputs, ...outputs].map((start) => [
      math.memory.subarray(start, start + blockLength),
    ]);
    return { blocks, blockLength };
  }

  #takeBack(run: Run): void {
    const begun = this.#current ? this.#stripeBytes - this.#gathered : 0;
    const room = begun + this.#spare.length * this.#stripeBytes;
    if (this.#rest > room) this.#spare.push(run);
    else run.free();
  }

  #freeSpare(): void {
    for (const run of this.#spare.splice(0)) run.free();
  }
}

function offsets(start: number, count: number, stride: number): number[] {
  return Array.from({ length: count }, (_, index) => start + index * stride);
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / BLOCK_ALIGNMENT) * BLOCK_ALIGNMENT;
}
