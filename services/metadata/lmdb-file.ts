/**
 * Looks at an LMDB file before LMDB does. What is no LMDB file, or may not be opened, must not reach the binding: a
 * failed open leaves it with freed memory in use, and ends the process (`openEnv` in its env.cpp).
 */
import { exists, IndexFile, isWritableFolder } from "#metadata/index-files.ts";

/** Offsets within a meta page, behind its header of 24 bytes: `MDB_meta` of the binding's mdb.c, data version 2. */
const META = { flags: 18, magic: 24, version: 28, pageBytes: 48, lastPage: 144, transaction: 152 };
const META_BYTES = 160;
const MAGIC = 0xbeef_c0de;
const DATA_VERSION = 2;
const META_FLAG = 0x08;

/** Throws, saying why, when LMDB could not open the folder's file; absence is fine. */
export function assertOpenable(folder: string, dataFile: string): void {
  if (!exists(dataFile)) {
    if (!isWritableFolder(folder)) throw new Error(`Cannot open index ${folder}: not writable`);
    return;
  }
  const file = new IndexFile(dataFile, "r+");
  try {
    if (file.size > 0) readNewestMeta(file);
  } finally {
    file.close();
  }
}

/**
 * Throws when the file is shorter than what it says it holds: LMDB would end the process where it reads behind the
 * end. LMDB itself may leave the last pages out if they are free, so this proves damage only where there is a copy.
 */
export function assertWhole(dataFile: string): void {
  const file = new IndexFile(dataFile, "r");
  try {
    const { pages, pageBytes } = readNewestMeta(file);
    if (file.size < pages * pageBytes) {
      throw new Error(`Cannot use index ${dataFile}: ${file.size} of ${pages * pageBytes} bytes`);
    }
  } finally {
    file.close();
  }
}

function readNewestMeta(file: IndexFile): { pages: number; pageBytes: number } {
  const first = readMeta(file, 0);
  const second = readMeta(file, first.pageBytes);
  return second.transaction > first.transaction ? second : first;
}

function readMeta(file: IndexFile, offset: number) {
  const bytes = Buffer.alloc(META_BYTES);
  const isMeta =
    file.read(offset, bytes) === META_BYTES &&
    (bytes.readUInt16LE(META.flags) & META_FLAG) !== 0 &&
    bytes.readUInt32LE(META.magic) === MAGIC &&
    (bytes.readUInt32LE(META.version) & 0xffff) === DATA_VERSION;
  if (!isMeta) throw new Error(`Cannot use index ${file.path}: it is no LMDB file, or damaged`);
  return {
    pageBytes: bytes.readUInt32LE(META.pageBytes),
    pages: Number(bytes.readBigUInt64LE(META.lastPage)) + 1,
    transaction: bytes.readBigUInt64LE(META.transaction),
  };
}
