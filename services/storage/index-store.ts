/**
 * The ordered bytes under the shard index, shared by all processes of a disk: LMDB on a real disk,
 * memory where the disk itself is in memory. Losing it loses nothing: it is made of the volumes.
 */

/** A key and its value; both may be kept, neither changed. */
export type IndexRow = readonly [key: Buffer, value: Buffer];

export interface IndexView {
  /** Bytes that stay as they are only until the next call; copy what is kept. */
  get(key: Buffer): Buffer | undefined;
  /** Rows with from ≤ key < to, in byte order. */
  range(from: Buffer, to: Buffer, limit: number): readonly IndexRow[];
}

export interface IndexTransaction extends IndexView {
  put(key: Buffer, value: Buffer): void;
  remove(key: Buffer): void;
}

export interface IndexStore extends IndexView, AsyncDisposable {
  /**
   * Runs `work` against the latest state, alone among all processes, and makes its changes visible to
   * all of them at once. Work throws before its first change or not at all. Transactions of one
   * process run in the order of the calls.
   */
  transact<T>(work: (index: IndexTransaction) => T): Promise<T>;
  /** What was visible before the call survives a power cut. Nobody's acknowledgement waits for this. */
  flush(): Promise<void>;
}

/** For disks in memory. What is in it is lost with the process, so opening scans the volumes. */
export class MemoryIndexStore implements IndexStore, IndexTransaction {
  /** By key in latin1, whose order is that of the bytes. */
  readonly #rows = new Map<string, Buffer>();
  #sorted: string[] | undefined = [];

  get(key: Buffer): Buffer | undefined {
    return this.#rows.get(key.toString("latin1"));
  }

  range(from: Buffer, to: Buffer, limit: number): readonly IndexRow[] {
    this.#sorted ??= [...this.#rows.keys()].toSorted((left, right) => (left < right ? -1 : 1));
    const first = from.toString("latin1");
    const end = to.toString("latin1");
    const rows: IndexRow[] = [];
    for (let at = lowerBound(this.#sorted, first); rows.length < limit; at++) {
      const key = this.#sorted[at];
      const value = key === undefined || key >= end ? undefined : this.#rows.get(key);
      if (key === undefined || value === undefined) break;
      rows.push([Buffer.from(key, "latin1"), value]);
    }
    return rows;
  }

  async transact<T>(work: (index: IndexTransaction) => T): Promise<T> {
    return work(this);
  }

  put(key: Buffer, value: Buffer): void {
    const name = key.toString("latin1");
    if (!this.#rows.has(name)) this.#sorted = undefined;
    this.#rows.set(name, Buffer.from(value));
  }

  remove(key: Buffer): void {
    if (this.#rows.delete(key.toString("latin1"))) this.#sorted = undefined;
  }

  async flush(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {}
}

function lowerBound(sorted: readonly string[], key: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] ?? "") < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
