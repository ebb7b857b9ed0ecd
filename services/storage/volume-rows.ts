/** The rows of volumes within one transaction: every shard of a batch counts its bytes in them, and they are written once. */
import { isVolumeKey, volumeOfKey } from "#storage/index-rows.ts";
import type { IndexRow, IndexTransaction } from "#storage/index-store.ts";

export class VolumeRows implements IndexTransaction {
  readonly #rows: IndexTransaction;
  readonly #changed = new Map<number, IndexRow>();

  constructor(rows: IndexTransaction) {
    this.#rows = rows;
  }

  get(key: Buffer): Buffer | undefined {
    return (isVolumeKey(key) && this.#changed.get(volumeOfKey(key))?.[1]) || this.#rows.get(key);
  }

  range(from: Buffer, to: Buffer, limit: number): readonly IndexRow[] {
    this.write();
    return this.#rows.range(from, to, limit);
  }

  put(key: Buffer, value: Buffer): void {
    if (isVolumeKey(key)) this.#changed.set(volumeOfKey(key), [key, value]);
    else this.#rows.put(key, value);
  }

  remove(key: Buffer): void {
    if (isVolumeKey(key)) this.#changed.delete(volumeOfKey(key));
    this.#rows.remove(key);
  }

  /** To be called at the end. */
  write(): void {
    for (const [key, value] of this.#changed.values()) this.#rows.put(key, value);
    this.#changed.clear();
  }
}
