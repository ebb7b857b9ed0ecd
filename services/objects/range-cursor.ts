/** Walks a range of the index entry by entry, in batches that grow while they are used up, and seeks ahead. */
import { afterKey, type KeyRange } from "#metadata/keys.ts";
import type { Entry, MetadataStore } from "#metadata/metadata-store.ts";

const BATCH_FIRST = 16;

export class RangeCursor {
  readonly #store: MetadataStore;
  readonly #batchMax: number;
  readonly #signal: AbortSignal;
  #range: KeyRange | undefined;
  #batch: number;
  #entries: readonly Entry[] = [];
  #at = 0;

  constructor(store: MetadataStore, batchMax: number, signal: AbortSignal) {
    this.#store = store;
    this.#batchMax = batchMax;
    this.#signal = signal;
    this.#batch = Math.min(BATCH_FIRST, batchMax);
  }

  open(range: KeyRange): void {
    this.#range = range;
    this.#entries = [];
    this.#at = 0;
  }

  /** The entry that the cursor stands on; undefined behind the last. */
  async peek(): Promise<Entry | undefined> {
    if (this.#at >= this.#entries.length && this.#range !== undefined)
      await this.#fill(this.#range);
    return this.#entries[this.#at];
  }

  advance(): void {
    this.#at += 1;
  }

  /** To the first entry that is not below `key`, within what was read or by a new range. */
  seek(key: Buffer): void {
    while (
      this.#at < this.#entries.length &&
      key.compare(this.#entries[this.#at]?.key ?? key) > 0
    ) {
      this.#at += 1;
    }
    if (this.#at < this.#entries.length || this.#range === undefined) return;
    const isAhead = key.compare(this.#range.from) > 0;
    if (isAhead)
      this.#range = key.compare(this.#range.to) >= 0 ? undefined : { ...this.#range, from: key };
    this.#batch = Math.max(this.#batch >> 1, 1);
  }

  async #fill(range: KeyRange): Promise<void> {
    const { entries, more } = await this.#store.range(
      { ...range, limit: this.#batch },
      this.#signal,
    );
    const last = entries.at(-1);
    this.#entries = entries;
    this.#at = 0;
    this.#range =
      more && last !== undefined ? { from: afterKey(last.key), to: range.to } : undefined;
    this.#batch = Math.min(2 * this.#batch, this.#batchMax);
  }
}
