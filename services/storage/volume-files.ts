/** Volumes open for reading: few at a time, the least used closed first, none while it is being read. */
import type { Disk, DurableFile } from "#lib/disk.ts";
import { volumePath } from "#storage/volume.ts";

interface OpenVolume {
  readonly file: Promise<DurableFile>;
  users: number;
  isRetired: boolean;
}

export class VolumeFiles implements AsyncDisposable {
  readonly #disk: Disk;
  readonly #limit: number;
  /** Least recently used first. */
  readonly #open = new Map<number, OpenVolume>();

  constructor(disk: Disk, limit: number) {
    this.#disk = disk;
    this.#limit = limit;
  }

  /** Reads, from a volume that stays readable until it is done even when compaction removes it meanwhile. */
  async read(volume: number, offset: number, into: readonly Uint8Array[]): Promise<number> {
    return this.use(volume, (file) => file.read(offset, into));
  }

  async use<T>(volume: number, work: (file: DurableFile) => Promise<T>): Promise<T> {
    const entry = this.#enter(volume);
    entry.users += 1;
    try {
      return await work(await entry.file);
    } finally {
      entry.users -= 1;
      if (entry.isRetired && entry.users === 0) void close(entry);
    }
  }

  /** Forgets all volumes but those. */
  keep(volumes: ReadonlySet<number>): void {
    for (const volume of this.#open.keys()) if (!volumes.has(volume)) this.retire(volume);
  }

  /** Forgets a volume that is gone. */
  retire(volume: number): void {
    const entry = this.#open.get(volume);
    if (entry === undefined) return;
    this.#open.delete(volume);
    entry.isRetired = true;
    if (entry.users === 0) void close(entry);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const all = [...this.#open.values()];
    this.#open.clear();
    await Promise.all(all.map(close));
  }

  #enter(volume: number): OpenVolume {
    const known = this.#open.get(volume);
    if (known !== undefined) {
      if (this.#open.size > this.#limit / 2) {
        this.#open.delete(volume);
        this.#open.set(volume, known);
      }
      return known;
    }
    const entry = { file: this.#disk.open(volumePath(volume), "read"), users: 0, isRetired: false };
    this.#open.set(volume, entry);
    // A volume that cannot be opened now may be there the next time.
    entry.file.catch(() => this.#open.get(volume) === entry && this.#open.delete(volume));
    for (const oldest of this.#open.keys()) {
      if (this.#open.size <= this.#limit) break;
      if (oldest !== volume) this.retire(oldest);
    }
    return entry;
  }
}

async function close(entry: OpenVolume): Promise<void> {
  try {
    await (await entry.file)[Symbol.asyncDispose]();
  } catch {
    // It was never open, or the system will not have it back: nothing was written through it.
  }
}
