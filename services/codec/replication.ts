/** Copies: every block of a stripe is the stripe. A body of one piece is not copied; others are put together, so that they are written as one. */
import type { Codec, EncodedStripe, StripeEncoder } from "#codec/codec.ts";
import type { BufferPool } from "#lib/buffer-pool.ts";

interface EncoderOptions {
  readonly unit: number;
  readonly copies: number;
  readonly pool: BufferPool;
  readonly size: number | undefined;
}

export class Replication implements Codec {
  readonly name: string;
  readonly k = 1;
  readonly m: number;
  readonly unit: number;
  readonly #pool: BufferPool;

  constructor(
    { name, copies, unit }: { name: string; copies: number; unit: number },
    pool: BufferPool,
  ) {
    this.name = name;
    this.m = copies - 1;
    this.unit = unit;
    this.#pool = pool;
  }

  encoder(signal: AbortSignal, size: number | undefined): Promise<StripeEncoder> {
    signal.throwIfAborted();
    const { unit, m } = this;
    return Promise.resolve(new ReplicaEncoder({ unit, copies: 1 + m, pool: this.#pool, size }));
  }

  decode(blocks: readonly (Uint8Array | undefined)[], length: number): readonly Uint8Array[] {
    const copy = anyCopy(blocks);
    if (copy.length !== length) {
      throw new Error(`Cannot decode ${this.name}: a copy has ${copy.length} bytes, not ${length}`);
    }
    return [copy];
  }

  rebuild(
    blocks: readonly (Uint8Array | undefined)[],
    wanted: readonly number[],
  ): readonly Uint8Array[] {
    const copy = anyCopy(blocks);
    return wanted.map(() => copy);
  }
}

class ReplicaEncoder implements StripeEncoder {
  readonly #unit: number;
  readonly #copies: number;
  readonly #pool: BufferPool;
  /** Bytes of the body still to come; more than there will be when its size is not known. */
  #rest: number;
  /** The body, when it came as one piece. */
  #only: Uint8Array | undefined;
  #buffer: Buffer | undefined;
  #gathered = 0;

  constructor({ unit, copies, pool, size }: EncoderOptions) {
    this.#unit = unit;
    this.#copies = copies;
    this.#pool = pool;
    this.#rest = size ?? Number.POSITIVE_INFINITY;
  }

  get isFull(): boolean {
    return this.#gathered === this.#unit;
  }

  get gathered(): number {
    return this.#gathered;
  }

  push(bytes: Uint8Array): number {
    const taken = Math.min(bytes.length, this.#unit - this.#gathered);
    if (taken === 0) return 0;
    if (this.#gathered === 0 && taken === this.#rest) {
      this.#only = taken === bytes.length ? bytes : bytes.subarray(0, taken);
    } else {
      this.#buffer ??= this.#pool.take(Math.min(this.#unit, this.#rest));
      this.#buffer.set(taken === bytes.length ? bytes : bytes.subarray(0, taken), this.#gathered);
    }
    this.#gathered += taken;
    this.#rest -= taken;
    return taken;
  }

  finish(): EncodedStripe {
    const length = this.#gathered;
    if (length === 0) throw new Error("Cannot finish a stripe: nothing was gathered");
    const buffer = this.#buffer;
    const block = [this.#only ?? (buffer as Buffer).subarray(0, length)];
    this.#only = undefined;
    this.#buffer = undefined;
    this.#gathered = 0;
    return {
      length,
      blocks: Array.from({ length: this.#copies }, () => block),
      blockLength: length,
      release: once(() => buffer && this.#pool.give(buffer)),
    };
  }

  discard(): void {
    if (this.#buffer) this.#pool.give(this.#buffer);
    this.#only = undefined;
    this.#buffer = undefined;
    this.#gathered = 0;
  }
}

/** A buffer given back twice would be used by two. */
function once(work: () => void): () => void {
  let isDone = false;
  return () => {
    if (isDone) return;
    isDone = true;
    work();
  };
}

function anyCopy(blocks: readonly (Uint8Array | undefined)[]): Uint8Array {
  const copy = blocks.find((block) => block !== undefined);
  if (!copy) throw new Error("Cannot read a replica: no copy is at hand");
  return copy;
}
