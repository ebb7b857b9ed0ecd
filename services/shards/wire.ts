/**
 * Protobuf's wire format, by hand, for messages that carry blocks: a message is a small head and the block's own
 * memory, which is copied once, into what goes to the socket. https://protobuf.dev/programming-guides/encoding
 */

/** What came over the wire is not a message of ours. */
export class Malformed extends Error {
  override readonly name = "Malformed";
}

const VARINT = 0;
const FIXED64 = 1;
const LENGTH = 2;
const FIXED32 = 5;

const SCRATCH_BYTES = 16 * 1024;
/** Room before an item for its tag and length. */
const PREFIX_BYTES = 6;
const ITEM_FIELD = 1;
const PAYLOAD_FIELD = 15;

/** One request or answer on its way out: `head` ends where the payload's bytes begin. */
export interface Item {
  readonly head: Buffer;
  readonly payload: readonly Uint8Array[];
  readonly bytes: number;
}

const NO_PAYLOAD: readonly Uint8Array[] = [];

/** Appends fields to memory that is used again and again; encoding is synchronous, so messages never overlap. */
export class WireWriter {
  #bytes = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
  #length = 0;

  start(): this {
    // One long list must not hold its megabyte for good.
    if (this.#bytes.length > SCRATCH_BYTES) this.#bytes = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
    this.#length = PREFIX_BYTES;
    return this;
  }

  /** The message as it stands, the caller's to keep. */
  finish(): Buffer {
    return Buffer.from(this.#bytes.subarray(PREFIX_BYTES, this.#length));
  }

  /** The message as one of the repeated field 1, with a payload behind it. */
  finishItem(payload: readonly Uint8Array[] = NO_PAYLOAD, payloadBytes = 0): Item {
    this.#reserve(20);
    if (payloadBytes > 0) {
      this.#varint(PAYLOAD_FIELD * 8 + LENGTH);
      this.#varint(payloadBytes);
    }
    const end = this.#length;
    const inner = end - PREFIX_BYTES + payloadBytes;
    const start = PREFIX_BYTES - 1 - varintBytes(inner);
    this.#length = start;
    this.#varint(ITEM_FIELD * 8 + LENGTH);
    this.#varint(inner);
    const head = Buffer.from(this.#bytes.subarray(start, end));
    return { head, payload, bytes: head.length + payloadBytes };
  }

  /** Nothing when 0, protobuf's default; likewise below. */
  uint(field: number, value: number): void {
    if (value !== 0) this.presentUint(field, value);
  }

  /** An `optional` number, which stands there even when 0. */
  presentUint(field: number, value: number): void {
    this.#reserve(20);
    this.#varint(field * 8 + VARINT);
    this.#varint(value);
  }

  fixed32(field: number, value: number): void {
    if (value === 0) return;
    this.#reserve(20);
    this.#varint(field * 8 + FIXED32);
    this.#length = this.#bytes.writeUInt32LE(value, this.#length);
  }

  string(field: number, value: string): void {
    if (value === "") return;
    const length = Buffer.byteLength(value);
    this.#reserve(20 + length);
    this.#varint(field * 8 + LENGTH);
    this.#varint(length);
    this.#length += this.#bytes.write(value, this.#length, "utf8");
  }

  bytes(field: number, value: Uint8Array): void {
    if (value.length === 0) return;
    this.#reserve(20 + value.length);
    this.#varint(field * 8 + LENGTH);
    this.#varint(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
  }

  /** `repeated fixed32`, packed. */
  fixed32s(field: number, values: ArrayLike<number>): void {
    if (values.length === 0) return;
    this.#reserve(20 + values.length * 4);
    this.#varint(field * 8 + LENGTH);
    this.#varint(values.length * 4);
    for (let at = 0; at < values.length; at++) {
      this.#length = this.#bytes.writeUInt32LE((values[at] ?? 0) >>> 0, this.#length);
    }
  }

  /** Between `begin` and `end` go the fields of a message inside this one. */
  begin(field: number): number {
    this.#reserve(20);
    this.#varint(field * 8 + LENGTH);
    this.#length += 1;
    return this.#length;
  }

  end(begun: number): void {
    const length = this.#length - begun;
    if (length < 0x80) {
      this.#bytes[begun - 1] = length;
      return;
    }
    // Most inner messages are shorter, so one byte was kept for the length; the rest makes room now.
    const more = varintBytes(length) - 1;
    this.#reserve(more);
    this.#bytes.copyWithin(begun + more, begun, this.#length);
    this.#length = begun - 1;
    this.#varint(length);
    this.#length += length;
  }

  #varint(value: number): void {
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#length++] = rest;
  }

  #reserve(more: number): void {
    if (this.#length + more <= this.#bytes.length) return;
    const bytes = Buffer.allocUnsafeSlow(2 * (this.#length + more));
    this.#bytes.copy(bytes, 0, 0, this.#length);
    this.#bytes = bytes;
  }
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes += 1;
  return bytes;
}

/** Walks the fields of a message. Whatever does not fit throws Malformed. */
export class WireReader {
  readonly #bytes: Buffer;
  readonly #end: number;
  #at: number;
  #wire = 0;

  constructor(bytes: Buffer, from = 0, to = bytes.length) {
    this.#bytes = bytes;
    this.#at = from;
    this.#end = to;
  }

  /** Number of the next field, 0 at the end. Its value must then be read, or skipped. */
  field(): number {
    if (this.#at >= this.#end) return 0;
    const tag = this.#varint();
    this.#wire = tag & 7;
    const field = Math.floor(tag / 8);
    // Field 0 does not exist; taking it for the end would hide what follows.
    if (field === 0) throw this.#damaged();
    return field;
  }

  uint(): number {
    this.#expect(VARINT);
    return this.#varint();
  }

  /** A number up to 2³²−1. */
  uint32(): number {
    const value = this.uint();
    if (value > 0xffff_ffff) throw this.#damaged();
    return value;
  }

  bool(): boolean {
    return this.uint() !== 0;
  }

  fixed32(): number {
    this.#expect(FIXED32);
    this.#require(4);
    const value = this.#bytes.readUInt32LE(this.#at);
    this.#at += 4;
    return value;
  }

  fixed32s(): number[] {
    const { from, to } = this.#span();
    if ((to - from) % 4 !== 0) throw this.#damaged();
    const values: number[] = [];
    for (let at = from; at < to; at += 4) values.push(this.#bytes.readUInt32LE(at));
    return values;
  }

  string(): string {
    const { from, to } = this.#span();
    return this.#bytes.toString("utf8", from, to);
  }

  /** A view of the message's own memory. */
  bytes(): Buffer {
    const { from, to } = this.#span();
    return this.#bytes.subarray(from, to);
  }

  message(): WireReader {
    const { from, to } = this.#span();
    return new WireReader(this.#bytes, from, to);
  }

  /** Passes over a field of a later program. */
  skip(): void {
    switch (this.#wire) {
      case VARINT:
        this.#varint();
        return;
      case LENGTH:
        this.#span();
        return;
      case FIXED64:
        this.#require(8);
        this.#at += 8;
        return;
      case FIXED32:
        this.#require(4);
        this.#at += 4;
        return;
      default:
        throw this.#damaged();
    }
  }

  #expect(wire: number): void {
    if (this.#wire !== wire) throw this.#damaged();
  }

  #require(bytes: number): void {
    if (this.#at + bytes > this.#end) throw this.#damaged();
  }

  /** Of the bytes that begin here, which are passed over. */
  #span(): { from: number; to: number } {
    this.#expect(LENGTH);
    const length = this.#varint();
    this.#require(length);
    const from = this.#at;
    this.#at += length;
    return { from, to: this.#at };
  }

  #varint(): number {
    const bytes = this.#bytes;
    let value = 0;
    let unit = 1;
    while (this.#at < this.#end) {
      const byte = bytes[this.#at++] ?? 0;
      value += (byte & 0x7f) * unit;
      if (value > Number.MAX_SAFE_INTEGER) break;
      if (byte < 0x80) return value;
      unit *= 0x80;
    }
    throw this.#damaged();
  }

  #damaged(): Malformed {
    return new Malformed(`Cannot read a message: damaged at byte ${this.#at}`);
  }
}
