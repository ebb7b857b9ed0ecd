/** Reads a volume's records in order. Bytes that are no record are reported and passed over, up to the next that is one. */

import { crc32c } from "#lib/crc32c.ts";
import type { DurableFile } from "#lib/disk.ts";
import { CHUNK_BYTES } from "#shards/shard-store.ts";
import {
  type BlockRecord,
  type DecodedRecord,
  decodeHead,
  HEAD_BYTES_MAX,
  MAGIC,
  PEEK_BYTES,
  peekHead,
  RECORD_ALIGNMENT,
} from "#storage/record.ts";

export type Scanned =
  | ScannedRecord
  | { readonly kind: "damage"; readonly offset: number; readonly bytes: number };

export interface ScannedRecord extends DecodedRecord {
  readonly kind: "record";
  readonly offset: number;
}

/** Read ahead of the scan: large enough for a disk's full speed. */
const WINDOW_BYTES = 1024 * 1024;
const SKIP_BYTES = 16 * 1024;

export async function* scanVolume(
  file: DurableFile,
  range: { salt: number; from: number; to: number },
): AsyncGenerator<Scanned> {
  const { salt, to } = range;
  const window = new Window(file, to);
  let offset = range.from;
  let damageFrom: number | undefined;
  while (offset < to) {
    const decoded = await recordAt(window, { offset, salt });
    if (decoded !== undefined && offset + decoded.bytes <= to + RECORD_ALIGNMENT) {
      if (damageFrom !== undefined) {
        yield { kind: "damage", offset: damageFrom, bytes: offset - damageFrom };
      }
      damageFrom = undefined;
      yield { kind: "record", offset, ...decoded };
      offset += decoded.bytes;
      continue;
    }
    damageFrom ??= offset;
    offset = await window.nextMagic(offset + RECORD_ALIGNMENT);
  }
  if (damageFrom !== undefined)
    yield { kind: "damage", offset: damageFrom, bytes: to - damageFrom };
}

/** Whether the payload's every chunk has its checksum. */
export async function isPayloadGood(
  file: DurableFile,
  record: BlockRecord,
  payloadOffset: number,
): Promise<boolean> {
  const buffer = Buffer.allocUnsafe(Math.min(record.length, WINDOW_BYTES));
  for (let done = 0; done < record.length; ) {
    const part = buffer.subarray(0, Math.min(buffer.length, record.length - done));
    if ((await file.read(payloadOffset + done, [part])) < part.length) return false;
    for (let at = 0; at < part.length; at += CHUNK_BYTES) {
      const checksum = record.checksums[(done + at) / CHUNK_BYTES];
      if (crc32c(part.subarray(at, at + CHUNK_BYTES)) !== checksum) return false;
    }
    done += part.length;
  }
  return true;
}

async function recordAt(
  window: Window,
  place: { offset: number; salt: number },
): Promise<DecodedRecord | undefined> {
  const peek = await window.at(place.offset, PEEK_BYTES);
  const size = peekHead(peek, 0);
  if (size === undefined) return undefined;
  return decodeHead(await window.at(place.offset, size.headBytes), 0, place);
}

class Window {
  readonly #file: DurableFile;
  readonly #end: number;
  readonly #buffer = Buffer.allocUnsafe(WINDOW_BYTES + HEAD_BYTES_MAX);
  #start = 0;
  #length = 0;

  constructor(file: DurableFile, end: number) {
    this.#file = file;
    this.#end = end;
  }

  /** At least that many bytes from the offset, fewer only at the end. */
  async at(offset: number, bytes: number): Promise<Buffer> {
    const wanted = Math.min(bytes, this.#end - offset);
    if (offset < this.#start || offset + wanted > this.#start + this.#length) {
      // Past a payload that was skipped, only the next head is wanted.
      const isNext = offset <= this.#start + this.#length;
      await this.#load(offset, Math.max(wanted, isNext ? WINDOW_BYTES : SKIP_BYTES));
    }
    return this.#buffer.subarray(offset - this.#start, this.#length);
  }

  /** The next place, from the offset on, where a record could begin; the end when there is none. */
  async nextMagic(from: number): Promise<number> {
    for (let offset = from; offset < this.#end; ) {
      const bytes = await this.at(offset, PEEK_BYTES);
      for (let at = bytes.indexOf(MAGIC); at >= 0; at = bytes.indexOf(MAGIC, at + 1)) {
        if ((offset + at) % RECORD_ALIGNMENT === 0) return offset + at;
      }
      // Records begin at multiples of eight, so a magic number never straddles what comes next.
      offset += Math.max(RECORD_ALIGNMENT, bytes.length - (bytes.length % RECORD_ALIGNMENT));
    }
    return this.#end;
  }

  async #load(offset: number, bytes: number): Promise<void> {
    const length = Math.min(bytes, this.#end - offset, this.#buffer.length);
    this.#start = offset;
    this.#length = await this.#file.read(offset, [this.#buffer.subarray(0, length)]);
  }
}
