/** The contents that clients write, each with a name: what was read is turned back into that name by its ETag, and compared byte by byte. */
import { hash } from "node:crypto";

export interface Value {
  readonly name: string;
  readonly bytes: Buffer;
}

export class Values {
  readonly #byEtag = new Map<string, Value>();
  #made = 0;

  /** Bytes that no other content has anywhere at the same place. */
  make(size: number): Value {
    this.#made += 1;
    return this.#add(contentOf(this.#made, size));
  }

  /** What an upload of these parts becomes. */
  joined(parts: readonly Value[]): Value {
    this.#made += 1;
    const value = this.#add(Buffer.concat(parts.map(({ bytes }) => bytes)));
    const digests = Buffer.concat(parts.map(({ bytes }) => hash("md5", bytes, "buffer")));
    this.#byEtag.set(`${hash("md5", digests)}-${parts.length}`, value);
    return value;
  }

  byEtag(etag: string): Value | undefined {
    return this.#byEtag.get(etag);
  }

  etagOf({ bytes }: Value): string {
    return hash("md5", bytes);
  }

  /** Equal bytes are one value: empty ones, and an upload of one part and that part. */
  #add(bytes: Buffer): Value {
    const etag = hash("md5", bytes);
    const value = this.#byEtag.get(etag) ?? { name: `v${this.#made}`, bytes };
    this.#byEtag.set(etag, value);
    return value;
  }
}

function contentOf(number: number, size: number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let at = 0; at + 8 <= size; at += 8) {
    bytes.writeUInt32LE(number, at);
    bytes.writeUInt32LE(at, at + 4);
  }
  for (let at = size - (size % 8); at < size; at++) bytes[at] = number >>> (8 * (at & 3));
  return bytes;
}
