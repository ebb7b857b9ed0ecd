/** Whether the disk has room for new shards: its free space, asked seldom, less what was written since. */
import type { Clock } from "#lib/clock.ts";
import type { Disk } from "#lib/disk.ts";
import { ShardStoreFull } from "#shards/shard-store.ts";
import type { StorageOptions } from "#storage/options.ts";

/** Other processes, and other programs, write to the disk as well. */
const STALE_MS = 1000;

export class Reserve {
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #options: StorageOptions;
  #capacity = 0;
  #free = 0;
  /** What was free when a shard was refused last, and none was taken since. */
  #refusedAt: number | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | undefined;

  constructor(disk: Disk, clock: Clock, options: StorageOptions) {
    this.#disk = disk;
    this.#clock = clock;
    this.#options = options;
  }

  /** Throws ShardStoreFull when the bytes would use the reserve. Waits for the disk's answer only near the limit. */
  take(bytes: number): Promise<void> | undefined {
    this.#free -= bytes;
    const isStale = this.#clock.monotonic() - this.#askedAt > STALE_MS;
    if (this.#free >= 2 * this.#limit && this.#capacity > 0) {
      if (isStale) this.ask().catch(() => {});
      return undefined;
    }
    return this.#check(bytes);
  }

  async space(): Promise<{ capacity: number; free: number; isFull: boolean }> {
    await this.ask();
    const { capacity, free } = { capacity: this.#capacity, free: this.#free };
    const hasFreed = this.#refusedAt === undefined || free > this.#refusedAt;
    return { capacity, free, isFull: free < this.#limit || !hasFreed };
  }

  async ask(): Promise<void> {
    this.#asking ??= this.#measure().finally(() => {
      this.#asking = undefined;
    });
    await this.#asking;
  }

  async #measure(): Promise<void> {
    const { capacity, free } = await this.#disk.space();
    this.#capacity = capacity;
    this.#free = free;
    this.#askedAt = this.#clock.monotonic();
  }

  get #limit(): number {
    return Math.min(this.#options.reserveBytes, this.#capacity * this.#options.reserveShare);
  }

  async #check(bytes: number): Promise<void> {
    await this.ask();
    const free = this.#free;
    this.#free -= bytes;
    if (this.#free >= this.#limit) this.#refusedAt = undefined;
    else {
      this.#refusedAt = free;
      throw new ShardStoreFull("The disk's reserve is reached: it takes no new shards");
    }
  }
}
