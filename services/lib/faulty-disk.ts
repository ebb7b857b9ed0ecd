/**
 * A disk in memory that behaves as badly as real ones may, for tests and simulation.
 *
 * What was written is durable only once its file was synced, and a name only once its folder was. A
 * crash keeps what is durable and, of the rest, whatever the seed says: each 512-byte sector and each
 * name on its own. Faults are put in by rule: at the nth call, on a path, of a kind.
 */
import type { Disk, DiskLock, DurableFile } from "#lib/disk.ts";
import type { Random } from "#lib/random.ts";

export type DiskCall =
  | "open"
  | "readFile"
  | "writeFile"
  | "list"
  | "makeFolder"
  | "remove"
  | "syncFolder"
  | "size"
  | "read"
  | "write"
  | "sync"
  | "truncate"
  | "space";

/** Asked before each call; an error makes the call fail, after `partial` bytes were written when it is a write. */
export type FaultRule = (
  call: DiskCall,
  path: string,
) => { readonly error: Error; readonly partial?: number } | undefined;

const SECTOR_BYTES = 512;

interface Node {
  /** What reads see. */
  bytes: Buffer;
  length: number;
  /** What survives a crash for certain. */
  durable: Buffer;
  /** Sectors written since the last sync. */
  readonly dirty: Set<number>;
  isCut: boolean;
}

/** The error that a system call would give. */
export function systemError(code: string, call: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${call} '${path}'`), { code });
}

export class FaultyDisk implements Disk {
  readonly root = undefined;
  readonly #random: Random;
  readonly #capacity: number;
  /** Names as the running system sees them, and as a crash would leave them at the least. */
  #names = new Map<string, Node>();
  #durableNames = new Map<string, Node>();
  readonly #folders = new Set<string>([""]);
  readonly #locks = new Set<string>();
  #generation = 0;
  /** May be set at any time. */
  fault: FaultRule | undefined;
  calls = 0;

  constructor(options: { random: Random; capacity?: number }) {
    this.#random = options.random;
    this.#capacity = options.capacity ?? 2 ** 40;
  }

  /** The disk as one process sees it: after the next crash or kill, whatever it still tries fails. */
  mount(): Disk {
    const generation = this.#generation;
    const alive = async <T>(work: () => Promise<T>): Promise<T> => {
      if (generation !== this.#generation) throw systemError("EBADF", "call", "");
      const result = await work();
      if (generation !== this.#generation) throw systemError("EBADF", "call", "");
      return result;
    };
    return {
      root: undefined,
      open: (path, mode) => alive(() => this.open(path, mode)),
      readFile: (path) => alive(() => this.readFile(path)),
      writeFile: (path, bytes) => alive(() => this.writeFile(path, bytes)),
      list: (folder) => alive(() => this.list(folder)),
      makeFolder: (path) => alive(() => this.makeFolder(path)),
      remove: (path) => alive(() => this.remove(path)),
      syncFolder: (path) => alive(() => this.syncFolder(path)),
      lock: (path) => alive(() => this.lock(path)),
      space: () => alive(() => this.space()),
    };
  }

  /** Power is cut: open files and locks are gone, and of what was not durable only some is left. */
  crash(): void {
    this.#generation += 1;
    this.#locks.clear();
    const names = new Map(this.#durableNames);
    for (const name of new Set([...this.#names.keys(), ...this.#durableNames.keys()])) {
      if (this.#names.get(name) === this.#durableNames.get(name)) continue;
      // A name that was made, moved or removed, and whose folder was not synced: either way.
      if (this.#random.fraction() < 0.5) continue;
      const node = this.#names.get(name);
      if (node === undefined) names.delete(name);
      else names.set(name, node);
    }
    for (const node of new Set(names.values())) this.#crashFile(node);
    this.#names = names;
    this.#durableNames = new Map(names);
  }

  /** The process is killed: open files and locks are gone, every byte written stays. */
  kill(): void {
    this.#generation += 1;
    this.#locks.clear();
  }

  /** Flips one bit of a file, durably. */
  flipBit(path: string, bit: number): void {
    const node = this.#node("read", path);
    const at = bit >>> 3;
    for (const bytes of [node.bytes, node.durable]) {
      if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7));
    }
  }

  /** Names of all files. */
  files(): readonly string[] {
    return [...this.#names.keys()].toSorted();
  }

  open(path: string, mode: "create" | "read" | "write"): Promise<DurableFile> {
    return this.#call("open", path, () => {
      if (mode === "create") {
        if (this.#names.has(path)) throw systemError("EEXIST", "open", path);
        this.#requireFolder(path);
        this.#names.set(path, emptyNode());
      }
      return this.#handle(path, this.#node("open", path));
    });
  }

  readFile(path: string): Promise<Buffer | undefined> {
    return this.#call("readFile", path, () => {
      const node = this.#names.get(path);
      return node === undefined ? undefined : Buffer.from(node.bytes.subarray(0, node.length));
    });
  }

  writeFile(path: string, bytes: Uint8Array): Promise<void> {
    return this.#call("writeFile", path, () => {
      this.#requireFolder(path);
      const node = emptyNode();
      node.bytes = Buffer.from(bytes);
      node.length = bytes.length;
      node.durable = Buffer.from(bytes);
      this.#names.set(path, node);
      this.#durableNames.set(path, node);
    });
  }

  list(folder: string): Promise<readonly string[]> {
    return this.#call("list", folder, () => {
      const prefix = folder === "" ? "" : `${folder}/`;
      const names = [...this.#names.keys()].filter((name) => name.startsWith(prefix));
      return [...new Set(names.map((name) => name.slice(prefix.length).split("/")[0] ?? ""))];
    });
  }

  makeFolder(path: string): Promise<void> {
    return this.#call("makeFolder", path, () => {
      this.#folders.add(path);
    });
  }

  remove(path: string): Promise<void> {
    return this.#call("remove", path, () => {
      for (const names of [this.#names, this.#durableNames]) {
        for (const name of names.keys()) {
          if (name === path || name.startsWith(`${path}/`)) names.delete(name);
        }
      }
    });
  }

  syncFolder(path: string): Promise<void> {
    return this.#call("syncFolder", path, () => {
      for (const name of [...this.#names.keys(), ...this.#durableNames.keys()]) {
        if (parentOf(name) !== path) continue;
        const node = this.#names.get(name);
        if (node === undefined) this.#durableNames.delete(name);
        else this.#durableNames.set(name, node);
      }
    });
  }

  async lock(path: string): Promise<DiskLock | undefined> {
    if (this.#locks.has(path)) return undefined;
    const generation = this.#generation;
    this.#locks.add(path);
    if (!this.#names.has(path)) this.#names.set(path, emptyNode());
    return {
      path,
      [Symbol.asyncDispose]: async () => {
        if (generation === this.#generation) this.#locks.delete(path);
      },
    };
  }

  space(): Promise<{ capacity: number; free: number }> {
    return this.#call("space", "", () => ({
      capacity: this.#capacity,
      free: Math.max(0, this.#capacity - this.#used()),
    }));
  }

  #used(): number {
    let used = 0;
    for (const { length } of this.#names.values()) used += length;
    return used;
  }

  #node(call: string, path: string): Node {
    const node = this.#names.get(path);
    if (node === undefined) throw systemError("ENOENT", call, path);
    return node;
  }

  #requireFolder(path: string): void {
    if (!this.#folders.has(parentOf(path))) throw systemError("ENOENT", "open", path);
  }

  /** Counts the call, asks for a fault, and has the effect at one instant, which a crash comes before or after. */
  async #call<T>(call: DiskCall, path: string, effect: () => T): Promise<T> {
    const generation = this.#generation;
    this.calls += 1;
    const fault = this.fault?.(call, path);
    if (fault !== undefined) throw fault.error;
    await Promise.resolve();
    if (generation !== this.#generation) throw systemError("EBADF", call, path);
    return effect();
  }

  #handle(path: string, node: Node): DurableFile {
    const generation = this.#generation;
    const requireOpen = (call: DiskCall) => {
      if (generation !== this.#generation) throw systemError("EBADF", call, path);
    };
    const call = async <T>(kind: DiskCall, effect: () => T): Promise<T> => {
      requireOpen(kind);
      return this.#call(kind, path, effect);
    };
    return {
      path,
      size: () => call("size", () => node.length),
      read: (offset, into) => call("read", () => readFrom(node, offset, into)),
      write: async (offset, pieces) => {
        requireOpen("write");
        this.calls += 1;
        const bytes = Buffer.concat(pieces);
        const fault = this.fault?.("write", path);
        requireOpen("write");
        const room = this.#capacity - this.#used() + Math.max(0, node.length - offset);
        const kept = Math.min(fault === undefined ? bytes.length : (fault.partial ?? 0), room);
        if (kept > 0) writeTo(node, offset, bytes.subarray(0, kept));
        await Promise.resolve();
        requireOpen("write");
        if (fault !== undefined) throw fault.error;
        if (kept < bytes.length) throw systemError("ENOSPC", "write", path);
      },
      sync: () => call("sync", () => syncNode(node)),
      truncate: (length) => call("truncate", () => truncateNode(node, length)),
      [Symbol.asyncDispose]: async () => {},
    };
  }

  /** Each sector written since the last sync is kept, lost or, rarely, torn; the length is any that the sectors allow. */
  #crashFile(node: Node): void {
    const longest = node.isCut && this.#random.fraction() < 0.5 ? node.durable.length : node.length;
    const bytes = Buffer.alloc(Math.max(longest, node.length, node.durable.length));
    node.durable.copy(bytes);
    let length = Math.min(node.durable.length, longest);
    // Most crashes lose a whole tail; some lose sectors here and there.
    const lostShare = this.#random.fraction();
    for (const sector of [...node.dirty].toSorted((left, right) => left - right)) {
      const start = sector * SECTOR_BYTES;
      const end = Math.min(start + SECTOR_BYTES, node.length);
      if (end <= start || this.#random.fraction() < lostShare) continue;
      node.bytes.copy(bytes, start, start, end);
      length = Math.max(length, end);
    }
    if (this.#random.fraction() < 0.3) length = Math.max(length, longest);
    node.bytes = bytes;
    node.length = length;
    node.durable = Buffer.from(bytes.subarray(0, length));
    node.dirty.clear();
    node.isCut = false;
  }
}

function emptyNode(): Node {
  return {
    bytes: Buffer.alloc(0),
    length: 0,
    durable: Buffer.alloc(0),
    dirty: new Set(),
    isCut: false,
  };
}

function reserve(node: Node, length: number): void {
  if (length <= node.bytes.length) return;
  const bytes = Buffer.alloc(Math.max(length, node.bytes.length * 2, 4096));
  node.bytes.copy(bytes);
  node.bytes = bytes;
}

function readFrom(node: Node, offset: number, into: readonly Uint8Array[]): number {
  let at = offset;
  for (const piece of into) {
    const end = Math.min(node.length, at + piece.length);
    if (end > at) piece.set(node.bytes.subarray(at, end));
    at = Math.max(at, end);
  }
  return at - offset;
}

function syncNode(node: Node): void {
  node.durable = Buffer.from(node.bytes.subarray(0, node.length));
  node.dirty.clear();
  node.isCut = false;
}

function truncateNode(node: Node, length: number): void {
  if (length < node.length) {
    node.bytes.fill(0, length, node.length);
    node.isCut = true;
  }
  reserve(node, length);
  node.length = length;
}

function writeTo(node: Node, offset: number, bytes: Buffer): void {
  const end = offset + bytes.length;
  reserve(node, end);
  bytes.copy(node.bytes, offset);
  const first = Math.floor(Math.min(offset, node.length) / SECTOR_BYTES);
  for (let sector = first; sector * SECTOR_BYTES < end; sector++) node.dirty.add(sector);
  node.length = Math.max(node.length, end);
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "" : path.slice(0, slash);
}
