/**
 * The end of the log, where all processes find it: a small file in the home, read and written only by who holds
 * LMDB's writer lock. It lives in the page cache and is never synced: each start writes it anew from the logs.
 */
import { crc32c } from "#lib/crc32c.ts";
import { IndexFile } from "#metadata/index-files.ts";

export interface Cursor {
  /** Of the membership: another process may have changed it. */
  readonly epoch: number;
  readonly log: number;
  /** The entry that was appended last, whether or not its group was then committed. */
  readonly group: number;
  readonly start: number;
  readonly end: number;
}

const CURSOR_BYTES = 44;

export class CursorFile {
  readonly #file: IndexFile;
  readonly #bytes = Buffer.alloc(CURSOR_BYTES);

  constructor(path: string) {
    this.#file = new IndexFile(path, "r+");
  }

  static create(path: string, cursor: Cursor): void {
    const file = new IndexFile(path, "w");
    file.write(0, encode(cursor, Buffer.alloc(CURSOR_BYTES)));
    file.close();
  }

  read(): Cursor {
    const bytes = this.#bytes;
    const length = this.#file.read(0, bytes);
    if (length < CURSOR_BYTES || crc32c(bytes.subarray(0, 40)) !== bytes.readUInt32LE(40)) {
      throw new Error(`Cannot find the end of the index log: ${this.#file.path} is damaged`);
    }
    return {
      epoch: bytes.readDoubleLE(0),
      log: bytes.readDoubleLE(8),
      group: bytes.readDoubleLE(16),
      start: bytes.readDoubleLE(24),
      end: bytes.readDoubleLE(32),
    };
  }

  write(cursor: Cursor): void {
    this.#file.write(0, encode(cursor, this.#bytes));
  }

  close(): void {
    this.#file.close();
  }
}

function encode({ epoch, log, group, start, end }: Cursor, bytes: Buffer): Buffer {
  bytes.writeDoubleLE(epoch, 0);
  bytes.writeDoubleLE(log, 8);
  bytes.writeDoubleLE(group, 16);
  bytes.writeDoubleLE(start, 24);
  bytes.writeDoubleLE(end, 32);
  bytes.writeUInt32LE(crc32c(bytes.subarray(0, 40)), 40);
  return bytes;
}
