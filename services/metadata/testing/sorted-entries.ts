/**
 * Keys in byte order, for stores that live in memory: blocks of neighbouring entries, so that a write moves a few
 * hundred pointers at most, a lookup is two binary searches, and a scan walks arrays.
 */
import type { Entry } from "#metadata/metadata-store.ts";

/** A full block is split in two. Moving 256 pointers costs less than walking one more level. */
const BLOCK_ENTRIES_MAX = 256;

export interface StoredEntry extends Entry {
  readonly key: Buffer;
}

export class SortedEntries {
  /** In order; none is empty, but for the only one of an empty store. */
  readonly #blocks: StoredEntry[][] = [[]];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(key: Uint8Array): StoredEntry | undefined {
    const block = this.#blocks[this.#blockOf(key)];
    const entry = block?.[placeOf(block, key)];
    return entry?.key.equals(key) ? entry : undefined;
  }

  set(entry: StoredEntry): void {
    const number = this.#blockOf(entry.key);
    const block = this.#blocks[number] ?? [];
    const place = placeOf(block, entry.key);
    if (block[place]?.key.equals(entry.key)) {
      block[place] = entry;
      return;
    }
    block.splice(place, 0, entry);
    this.#size += 1;
    if (block.length > BLOCK_ENTRIES_MAX) {
      this.#blocks.splice(number + 1, 0, block.splice(BLOCK_ENTRIES_MAX / 2));
    }
  }

  delete(key: Uint8Array): boolean {
    const number = this.#blockOf(key);
    const block = this.#blocks[number] ?? [];
    const place = placeOf(block, key);
    if (!block[place]?.key.equals(key)) return false;
    block.splice(place, 1);
    this.#size -= 1;
    if (block.length === 0 && this.#blocks.length > 1) this.#blocks.splice(number, 1);
    return true;
  }

  /** Entries from `from` on, upwards. */
  *upwards(from: Uint8Array): Generator<StoredEntry> {
    let number = this.#blockOf(from);
    let block = this.#blocks[number] ?? [];
    let place = placeOf(block, from);
    for (;;) {
      for (; place < block.length; place++) yield block[place] as StoredEntry;
      number += 1;
      const next = this.#blocks[number];
      if (next === undefined) return;
      block = next;
      place = 0;
    }
  }

  /** Entries below `to`, downwards. */
  *downwards(to: Uint8Array): Generator<StoredEntry> {
    let number = this.#blockOf(to);
    let block = this.#blocks[number] ?? [];
    let place = placeOf(block, to) - 1;
    for (;;) {
      for (; place >= 0; place--) yield block[place] as StoredEntry;
      number -= 1;
      const next = this.#blocks[number];
      if (next === undefined) return;
      block = next;
      place = block.length - 1;
    }
  }

  /** The last block whose first key is not above `key`: the only one that can hold it. */
  #blockOf(key: Uint8Array): number {
    let low = 0;
    let high = this.#blocks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      const first = this.#blocks[middle]?.[0];
      if (first !== undefined && first.key.compare(key) <= 0) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** Where the key is in the block, or belongs. */
function placeOf(block: readonly StoredEntry[], key: Uint8Array): number {
  let low = 0;
  let high = block.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((block[middle] as StoredEntry).key.compare(key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
