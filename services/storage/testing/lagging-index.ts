/** An index that a power cut takes back to some earlier transaction, but not behind the last flush, as LMDB does. */
import type { Random } from "#lib/random.ts";
import {
  type IndexRow,
  type IndexStore,
  type IndexTransaction,
  MemoryIndexStore,
} from "#storage/index-store.ts";

type Change = readonly [key: Buffer, value: Buffer | undefined];

export class LaggingIndex implements IndexStore {
  readonly #rows = new MemoryIndexStore();
  readonly #transactions: (readonly Change[])[] = [];
  #flushed = 0;

  get(key: Buffer): Buffer | undefined {
    return this.#rows.get(key);
  }

  range(from: Buffer, to: Buffer, limit: number): readonly IndexRow[] {
    return this.#rows.range(from, to, limit);
  }

  async transact<T>(work: (index: IndexTransaction) => T): Promise<T> {
    const changes: Change[] = [];
    const result = await this.#rows.transact((rows) =>
      work({
        get: (key) => rows.get(key),
        range: (from, to, limit) => rows.range(from, to, limit),
        put: (key, value) => {
          changes.push([Buffer.from(key), Buffer.from(value)]);
          rows.put(key, value);
        },
        remove: (key) => {
          changes.push([Buffer.from(key), undefined]);
          rows.remove(key);
        },
      }),
    );
    this.#transactions.push(changes);
    return result;
  }

  async flush(): Promise<void> {
    this.#flushed = this.#transactions.length;
  }

  /** What a power cut leaves. */
  crash(random: Random): LaggingIndex {
    const unflushed = this.#transactions.length - this.#flushed;
    return this.#without(Math.floor(random.fraction() * (unflushed + 1)));
  }

  /** What is left to others when the processes die: all of it, and the dead can change it no more. */
  kill(): LaggingIndex {
    return this.#without(0);
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #without(lost: number): LaggingIndex {
    const left = new LaggingIndex();
    const kept = this.#transactions.slice(0, this.#transactions.length - lost);
    for (const [key, value] of kept.flat()) {
      if (value === undefined) left.#rows.remove(key);
      else left.#rows.put(key, value);
    }
    left.#transactions.push(kept.flat());
    left.#flushed = 1;
    return left;
  }
}
