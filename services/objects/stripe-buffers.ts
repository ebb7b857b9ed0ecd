/** Where streamed stripes are read to. */
import type { BufferPool } from "#lib/buffer-pool.ts";

/** The buffers that hold the blocks of one stripe. */
export class StripeBuffers {
  readonly #pool: BufferPool;
  readonly #filled: Buffer[] = [];

  constructor(pool: BufferPool) {
    this.#pool = pool;
  }

  /** A buffer whose read fails, or ends after the stripe was given back, is left to the garbage collector. */
  async fill(bytes: number, read: (into: Uint8Array) => Promise<Uint8Array>): Promise<Uint8Array> {
    const buffer = this.#pool.take(bytes);
    const got = await read(buffer);
    this.#filled.push(buffer);
    return got;
  }

  giveBack(): void {
    for (const buffer of this.#filled.splice(0)) this.#pool.give(buffer);
  }
}
