/** A storage node: one disk, served to all. It may go down with its machine, and its disk may rot, fail or be lost. */
import type { Disk, DurableFile } from "#lib/disk.ts";
import { FaultyDisk, systemError } from "#lib/faulty-disk.ts";
import { silentLog } from "#lib/log.ts";
import { MemoryDisk } from "#objects/testing/memory-disk.ts";
import type { ShardStore } from "#shards/shard-store.ts";
import { prepareDisk } from "#storage/disk-identity.ts";
import { type DiskStore, openDiskStore } from "#storage/disk-store.ts";
import { LaggingIndex } from "#storage/testing/lagging-index.ts";
import type { ShardServer } from "./shard-link.ts";
import { Process, type World } from "./world.ts";

/** Volumes so short that they fill and are compacted within a run. */
const STORAGE = {
  volumeBytes: 256 * 1024,
  reserveBytes: 0,
  openVolumesMax: 4,
  compactBelow: 0.6,
  faultsMax: 3,
};
const COMPACT_EVERY_MS = 5000;
const START_AGAIN_MS = 1000;
/** Bits that rot at a time. */
const FLIPS = 8;

export abstract class Node implements ShardServer {
  readonly world: World;
  readonly name: string;
  process: Process;

  constructor(world: World, name: string) {
    this.world = world;
    this.name = name;
    this.process = new Process(world, name);
  }

  abstract readonly diskId: string;
  abstract readonly store: ShardStore;
  /** Brings it up; also after a crash, with what its disk kept. */
  abstract start(): Promise<void>;
  /** Power is cut. */
  abstract crash(): void;
  /** Some bits of what it holds; answers whether there was anything. */
  abstract flipBit(): boolean;
}

/** Its disk keeps what it promised: cheap. */
export class MemoryNode extends Node {
  readonly store: MemoryDisk;

  constructor(world: World, name: string) {
    super(world, name);
    this.store = new MemoryDisk(world.random.bytes(16).toString("hex"));
  }

  get diskId(): string {
    return this.store.diskId;
  }

  async start(): Promise<void> {
    if (!this.process.isAlive) this.process = new Process(this.world, this.name);
  }

  crash(): void {
    this.process.kill();
  }

  flipBit(): boolean {
    const ids = this.store.ids();
    if (ids.length === 0) return false;
    this.store.corrupt(this.world.pick(ids), 0);
    return true;
  }
}

/** Volumes on a disk that loses what was not synced. */
export class DiskNode extends Node {
  readonly #disk: FaultyDisk;
  #index = new LaggingIndex();
  #store: DiskStore | undefined;
  #diskId = "";

  constructor(world: World, name: string) {
    super(world, name);
    this.#disk = new FaultyDisk({ random: world.random });
  }

  get diskId(): string {
    return this.#diskId;
  }

  get store(): DiskStore {
    if (this.#store === undefined) throw new Error(`${this.name} is not open`);
    return this.#store;
  }

  /** While set, that share of its writes and syncs fail. */
  set failingShare(share: number) {
    this.#disk.fault =
      share === 0
        ? undefined
        : (call, path) => {
            if (!path.startsWith("volumes/") || (call !== "write" && call !== "sync")) {
              return undefined;
            }
            if (!this.world.chance(share)) return undefined;
            this.world.count("disk error");
            return { error: systemError("EIO", call, path) };
          };
  }

  async start(): Promise<void> {
    for (;;) {
      if (!this.process.isAlive) this.process = new Process(this.world, this.name);
      const killed = Promise.withResolvers<void>();
      const forget = this.process.onDeath(() => killed.resolve());
      try {
        // Killed meanwhile, it opens nothing any more; whatever struck it starts it again.
        await Promise.race([this.#open(), killed.promise]);
        return;
      } catch {
        // Its disk fails just now: whoever watches over it starts it again.
        this.crash();
        await this.world.sleep(START_AGAIN_MS, "start again");
      } finally {
        forget();
      }
    }
  }

  async #open(): Promise<void> {
    const { process } = this;
    const { random } = this.world;
    const disk = slowed(this.#disk.mount(), process);
    const clusterId = CLUSTER_ID;
    this.#diskId = (await prepareDisk(disk, { clusterId, random })).diskId;
    const parts = { disk, clusterId, clock: process.clock, log: silentLog, random };
    const store = await openDiskStore({ ...parts, options: STORAGE, index: this.#index });
    this.#store = store;
    this.#compactNowAndThen(store, process);
  }

  crash(): void {
    this.process.kill();
    this.#disk.crash();
    this.#index = this.#index.crash(this.world.random);
  }

  flipBit(): boolean {
    const volumes = this.#disk.files().filter((path) => path.startsWith("volumes/"));
    if (volumes.length === 0) return false;
    // Several: most volumes are shorter than they may be, and a bit beyond the end is none.
    for (let flips = 0; flips < FLIPS; flips++) {
      const bit = Math.floor(this.world.between(0, 8 * STORAGE.volumeBytes));
      this.#disk.flipBit(this.world.pick(volumes), bit);
    }
    return true;
  }

  #compactNowAndThen(store: DiskStore, process: Process): void {
    const { signal } = new AbortController();
    const compact = async () => {
      const done = await store.compact(signal).catch(() => undefined);
      if (done?.kind === "removed") this.world.count("volume compacted");
      this.#compactNowAndThen(store, process);
    };
    process.after(COMPACT_EVERY_MS, "compact", () => void compact());
  }
}

export const CLUSTER_ID = "c".repeat(32);

/** Each call takes its time, within which the machine may go down. */
function slowed(disk: Disk, process: Process): Disk {
  const take = async (call: string, low: number, high: number) => {
    const ms = process.world.between(low, high);
    await new Promise<void>((resolve) => process.after(ms, call, resolve));
  };
  const slowFile = (file: DurableFile): DurableFile => ({
    path: file.path,
    size: async () => file.size(),
    read: async (offset, into) => {
      await take("disk read", 0, 1);
      return file.read(offset, into);
    },
    write: async (offset, pieces) => {
      await take("disk write", 0, 1);
      return file.write(offset, pieces);
    },
    sync: async () => {
      await take("disk sync", 0.5, 4);
      return file.sync();
    },
    truncate: async (length) => file.truncate(length),
    [Symbol.asyncDispose]: async () => file[Symbol.asyncDispose](),
  });
  return {
    root: undefined,
    open: async (path, mode) => slowFile(await disk.open(path, mode)),
    readFile: async (path) => disk.readFile(path),
    writeFile: async (path, bytes) => {
      await take("disk write", 0.5, 4);
      return disk.writeFile(path, bytes);
    },
    list: async (folder) => disk.list(folder),
    makeFolder: async (path) => disk.makeFolder(path),
    remove: async (path) => {
      await take("disk remove", 0, 2);
      return disk.remove(path);
    },
    syncFolder: async (path) => {
      await take("disk sync", 0.5, 4);
      return disk.syncFolder(path);
    },
    lock: async (path) => disk.lock(path),
    space: async () => disk.space(),
  };
}
