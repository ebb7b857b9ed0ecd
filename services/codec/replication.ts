/** Copies: every block of a stripe is the stripe. Nothing is copied here; blocks are the pieces as they came. */
import type { Codec, EncodedStripe, StripeEncoder } from "#codec/codec.ts";

/**
 * So many pieces are kept as they come, and larger ones always; smaller ones that follow are gathered in
 * buffers, so that a body sent byte by byte neither costs an object a byte nor makes endless write lists.
 */
const SMALL_PIECES_MAX = 16;
const SMALL_PIECE_BYTES = 16 * 1024;
const GATHERING_BYTES = 64 * 1024;

export class Replication implements Codec {
  readonly name: string;
  readonly k = 1;
  readonly m: number;
  readonly unit: number;

  constructor({ name, copies, unit }: { name: string; copies: number; unit: number }) {
    this.name = name;
    this.m = copies - 1;
    this.unit = unit;
  }

  encoder(signal: AbortSignal): Promise<StripeEncoder> {
    signal.throwIfAborted();
    return Promise.resolve(new ReplicaEncoder(this.unit, 1 + this.m));
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
  #pieces: Uint8Array[] = [];
  #gathered = 0;
  /** Where small pieces are put together, and how much of it is in use; its used part is the last piece when `#isGathering`. */
  #buffer: Buffer | undefined;
  #bufferStart = 0;
  #bufferEnd = 0;
  #isGathering = false;

  constructor(unit: number, copies: number) {
    this.#unit = unit;
    this.#copies = copies;
  }

  get isFull(): boolean {
    return this.#gathered === this.#unit;
  }

  get gathered(): number {
    return this.#gathered;
  }

  push(bytes: Uint8Array): number {
    const room = this.#unit - this.#gathered;
    const taken = bytes.length <= room ? bytes : bytes.subarray(0, room);
    if (taken.length === 0) return 0;
    this.#gathered += taken.length;
    if (this.#pieces.length < SMALL_PIECES_MAX || taken.length >= SMALL_PIECE_BYTES) {
      this.#pieces.push(taken);
      this.#isGathering = false;
    } else {
      this.#gather(taken);
    }
    return taken.length;
  }

  finish(): EncodedStripe {
    if (this.#gathered === 0) throw new Error("Cannot finish a stripe: nothing was gathered");
    const pieces = this.#pieces;
    const length = this.#gathered;
    this.discard();
    return {
      length,
      blocks: Array.from({ length: this.#copies }, () => pieces),
      blockLength: length,
      release: () => undefined,
    };
  }

  discard(): void {
    this.#pieces = [];
    this.#gathered = 0;
    this.#isGathering = false;
  }

  #gather(small: Uint8Array): void {
    if (!this.#buffer || this.#bufferEnd + small.length > this.#buffer.length) {
      this.#buffer = Buffer.allocUnsafeSlow(GATHERING_BYTES);
      this.#bufferEnd = 0;
      this.#isGathering = false;
    }
    if (!this.#isGathering) this.#bufferStart = this.#bufferEnd;
    this.#buffer.set(small, this.#bufferEnd);
    this.#bufferEnd += small.length;
    const piece = this.#buffer.subarray(this.#bufferStart, this.#bufferEnd);
    if (this.#isGathering) this.#pieces[this.#pieces.length - 1] = piece;
    else this.#pieces.push(piece);
    this.#isGathering = true;
  }
}

function anyCopy(blocks: readonly (Uint8Array | undefined)[]): Uint8Array {
  const copy = blocks.find((block) => block !== undefined);
  if (!copy) throw new Error("Cannot read a replica: no copy is at hand");
  return copy;
}
