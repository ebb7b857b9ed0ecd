/**
 * A folder of this machine as a Disk: the only file that imports node:fs for data. Callbacks on bare
 * descriptors, because small reads and appends are hot and a FileHandle costs more.
 */
import fs from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type Disk, type DiskLock, type DurableFile, errorCode } from "#lib/disk.ts";

/** Linux's IOV_MAX: buffers of one call. */
const PIECES_MAX = 1024;
const FLAGS = { create: "wx+", read: "r", write: "r+" } as const;
const SQLITE_BUSY = 5;

export function systemDisk(root: string): Disk {
  return new SystemDisk(root);
}

class SystemDisk implements Disk {
  readonly root: string;
  readonly #inlineReads = new InlineReads();

  constructor(root: string) {
    this.root = root;
  }

  async open(path: string, mode: "create" | "read" | "write"): Promise<DurableFile> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    fs.open(join(this.root, path), FLAGS[mode], 0o600, (error, descriptor) =>
      error === null ? resolve(descriptor) : reject(error),
    );
    return new SystemFile(path, await promise, this.#inlineReads);
  }

  async readFile(path: string): Promise<Buffer | undefined> {
    try {
      return await fs.promises.readFile(join(this.root, path));
    } catch (error) {
      if (errorCode(error) === "ENOENT") return undefined;
      throw error;
    }
  }

  async writeFile(path: string, bytes: Uint8Array): Promise<void> {
    const target = join(this.root, path);
    const aside = `${target}.new`;
    const file = await fs.promises.open(aside, "w", 0o600);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await fs.promises.rename(aside, target);
    await this.syncFolder(parentOf(path));
  }

  async list(folder: string): Promise<readonly string[]> {
    try {
      return await fs.promises.readdir(join(this.root, folder));
    } catch (error) {
      if (errorCode(error) === "ENOENT") return [];
      throw error;
    }
  }

  async makeFolder(path: string): Promise<void> {
    const created = await fs.promises.mkdir(join(this.root, path), {
      recursive: true,
      mode: 0o700,
    });
    if (created !== undefined && path !== "") await this.syncFolder(parentOf(path));
  }

  async remove(path: string): Promise<void> {
    await fs.promises.rm(join(this.root, path), { force: true, recursive: true });
    await this.syncFolder(parentOf(path));
  }

  async syncFolder(path: string): Promise<void> {
    const folder = await fs.promises.open(join(this.root, path), "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }

  async lock(path: string): Promise<DiskLock | undefined> {
    // Node has no flock. SQLite, which it carries, takes the kernel's own lock on a file: it ends with
    // the process whatever kills it, and holds between containers, where process ids would lie.
    const database = new DatabaseSync(join(this.root, path), { timeout: 0 });
    try {
      database.exec("BEGIN EXCLUSIVE");
    } catch (error) {
      database.close();
      if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return undefined;
      throw error;
    }
    return {
      path,
      [Symbol.asyncDispose]: async () => {
        database.close();
      },
    };
  }

  async space(): Promise<{ capacity: number; free: number }> {
    const { bsize, blocks, bavail } = await fs.promises.statfs(this.root);
    return { capacity: bsize * blocks, free: bsize * bavail };
  }
}

class SystemFile implements DurableFile {
  readonly path: string;
  readonly #descriptor: number;
  readonly #inlineReads: InlineReads;
  #isOpen = true;

  constructor(path: string, descriptor: number, inlineReads: InlineReads) {
    this.path = path;
    this.#descriptor = descriptor;
    this.#inlineReads = inlineReads;
  }

  size(): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.fstat(this.#descriptor, (error, stats) =>
        error === null ? resolve(stats.size) : reject(error),
      );
    });
  }

  async read(offset: number, into: readonly Uint8Array[]): Promise<number> {
    let wanted = 0;
    for (const { length } of into) wanted += length;
    let got = await this.#readOnce(offset, into);
    while (got < wanted) {
      const more = await this.#readOnce(offset + got, from(into, got));
      if (more === 0) break;
      got += more;
    }
    return got;
  }

  async write(offset: number, pieces: readonly Uint8Array[]): Promise<void> {
    for (let start = 0, position = offset; start < pieces.length; start += PIECES_MAX) {
      const part = pieces.length <= PIECES_MAX ? pieces : pieces.slice(start, start + PIECES_MAX);
      let total = 0;
      for (const { length } of part) total += length;
      let written = await this.#writeOnce(position, part);
      while (written < total) {
        written += await this.#writeOnce(position + written, from(part, written));
      }
      position += total;
    }
  }

  sync(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.fdatasync(this.#descriptor, (error) => (error === null ? resolve() : reject(error)));
    });
  }

  truncate(length: number): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.ftruncate(this.#descriptor, length, (error) =>
        error === null ? resolve() : reject(error),
      );
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    fs.close(this.#descriptor, (error) => (error ? reject(error) : resolve()));
    await promise;
  }

  #readOnce(offset: number, into: readonly Uint8Array[]): Promise<number> {
    return new Promise((resolve, reject) => {
      const done = (error: Error | null, got: number) =>
        error === null ? resolve(got) : reject(error);
      const [only] = into;
      if (into.length === 1 && only !== undefined) {
        if (only.length <= INLINE_BYTES_MAX && this.#inlineReads.isAllowed()) {
          resolve(this.#inlineReads.read(this.#descriptor, only, offset));
          return;
        }
        fs.read(this.#descriptor, only, 0, only.length, offset, done);
      } else {
        fs.readv(this.#descriptor, into, offset, done);
      }
    });
  }

  #writeOnce(offset: number, pieces: readonly Uint8Array[]): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.writev(this.#descriptor, pieces, offset, (error, written) =>
        error === null ? resolve(written) : reject(error),
      );
    });
  }
}

/** Longest read that is tried on the spot. */
const INLINE_BYTES_MAX = 16 * 1024;
/** Mean time of a read above which reads seem to come from the disk, not from memory. */
const SLOW_MS = 0.1;
/** One read counts no more than this: being scheduled away once says nothing of the disk. */
const SAMPLE_MS_MAX = 1;
const SAMPLE_WEIGHT = 0.05;
const PAUSE_MS = 100;
const PAUSE_MS_MAX = 10_000;

/**
 * Small reads on the spot, as long as they are answered from memory.
 *
 * Handing a read to a thread and back costs ten times the read itself (measured: 14 µs against 1.4 µs for
 * 4 KiB in the page cache). But a read that goes to the disk holds up everything else meanwhile, so
 * a few slow reads send all to the threads for a while, and for longer each time that it happens again.
 */
class InlineReads {
  #pausedUntil = 0;
  #pauseMs = PAUSE_MS;
  #meanMs = 0;

  isAllowed(): boolean {
    return this.#pausedUntil === 0 || performance.now() >= this.#pausedUntil;
  }

  read(descriptor: number, into: Uint8Array, offset: number): number {
    const start = performance.now();
    const got = fs.readSync(descriptor, into, 0, into.length, offset);
    const end = performance.now();
    const sample = Math.min(end - start, SAMPLE_MS_MAX);
    this.#meanMs += (sample - this.#meanMs) * SAMPLE_WEIGHT;
    if (this.#meanMs > SLOW_MS) {
      this.#pausedUntil = end + this.#pauseMs;
      this.#pauseMs = Math.min(this.#pauseMs * 2, PAUSE_MS_MAX);
      this.#meanMs = SLOW_MS / 2;
    } else if (this.#meanMs < SLOW_MS / 10) {
      this.#pauseMs = PAUSE_MS;
    }
    return got;
  }
}

/** The pieces without their first bytes. */
function from(pieces: readonly Uint8Array[], skipped: number): Uint8Array[] {
  const rest: Uint8Array[] = [];
  let toSkip = skipped;
  for (const piece of pieces) {
    if (toSkip < piece.length) rest.push(toSkip === 0 ? piece : piece.subarray(toSkip));
    toSkip = Math.max(0, toSkip - piece.length);
  }
  return rest;
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "" : path.slice(0, slash);
}
