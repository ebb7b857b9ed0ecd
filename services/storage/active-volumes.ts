/**
 * The volume that this process writes, and those it has filled but not closed yet. Nobody else
 * writes them: the process holds a lock by the name that their first records give.
 */
import { type Disk, errorCode } from "#lib/disk.ts";
import type { Logger } from "#lib/log.ts";
import { ShardStoreFull, ShardStoreUnavailable } from "#shards/shard-store.ts";
import type { DiskIdentity } from "#storage/disk-identity.ts";
import type { IndexStore } from "#storage/index-store.ts";
import type { StorageOptions } from "#storage/options.ts";
import { NEW_VOLUME } from "#storage/recovery.ts";
import { changeVolume, putVolume } from "#storage/shard-index.ts";
import { type Append, createVolume, type Volume } from "#storage/volume.ts";
import { VolumeRows } from "#storage/volume-rows.ts";

export class ActiveVolumes implements AsyncDisposable {
  readonly #disk: Disk;
  readonly #index: IndexStore;
  readonly #identity: DiskIdentity;
  readonly #owner: string;
  readonly #options: StorageOptions;
  readonly #log: Logger;
  readonly #filled = new Set<Volume>();
  readonly #closing = new Set<Promise<void>>();
  #current: Volume | undefined;
  #opening: Promise<Volume> | undefined;
  #faults = 0;
  #lastFault: Error | undefined;
  #isClosed = false;

  constructor(parts: {
    disk: Disk;
    index: IndexStore;
    identity: DiskIdentity;
    owner: string;
    options: StorageOptions;
    log: Logger;
  }) {
    this.#disk = parts.disk;
    this.#index = parts.index;
    this.#identity = parts.identity;
    this.#owner = parts.owner;
    this.#options = parts.options;
    this.#log = parts.log;
  }

  /** Why the disk takes no more writes. */
  get failure(): Error | undefined {
    return this.#faults >= this.#options.faultsMax ? this.#lastFault : undefined;
  }

  /** The volume to append to now. It stays open until released. */
  async acquire(): Promise<Volume> {
    for (;;) {
      const current = this.#next();
      const volume = current instanceof Promise ? await current : current;
      if (volume.isEnding || volume.fault !== undefined) continue;
      volume.writers += 1;
      return volume;
    }
  }

  release(volume: Volume): void {
    volume.writers -= 1;
    if (this.#filled.has(volume)) this.#closeWhenUnused(volume);
  }

  /** Durable, and in the index, when it resolves; what was appended to the `earlier` volumes is durable before. */
  async append(append: Omit<Append, "durable">, earlier?: ReadonlySet<Volume>): Promise<void> {
    const volume = await this.acquire();
    try {
      for (const each of earlier ?? []) if (each !== volume) await each.sync();
      await volume.append({ ...append, durable: true });
    } finally {
      this.release(volume);
    }
  }

  /** Closes all volumes in order; what is still being written fails. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    await this.#opening?.catch(() => undefined);
    const open = [...this.#filled, ...(this.#current === undefined ? [] : [this.#current])];
    this.#filled.clear();
    this.#current = undefined;
    await Promise.all(open.map((volume) => this.#close(volume)));
    await Promise.all(this.#closing);
  }

  #next(): Volume | Promise<Volume> {
    const volume = this.#current;
    if (volume !== undefined && volume.fault === undefined) {
      if (volume.size < this.#options.volumeBytes) return volume;
      this.#current = undefined;
      this.#filled.add(volume);
      this.#closeWhenUnused(volume);
    }
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  async #open(): Promise<Volume> {
    if (this.#isClosed) throw new ShardStoreUnavailable("The store is closed");
    if (this.failure !== undefined) {
      throw new ShardStoreUnavailable("The disk failed too often: it takes no more writes", {
        cause: this.failure,
      });
    }
    try {
      const volume = await createVolume(
        this.#disk,
        {
          diskId: this.#identity.diskId,
          secret: this.#identity.secret,
          owner: this.#owner,
        },
        {
          onDurable: (at, durable, appends) => this.#tellIndex(at, durable, appends),
          onFault: (at, fault) => this.#onFault(at, fault),
        },
      );
      const row = { ...NEW_VOLUME, owner: this.#owner, scannedTo: volume.durable };
      await this.#index.transact((rows) => putVolume(rows, volume.id, row));
      this.#current = volume;
      return volume;
    } catch (cause) {
      const code = errorCode(cause);
      if (code === "ENOSPC" || code === "EDQUOT") {
        throw new ShardStoreFull("No space left on the disk", { cause });
      }
      // Too many open files are no fault of the disk's.
      if (code !== "EMFILE" && code !== "ENFILE") this.#noteFault(cause as Error);
      throw new ShardStoreUnavailable("Cannot make a volume", { cause });
    }
  }

  /** One transaction for the whole batch: what it says of the shards, and how far the volume is known. */
  async #tellIndex(volume: Volume, durable: number, appends: readonly Append[]): Promise<void> {
    await this.#index.transact((transaction) => {
      const rows = new VolumeRows(transaction);
      for (const { apply } of appends) apply?.(rows);
      changeVolume(rows, volume.id, () => ({ scannedTo: durable }));
      rows.write();
    });
  }

  #onFault(volume: Volume, fault: Error): void {
    this.#noteFault(fault);
    this.#log.error({ err: fault, volume: volume.id }, "Volume failed: closed for good");
    if (this.#current === volume) this.#current = undefined;
    this.#filled.delete(volume);
    this.#track(this.#abandon(volume));
  }

  #noteFault(fault: Error): void {
    this.#faults += 1;
    this.#lastFault = fault;
  }

  /** What lies above the durable offset may be in memory only, and is to be believed by nobody. */
  async #abandon(volume: Volume): Promise<void> {
    await this.#index.transact((rows) => changeVolume(rows, volume.id, () => ({ isClosed: true })));
    await volume.cut();
  }

  #closeWhenUnused(volume: Volume): void {
    if (volume.writers > 0 || volume.fault !== undefined) return;
    this.#filled.delete(volume);
    volume.isEnding = true;
    this.#track(this.#close(volume));
  }

  async #close(volume: Volume): Promise<void> {
    await using ended = volume;
    if (ended.fault !== undefined) return;
    await ended.end();
    await this.#index.transact((rows) => changeVolume(rows, ended.id, () => ({ isClosed: true })));
  }

  #track(work: Promise<void>): void {
    const quiet = work.catch((error: unknown) => {
      this.#log.warn({ err: error }, "Cannot close a volume: left to recovery");
    });
    this.#closing.add(quiet);
    void quiet.then(() => this.#closing.delete(quiet));
  }
}
