/**
 * The seam to a file system, as narrow as durable storage needs it. The system's implementation is
 * system-disk.ts, the only file that imports node:fs for data; tests and simulation have one that
 * loses unsynced bytes, tears, fails and fills up.
 */

export interface DurableFile extends AsyncDisposable {
  readonly path: string;
  /** Length in bytes now. */
  size(): Promise<number>;
  /** Fills `into` from the offset, wholly, or up to the end of the file; answers the bytes read. */
  read(offset: number, into: readonly Uint8Array[]): Promise<number>;
  /** Writes all the pieces one after another at the offset. Not yet durable. */
  write(offset: number, pieces: readonly Uint8Array[]): Promise<void>;
  /** fdatasync: what was written before the call is durable when it resolves. After it failed once, never call it again (R5). */
  sync(): Promise<void>;
  truncate(length: number): Promise<void>;
}

/** Held until disposed of, or until the process that holds it is gone, however it went. */
export interface DiskLock extends AsyncDisposable {
  readonly path: string;
}

export interface Disk {
  /**
   * Paths are relative to the disk's root, with `/`. Read opens what is there, write also, and
   * create makes a file that was not there (it fails with EEXIST when it was).
   */
  open(path: string, mode: "create" | "read" | "write"): Promise<DurableFile>;
  /** Undefined when there is no such file. */
  readFile(path: string): Promise<Buffer | undefined>;
  /** Whole file or nothing, durable when it resolves: written aside, synced, renamed, folder synced. */
  writeFile(path: string, bytes: Uint8Array): Promise<void>;
  /** Names in a folder; empty when there is none. */
  list(folder: string): Promise<readonly string[]>;
  makeFolder(path: string): Promise<void>;
  /** Durable when it resolves. Absent is fine. */
  remove(path: string): Promise<void>;
  /** Makes created and removed names in the folder durable. */
  syncFolder(path: string): Promise<void>;
  /** A lock on that file (made when absent), unless somebody holds it, in this process or another: then undefined. */
  lock(path: string): Promise<DiskLock | undefined>;
  /** Bytes of the file system, and free for us. */
  space(): Promise<{ capacity: number; free: number }>;
  /** Absolute path of the root, where a library (LMDB) opens files itself; undefined in memory. */
  readonly root: string | undefined;
}

/** The code of a failed system call (`ENOSPC`, `EIO`, …), as system and fault-injecting disks give it. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : undefined;
}
