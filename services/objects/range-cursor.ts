/** Walks a range of the index entry by entry, in batches that grow while they are used up, and seeks ahead. */
import { afterKey, type KeyRange } from "#metadata/keys.ts";
import type { Entry, MetadataStore } from "#metadata/metadata-store.ts";

const BATCH_FIRST = 16;

/** What a cursor stands on. */
export interface Place {
  readonly entry: Entry;
  /** The object key that the entry's key holds. */
  readonly key: string;
}

export class RangeCursor {
  readonly #store: MetadataStore;
  readonly #batchMax: number;
  readonly #keyOf: (key: Uint8Array) => string;
  readonly #signal: AbortSignal;
  #range: KeyRange | undefined;
  #batch: number;
  #entries: readonly Entry[] = [];
  #at = 0;
  #place: Place | undefined;

  constructor(parts: {
    store: MetadataStore;
    batchMax: number;
    keyOf: (key: Uint8Array) => string;
    signal: AbortSignal;
  }) {
    this.#store = parts.store;
    this.#batchMax = parts.batchMax;
    this.#keyOf = parts.keyOf;
    this.#signal = parts.signal;
    this.#batch = Math.min(BATCH_FIRST, parts.batchMax);
  }

  open(range: KeyRange): void {
    this.#range = range;
    this.#entries = [];
    this.#at = 0;
  }

  /** The next batch is needed before `place` can tell where the cursor stands. */
  get isDry(): boolean {
    return this.#at >= this.#entries.length && this.#range !== undefined;
  }

  /** undefined behind the last entry. */
  get place(): Place | undefined {
    const entry = this.#entries[this.#at];
    if (entry === undefined) return undefined;
    if (this.#place?.entry !== entry) this.#place = { entry, key: this.#keyOf(entry.key) };
    return this.#place;
  }

  advance(): void {
    this.#at += 1;
  }

  /** To the first entry that is not below `key`, within what was read or by a new range. */
  seek(key: Buffer): void {
    for (let entry = this.#entries[this.#at]; entry; entry = this.#entries[this.#at]) {
      if (key.compare(entry.key) <= 0) return;
      this.#at += 1;
    }
    const range = this.#range;
    if (range === undefined) return;
    if (key.compare(range.to) >= 0) this.#range = undefined;
    else if (key.compare(range.from) > 0) this.#range = { from: key, to: range.to };
    this.#batch = Math.max(this.#batch >> 1, 1);
  }

  async fill(): Promise<void> {
    const range = this.#range;
    if (range === undefined) return;
    const request = { from: range.from, to: range.to, limit: this.#batch };
    const { entries, more } = await this.#store.range(request, this.#signal);
    const last = entries.at(-1);
    this.#entries = entries;
    this.#at = 0;
    this.#range =
      more && last !== undefined ? { from: afterKey(last.key), to: range.to } : undefined;
    this.#batch = Math.min(2 * this.#batch, this.#batchMax);
  }
}
