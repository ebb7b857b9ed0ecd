/**
 * Bytes ↔ shards. An object's bytes are cut into stripes; each stripe becomes n = k + m blocks, block i
 * going to shard i; any k of them give the stripe back. `codec.contract.ts` holds the promises.
 *
 * A full stripe has `unit × k` bytes. The last one, of r bytes, has blocks of ⌈r / k⌉ bytes, zeros at its end.
 * An empty object has no stripe and its shards no blocks.
 */

export interface EncodedStripe {
  /** Bytes of the object in this stripe. */
  readonly length: number;
  /** n blocks, each in one or more pieces; valid until `release`. */
  readonly blocks: readonly (readonly Uint8Array[])[];
  /** Bytes of each block. */
  readonly blockLength: number;
  /** Gives the memory back. */
  release(): void;
}

/** Gathers the bytes of one stripe after another. At most one finished stripe may wait for its release while the next is gathered. */
export interface StripeEncoder {
  /**
   * Takes bytes up to the stripe's end and says how many. They are the caller's again when it returns, but for the
   * last ones of a body whose size is known: those must stay unchanged until the stripe's release.
   */
  push(bytes: Uint8Array): number;
  /** True when `finish` must be called before the next push. */
  readonly isFull: boolean;
  /** Bytes gathered since the last finish. */
  readonly gathered: number;
  /** Encodes what was gathered (at least one byte) and starts the next stripe. */
  finish(): EncodedStripe;
  /** Gives back all memory but that of finished stripes. To be called in the end, whatever happened; harmless when called again. */
  discard(): void;
}

export interface Codec {
  /** `replica-3`, `ec-4+2`. */
  readonly name: string;
  /** Shards needed to read. */
  readonly k: number;
  /** Shards that may be lost. */
  readonly m: number;
  /** Bytes of a block of a full stripe. */
  readonly unit: number;
  /**
   * Waits while the memory for stripes is used up by others. `size` is that of the whole body (undefined: not known yet),
   * so that a small one takes little memory; no more than it may be pushed.
   */
  encoder(signal: AbortSignal, size: number | undefined): Promise<StripeEncoder>;
  /**
   * The stripe's `length` bytes from any k of its n blocks (undefined = not at hand), in one or more pieces in order.
   * With all data blocks given nothing is copied.
   */
  decode(blocks: readonly (Uint8Array | undefined)[], length: number): readonly Uint8Array[];
  /** The blocks of the indexes wanted, rebuilt from any k others. */
  rebuild(
    blocks: readonly (Uint8Array | undefined)[],
    wanted: readonly number[],
  ): readonly Uint8Array[];
}
