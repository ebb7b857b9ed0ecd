/**
 * etcd's transactions in protobuf's wire format, by hand: they are the hot path, and of an answer only a few numbers
 * are wanted. Everything else goes through the client that etcd3 generates. Field numbers: etcd's rpc.proto.
 *
 *     TxnRequest       1 compare*  2 success*  3 failure*
 *     RequestOp        1 range | 2 put | 3 delete range | 4 txn
 *     TxnResponse      1 header  2 succeeded  3 responses*        ResponseOp  1 range | 2 put | 3 delete range | 4 txn
 */
import { asBuffer } from "#metadata/keys.ts";
import type { Commit, Entry, RangeRequest } from "#metadata/metadata-store.ts";

/** A commit as etcd is asked for it; with a lease, its puts last only as long as the lease does. */
export interface LeasedCommit {
  readonly commit: Commit;
  readonly lease: number;
}

const VARINT = 0;
const LENGTH = 2;
/** What stands before every key in etcd. */
type Prefix = Buffer;
/** Compare's target: the revision of the key's last change. */
const TARGET_MOD = 2;
const ORDER_DESCEND = 2;

class Writer {
  readonly bytes: Buffer;
  readonly #prefix: Prefix;
  #at = 0;

  constructor(length: number, prefix: Prefix) {
    this.bytes = Buffer.allocUnsafe(length);
    this.#prefix = prefix;
  }

  uint(field: number, value: number): void {
    this.#varint(field * 8 + VARINT);
    this.#varint(value);
  }

  /** What follows is a message of so many bytes. */
  open(field: number, length: number): void {
    this.#varint(field * 8 + LENGTH);
    this.#varint(length);
  }

  value(field: number, value: Uint8Array): void {
    this.open(field, value.length);
    this.#raw(value);
  }

  key(field: number, key: Uint8Array): void {
    this.open(field, this.#prefix.length + key.length);
    this.#raw(this.#prefix);
    this.#raw(key);
  }

  #raw(bytes: Uint8Array): void {
    this.bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #varint(value: number): void {
    let rest = value;
    while (rest >= 0x80) {
      this.bytes[this.#at++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.bytes[this.#at++] = rest;
  }
}

/** Writes requests for keys behind one prefix. */
export class TxnEncoder {
  readonly #prefix: Prefix;

  constructor(prefix: Uint8Array) {
    this.#prefix = Buffer.from(prefix);
  }

  /** Bytes of the commit's own TxnRequest. */
  size({ commit, lease }: LeasedCommit): number {
    let size = 0;
    for (const { key, revision } of commit.expect) {
      size += boxed(this.#compareSize(key, revision)) + boxed(boxed(this.#keySize(key)));
    }
    for (const { key, value } of commit.put) size += boxed(boxed(this.#putSize(key, value, lease)));
    for (const key of commit.remove) size += boxed(boxed(this.#keySize(key)));
    return size;
  }

  /** One request for all of them, each under its own conditions; `sizes` as `size` gave them. */
  batch(commits: readonly LeasedCommit[], sizes: readonly number[]): Buffer {
    const [only] = commits;
    if (commits.length === 1 && only !== undefined) {
      const alone = new Writer(sizes[0] ?? 0, this.#prefix);
      this.#writeCommit(alone, only);
      return alone.bytes;
    }
    const total = sizes.reduce((sum, size) => sum + boxed(boxed(size)), 0);
    const writer = new Writer(total, this.#prefix);
    for (const [place, commit] of commits.entries()) {
      const size = sizes[place] ?? 0;
      writer.open(2, boxed(size));
      writer.open(4, size);
      this.#writeCommit(writer, commit);
    }
    return writer.bytes;
  }

  /** Reads the keys at one revision: the newest, or the one named. */
  reads(keys: readonly Uint8Array[], revision = 0): Buffer {
    const extra = revision === 0 ? 0 : 1 + varintSize(revision);
    let total = 0;
    for (const key of keys) total += boxed(boxed(this.#keySize(key) + extra));
    const writer = new Writer(total, this.#prefix);
    for (const key of keys) {
      const size = this.#keySize(key) + extra;
      writer.open(2, boxed(size));
      writer.open(1, size);
      writer.key(1, key);
      if (revision !== 0) writer.uint(4, revision);
    }
    return writer.bytes;
  }

  /** A RangeRequest for one page. */
  page({ from, to, limit, reverse }: RangeRequest, revision: number): Buffer {
    const size =
      this.#keySize(from) +
      this.#keySize(to) +
      (1 + varintSize(limit)) +
      (1 + varintSize(revision)) +
      2;
    const writer = new Writer(size, this.#prefix);
    writer.key(1, from);
    writer.key(2, to);
    writer.uint(3, limit);
    writer.uint(4, revision);
    writer.uint(5, reverse ? ORDER_DESCEND : 0);
    return writer.bytes;
  }

  #writeCommit(writer: Writer, { commit, lease }: LeasedCommit): void {
    for (const { key, revision } of commit.expect) {
      writer.open(1, this.#compareSize(key, revision));
      writer.uint(2, TARGET_MOD);
      writer.key(3, key);
      writer.uint(6, revision);
    }
    for (const { key, value } of commit.put) {
      const size = this.#putSize(key, value, lease);
      writer.open(2, boxed(size));
      writer.open(2, size);
      writer.key(1, key);
      writer.value(2, value);
      if (lease !== 0) writer.uint(3, lease);
    }
    for (const key of commit.remove) this.#writeKeyed(writer, { branch: 2, kind: 3, key });
    // What is there instead of what was expected.
    for (const { key } of commit.expect) this.#writeKeyed(writer, { branch: 3, kind: 1, key });
  }

  #writeKeyed(
    writer: Writer,
    { branch, kind, key }: { branch: number; kind: number; key: Uint8Array },
  ): void {
    const size = this.#keySize(key);
    writer.open(branch, boxed(size));
    writer.open(kind, size);
    writer.key(1, key);
  }

  #keySize(key: Uint8Array): number {
    return boxed(this.#prefix.length + key.length);
  }

  #compareSize(key: Uint8Array, revision: number): number {
    return 2 + this.#keySize(key) + 1 + varintSize(revision);
  }

  #putSize(key: Uint8Array, value: Uint8Array, lease: number): number {
    const leaseSize = lease === 0 ? 0 : 1 + varintSize(lease);
    return this.#keySize(key) + boxed(value.length) + leaseSize;
  }
}

/** Bytes of a field that holds so many. All field numbers here fit one byte. */
function boxed(length: number): number {
  return 1 + varintSize(length) + length;
}

function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) size += 1;
  return size;
}

/** Where a message stands in an answer. */
interface Span {
  readonly from: number;
  readonly to: number;
}

const NOWHERE: Span = { from: 0, to: 0 };

export class Reader {
  readonly bytes: Buffer;
  readonly #to: number;
  #at: number;
  #wire = VARINT;

  constructor(bytes: Buffer, { from, to }: Span) {
    this.bytes = bytes;
    this.#at = from;
    this.#to = to;
  }

  /** The next field's number; 0 at the end. */
  field(): number {
    if (this.#at >= this.#to) return 0;
    const tag = this.uint();
    this.#wire = tag % 8;
    return Math.floor(tag / 8);
  }

  /** Exact up to 2^53, which revisions do not reach. */
  uint(): number {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.bytes[this.#at++];
      if (byte === undefined) throw new Error("Cannot read etcd's answer: it ends in a number");
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 0x80;
    }
  }

  span(): Span {
    const length = this.uint();
    const from = this.#at;
    this.#at += length;
    if (this.#at > this.#to) throw new Error("Cannot read etcd's answer: it ends in a field");
    return { from, to: this.#at };
  }

  skip(): void {
    if (this.#wire === LENGTH) this.span();
    else if (this.#wire === VARINT) this.uint();
    else throw new Error(`Cannot read etcd's answer: wire type ${this.#wire}`);
  }
}

export interface TxnAnswer {
  readonly revision: number;
  readonly succeeded: boolean;
  readonly responses: readonly Span[];
}

/** An answer to reads or to a batch, read only as far as somebody asks. */
export class Answer {
  readonly #bytes: Buffer;
  readonly top: TxnAnswer;

  constructor(bytes: Uint8Array) {
    this.#bytes = asBuffer(bytes);
    this.top = this.#txn({ from: 0, to: this.#bytes.length });
  }

  /** The answer to one commit of a batch of several. */
  nested(response: Span): TxnAnswer {
    return this.#txn(this.#inner(response, 4));
  }

  /** The entry of a read of one key, or undefined; the key is the asker's. */
  entry(response: Span, key: Uint8Array): Entry | undefined {
    const reader = new Reader(this.#bytes, this.#inner(response, 1));
    for (let field = reader.field(); field !== 0; field = reader.field()) {
      if (field !== 2) reader.skip();
      else {
        const { value, revision } = keyValue(this.#bytes, reader.span());
        // Copied, or one small value would keep the answer to all who asked together.
        const copy = Buffer.allocUnsafe(value.to - value.from);
        this.#bytes.copy(copy, 0, value.from, value.to);
        return { key, value: copy, revision };
      }
    }
    return undefined;
  }

  #txn(span: Span): TxnAnswer {
    const reader = new Reader(this.#bytes, span);
    const responses: Span[] = [];
    let revision = 0;
    let succeeded = false;
    for (let field = reader.field(); field !== 0; field = reader.field()) {
      if (field === 1) revision = headerRevision(this.#bytes, reader.span());
      else if (field === 2) succeeded = reader.uint() !== 0;
      else if (field === 3) responses.push(reader.span());
      else reader.skip();
    }
    return { revision, succeeded, responses };
  }

  #inner(response: Span, kind: number): Span {
    const reader = new Reader(this.#bytes, response);
    const field = reader.field();
    if (field !== kind) throw new Error(`Cannot read etcd's answer: kind ${field}, not ${kind}`);
    return reader.span();
  }
}

/** A RangeResponse; keys without the first `prefixLength` bytes. `count` is all that the range holds, whatever the limit. */
export function decodePage(answer: Uint8Array, prefixLength: number) {
  const bytes = asBuffer(answer);
  const reader = new Reader(bytes, { from: 0, to: bytes.length });
  const entries: Entry[] = [];
  let revision = 0;
  let count = 0;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) revision = headerRevision(bytes, reader.span());
    else if (field === 4) count = reader.uint();
    else if (field === 2) {
      const { key, value, revision: changed } = keyValue(bytes, reader.span());
      entries.push({
        key: bytes.subarray(key.from + prefixLength, key.to),
        value: bytes.subarray(value.from, value.to),
        revision: changed,
      });
    } else reader.skip();
  }
  return { entries, revision, count };
}

function headerRevision(bytes: Buffer, span: Span): number {
  const reader = new Reader(bytes, span);
  let revision = 0;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 3) revision = reader.uint();
    else reader.skip();
  }
  return revision;
}

function keyValue(bytes: Buffer, span: Span): { key: Span; value: Span; revision: number } {
  const reader = new Reader(bytes, span);
  let key = NOWHERE;
  let value = NOWHERE;
  let revision = 0;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) key = reader.span();
    else if (field === 5) value = reader.span();
    else if (field === 3) revision = reader.uint();
    else reader.skip();
  }
  return { key, value, revision };
}
