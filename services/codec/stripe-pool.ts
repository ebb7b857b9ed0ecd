/**
 * The memory that stripes are gathered and encoded in: one WebAssembly memory, so that a body's bytes are
 * copied once, and of fixed size, so that the views on it stay good and a process stays bounded.
 *
 * It is given out in runs of whole pages to encoders in the order they asked. An encoder gets all it will
 * ever hold at once: none waits for memory while holding some, so there is no deadlock, and each one's
 * memory comes back when its body and its disks are done.
 */
import type { BlockMath } from "#codec/block-math.ts";

/** A run costs at most one page more than it needs, and a default pool has a thousand pages to search. */
const PAGE_BYTES = 64 * 1024;

/** A run of the pool's memory; `free` gives it back, once. */
export interface Run {
  readonly offset: number;
  free(): void;
}

interface Waiter {
  readonly sizes: readonly number[];
  readonly granted: PromiseWithResolvers<readonly Run[]>;
}

export class StripePool {
  readonly math: BlockMath;
  /** A byte for each page: 1 when it is taken. */
  readonly #taken: Uint8Array;
  readonly #waiters = new Set<Waiter>();

  constructor(math: BlockMath) {
    this.math = math;
    this.#taken = new Uint8Array(Math.floor((math.memory.length - math.start) / PAGE_BYTES));
  }

  /** One run of each size, all at once. */
  async take(sizes: readonly number[], signal: AbortSignal): Promise<readonly Run[]> {
    signal.throwIfAborted();
    const pages = sizes.reduce((sum, size) => sum + pagesFor(size), 0);
    if (pages > this.#taken.length) {
      throw new Error(
        `Cannot take memory for stripes: ${pages * PAGE_BYTES} bytes are needed, the pool has ${this.#taken.length * PAGE_BYTES}`,
      );
    }
    const runs = this.#waiters.size === 0 ? this.#tryTake(sizes) : undefined;
    return runs ?? this.#wait(sizes, signal);
  }

  async #wait(sizes: readonly number[], signal: AbortSignal): Promise<readonly Run[]> {
    const waiter: Waiter = { sizes, granted: Promise.withResolvers() };
    const giveUp = () => {
      this.#waiters.delete(waiter);
      waiter.granted.reject(signal.reason);
      // Those behind may ask for less.
      this.#serve();
    };
    this.#waiters.add(waiter);
    signal.addEventListener("abort", giveUp, { once: true });
    try {
      return await waiter.granted.promise;
    } finally {
      signal.removeEventListener("abort", giveUp);
    }
  }

  #serve(): void {
    for (const waiter of this.#waiters) {
      const runs = this.#tryTake(waiter.sizes);
      // Strictly in turn: a large request behind many small ones would otherwise wait for ever.
      if (!runs) return;
      this.#waiters.delete(waiter);
      waiter.granted.resolve(runs);
    }
  }

  #tryTake(sizes: readonly number[]): readonly Run[] | undefined {
    const runs: Run[] = [];
    for (const size of sizes) {
      const first = this.#mark(pagesFor(size));
      if (first === undefined) {
        for (const run of runs) run.free();
        return undefined;
      }
      runs.push(this.#run(first, pagesFor(size)));
    }
    return runs;
  }

  #run(first: number, pages: number): Run {
    let isFree = false;
    return {
      offset: this.math.start + first * PAGE_BYTES,
      free: () => {
        if (isFree) return;
        isFree = true;
        this.#taken.fill(0, first, first + pages);
        this.#serve();
      },
    };
  }

  /** Takes the first run of so many free pages. */
  #mark(pages: number): number | undefined {
    let first = this.#taken.indexOf(0);
    while (first >= 0 && first + pages <= this.#taken.length) {
      const next = this.#taken.indexOf(1, first);
      if (next < 0 || next - first >= pages) {
        this.#taken.fill(1, first, first + pages);
        return first;
      }
      first = this.#taken.indexOf(0, next);
    }
    return undefined;
  }
}

function pagesFor(bytes: number): number {
  return Math.ceil(bytes / PAGE_BYTES);
}
