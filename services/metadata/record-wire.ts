/**
 * Protobuf's wire format, by hand: what a record needs of it, without the garbage a general library makes.
 * https://protobuf.dev/programming-guides/encoding
 */
import { asBuffer } from "#metadata/keys.ts";

/** A record that this program cannot read: damaged, or of a newer format. Never the same as an absent one (I11). */
export class UnreadableRecord extends Error {
  override readonly name = "UnreadableRecord";
}

/** Of all records so far; each kind may go on by itself. */
export const RECORD_FORMAT = 1;

const VARINT = 0;
const FIXED64 = 1;
const LENGTH = 2;
const FIXED32 = 5;

const SCRATCH_BYTES = 16 * 1024;

/** Appends fields to one buffer that is used again and again. Encoding is synchronous, so records never overlap. */
export class RecordWriter {
  #bytes = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
  #length = 0;

  /** Starts a record. */
  start(): this {
    this.#length = 0;
    // One manifest of 10,000 parts must not hold its megabyte for good.
    if (this.#bytes.length > SCRATCH_BYTES) this.#bytes = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
    this.uint(1, RECORD_FORMAT);
    return this;
  }

  /** The record's bytes, the caller's to keep. */
  finish(): Buffer {
    return Buffer.from(this.#bytes.subarray(0, this.#length));
  }

  /** Nothing when 0, protobuf's default; likewise below. */
  uint(field: number, value: number): void {
    if (value === 0) return;
    this.#reserve(20);
    this.#varint(field * 8 + VARINT);
    this.#varint(value);
  }

  bool(field: number, value: boolean): void {
    if (value) this.uint(field, 1);
  }

  string(field: number, value: string): void {
    if (value !== "") this.present(field, value);
  }

  /** An `optional` or `repeated` string, which stands there even when empty. */
  present(field: number, value: string): void {
    const length = Buffer.byteLength(value);
    this.#reserve(20 + length);
    this.#varint(field * 8 + LENGTH);
    this.#varint(length);
    this.#length += this.#bytes.write(value, this.#length, "utf8");
  }

  presentUint(field: number, value: number): void {
    this.#reserve(20);
    this.#varint(field * 8 + VARINT);
    this.#varint(value);
  }

  bytes(field: number, value: Uint8Array): void {
    if (value.length === 0) return;
    this.#reserve(20 + value.length);
    this.#varint(field * 8 + LENGTH);
    this.#varint(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
  }

  /** Bytes given as hex digits. */
  hex(field: number, value: string): void {
    const length = value.length / 2;
    if (length === 0) return;
    this.#reserve(20 + length);
    this.#varint(field * 8 + LENGTH);
    this.#varint(length);
    this.#length += this.#bytes.write(value, this.#length, "hex");
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
    const more = length < 0x4000 ? 1 : length < 0x20_0000 ? 2 : 3;
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

/** Walks the fields of a record or of a message within one. */
export class RecordReader {
  readonly #bytes: Buffer;
  readonly #end: number;
  #at: number;
  #wire = 0;

  constructor(bytes: Buffer, from = 0, to = bytes.length) {
    this.#bytes = bytes;
    this.#at = from;
    this.#end = to;
  }

  /** A reader behind the format, which must be one we know. */
  static open(kind: string, value: Uint8Array): RecordReader {
    const reader = new RecordReader(asBuffer(value));
    const field = reader.#end === 0 ? 0 : reader.field();
    const format = field === 1 && reader.#wire === VARINT ? reader.uint() : 0;
    if (format !== RECORD_FORMAT) {
      throw new UnreadableRecord(
        `Cannot read a ${kind} record: its format is ${format}, the one known is ${RECORD_FORMAT}`,
      );
    }
    return reader;
  }

  /** Number of the next field, 0 at the end. Its value must then be read, or skipped. */
  field(): number {
    if (this.#at >= this.#end) return 0;
    const tag = this.#varint();
    this.#wire = tag & 7;
    return tag >>> 3;
  }

  uint(): number {
    if (this.#wire !== VARINT) throw this.#damaged();
    return this.#varint();
  }

  bool(): boolean {
    return this.uint() !== 0;
  }

  string(): string {
    const end = this.#span();
    const start = this.#at;
    this.#at = end;
    return this.#bytes.toString("utf8", start, end);
  }

  /** A string that is known to be ASCII, which is cheaper. */
  ascii(): string {
    const end = this.#span();
    const start = this.#at;
    this.#at = end;
    return this.#bytes.toString("latin1", start, end);
  }

  hex(): string {
    const end = this.#span();
    const start = this.#at;
    this.#at = end;
    return this.#bytes.toString("hex", start, end);
  }

  /** A view of the record's own memory. */
  bytes(): Buffer {
    const end = this.#span();
    const start = this.#at;
    this.#at = end;
    return this.#bytes.subarray(start, end);
  }

  message(): RecordReader {
    const end = this.#span();
    const start = this.#at;
    this.#at = end;
    return new RecordReader(this.#bytes, start, end);
  }

  /** Passes over a field of a later program of the same format. */
  skip(): void {
    switch (this.#wire) {
      case VARINT:
        this.#varint();
        return;
      case LENGTH:
        this.#at = this.#span();
        return;
      case FIXED64:
        this.#advance(8);
        return;
      case FIXED32:
        this.#advance(4);
        return;
      default:
        throw this.#damaged();
    }
  }

  #advance(bytes: number): void {
    this.#at += bytes;
    if (this.#at > this.#end) throw this.#damaged();
  }

  /** End of the bytes that begin here. */
  #span(): number {
    if (this.#wire !== LENGTH) throw this.#damaged();
    const length = this.#varint();
    const end = this.#at + length;
    if (end > this.#end) throw this.#damaged();
    return end;
  }

  #varint(): number {
    const bytes = this.#bytes;
    let value = 0;
    let unit = 1;
    while (this.#at < this.#end) {
      const byte = bytes[this.#at++] ?? 0;
      if (byte < 0x80) {
        value += byte * unit;
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
      value += (byte - 0x80) * unit;
      unit *= 0x80;
      if (value > Number.MAX_SAFE_INTEGER) break;
    }
    throw this.#damaged();
  }

  #damaged(): UnreadableRecord {
    return new UnreadableRecord(`Cannot read a record: damaged at byte ${this.#at}`);
  }
}
