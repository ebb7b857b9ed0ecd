/** Randomness comes in by constructor, so that a run can be replayed from its seed. */
import { randomFillSync } from "node:crypto";

export interface Random {
  /** Fresh random bytes, owned by the caller. */
  bytes(length: number): Buffer;
  /** A number in [0, 1). */
  fraction(): number;
}

/** Bytes are drawn from the system in blocks of this size: one call a hundred ids. */
const POOL_BYTES = 4096;

class SystemRandom implements Random {
  #pool = Buffer.alloc(0);
  #used = 0;

  bytes(length: number): Buffer {
    if (length > POOL_BYTES) return randomFillSync(Buffer.allocUnsafe(length));
    if (this.#used + length > this.#pool.length) {
      this.#pool = randomFillSync(Buffer.allocUnsafeSlow(POOL_BYTES));
      this.#used = 0;
    }
    const start = this.#used;
    this.#used += length;
    return Buffer.from(this.#pool.subarray(start, this.#used));
  }

  fraction(): number {
    return this.bytes(4).readUInt32LE() / 0x1_0000_0000;
  }
}

export const systemRandom: Random = new SystemRandom();

/** A repeatable generator, for tests and simulation only. */
export class SeededRandom implements Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0 || 0x9e3779b9;
  }

  /** Mulberry32: 32 bits of state are enough to replay a test. */
  fraction(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length);
    for (let index = 0; index < length; index++) bytes[index] = Math.floor(this.fraction() * 256);
    return bytes;
  }
}
