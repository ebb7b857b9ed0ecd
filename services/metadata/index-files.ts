/**
 * The file system as the index log needs it: synchronous, because its writes happen while the writer thread holds
 * LMDB's lock and has nothing else to do. All of the log's use of node:fs is here.
 */
import fs from "node:fs";
import { dirname } from "node:path";

const READ_BYTES = 4 * 1024 * 1024;

export function readFile(path: string): Buffer {
  return fs.readFileSync(path);
}

/** Whole file or nothing, durable when it returns. */
export function writeFileDurably(path: string, bytes: Uint8Array): void {
  const aside = `${path}.new`;
  const file = new IndexFile(aside, "w");
  try {
    file.write(0, bytes);
    file.sync();
  } finally {
    file.close();
  }
  renameDurably(aside, path);
}

export function renameDurably(from: string, to: string): void {
  fs.renameSync(from, to);
  syncFolder(dirname(to));
}

export function syncFolder(path: string): void {
  const descriptor = fs.openSync(path, "r");
  try {
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}

/** Makes what another writer put into the file durable. */
export function syncFile(path: string): void {
  const file = new IndexFile(path, "r+");
  try {
    file.sync();
  } finally {
    file.close();
  }
}

/** As `syncFile`, on another thread: a large file may take seconds. */
export async function syncFileAside(path: string): Promise<void> {
  const file = new IndexFile(path, "r+");
  try {
    await file.syncAside();
  } finally {
    file.close();
  }
}

/** Made when missing, durably; not so its parent, whose absence may mean that a disk is not mounted. */
export function makeFolder(path: string): void {
  if (fs.existsSync(path)) return;
  fs.mkdirSync(path);
  syncFolder(dirname(path));
}

/** Throws when a byte of the file cannot be read. */
export function readThrough(path: string): void {
  const file = new IndexFile(path, "r");
  try {
    const block = Buffer.allocUnsafe(READ_BYTES);
    for (let offset = 0; file.read(offset, block) > 0; offset += READ_BYTES);
  } finally {
    file.close();
  }
}

export function namesIn(path: string): readonly string[] {
  return fs.readdirSync(path);
}

/** Absent is fine. */
export function removeFile(path: string): void {
  fs.rmSync(path, { recursive: true, force: true });
}

export function exists(path: string): boolean {
  return fs.existsSync(path);
}

export function isWritableFolder(path: string): boolean {
  try {
    fs.accessSync(path, fs.constants.W_OK | fs.constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Bytes that this user may still write to the file system. */
export function freeBytes(path: string): number {
  const { bavail, bsize } = fs.statfsSync(path);
  return bavail * bsize;
}

export function fileBytes(path: string): number {
  return fs.statSync(path).size;
}

/** Byte for byte, durable when it returns. */
export function copyDurably(from: string, to: string): void {
  fs.copyFileSync(from, to);
  syncFile(to);
  syncFolder(dirname(to));
}

export function isMissing(error: unknown): boolean {
  return codeOf(error) === "ENOENT";
}

/** No room, a quota, or a limit on the file's size. */
export function isOutOfRoom(error: unknown): boolean {
  const code = codeOf(error);
  return code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG";
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}

export class IndexFile {
  readonly path: string;
  readonly #descriptor: number;

  constructor(path: string, mode: "r" | "r+" | "w" | "wx+") {
    this.path = path;
    this.#descriptor = fs.openSync(path, mode, 0o600);
  }

  get size(): number {
    return fs.fstatSync(this.#descriptor).size;
  }

  /** Fills `into`, or as much of it as the file has; answers how much. */
  read(offset: number, into: Uint8Array): number {
    let done = 0;
    while (done < into.length) {
      const count = fs.readSync(this.#descriptor, into, done, into.length - done, offset + done);
      if (count === 0) break;
      done += count;
    }
    return done;
  }

  write(offset: number, bytes: Uint8Array): void {
    let done = 0;
    while (done < bytes.length) {
      done += fs.writeSync(this.#descriptor, bytes, done, bytes.length - done, offset + done);
    }
  }

  sync(): void {
    fs.fdatasyncSync(this.#descriptor);
  }

  /** As `sync`, on another thread, so that several files are synced at once. */
  syncAside(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    fs.fdatasync(this.#descriptor, (error) => (error === null ? resolve() : reject(error)));
    return promise;
  }

  truncate(length: number): void {
    fs.ftruncateSync(this.#descriptor, length);
  }

  close(): void {
    fs.closeSync(this.#descriptor);
  }
}
