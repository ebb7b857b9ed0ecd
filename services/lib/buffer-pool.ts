/**
 * Large buffers that are used over and over: a fresh megabyte for each block costs more in page faults and
 * garbage collections than what is done with it.
 */

/** Smaller buffers are cheap enough to make, and larger ones rare. */
const KEPT_BYTES_MIN = 64 * 1024;
const KEPT_BYTES_MAX = 4 * 1024 * 1024;

/** Free buffers, by size. */
export class BufferPool {
  readonly #free = new Map<number, Buffer[]>();
  readonly #freeBytesMax: number;
  #freeBytes = 0;

  constructor(freeBytesMax: number) {
    this.#freeBytesMax = freeBytesMax;
  }

  /** At least so long, with anything in it. */
  take(bytes: number): Buffer {
    if (bytes < KEPT_BYTES_MIN || bytes > KEPT_BYTES_MAX) return Buffer.allocUnsafeSlow(bytes);
    const size = powerOfTwo(bytes);
    const buffer = this.#free.get(size)?.pop();
    if (buffer === undefined) return Buffer.allocUnsafeSlow(size);
    this.#freeBytes -= size;
    return buffer;
  }

  /** The caller must not look at it any more, and nobody may be writing into it. */
  give(buffer: Buffer): void {
    const size = buffer.length;
    if (size < KEPT_BYTES_MIN || size !== powerOfTwo(size)) return;
    if (this.#freeBytes + size > this.#freeBytesMax) return;
    this.#freeBytes += size;
    const free = this.#free.get(size);
    if (free) free.push(buffer);
    else this.#free.set(size, [buffer]);
  }
}

function powerOfTwo(bytes: number): number {
  return 2 ** Math.ceil(Math.log2(bytes));
}
