/** Items gathered into messages of one gRPC stream, as many at a time as have come up meanwhile. */
import { noteMoved } from "#lib/outside-memory.ts";
import type { Item } from "#shards/wire.ts";

/** A message: more items save nothing, and the first would wait for the last. */
const ITEMS_MAX = 64;
const BYTES_MAX = 256 * 1024;

export interface Outgoing extends Item {
  /** Called once the payload's memory is not looked at any more. */
  readonly onCopied?: (() => void) | undefined;
  /** Set when nobody wants it any more: its payload's memory may have been given away. */
  isRevoked?: boolean;
}

/**
 * Stands in for a Buffer where grpc-js takes the message that we "serialized": it asks for the length and then has it
 * copied behind the five bytes of gRPC's own frame. So the pieces of a block are copied once, and to where they go.
 */
class Message {
  readonly length: number;
  readonly #items: readonly Outgoing[];

  constructor(items: readonly Outgoing[]) {
    this.#items = items;
    let length = 0;
    for (const { bytes } of items) length += bytes;
    this.length = length;
  }

  get byteLength(): number {
    return this.length;
  }

  copy(target: Buffer, start: number): number {
    let at = start;
    for (const item of this.#items) {
      at += item.head.copy(target, at);
      for (const piece of item.payload) {
        // What was promised to be there must be something; the receiver's checksums refuse it.
        if (item.isRevoked) target.fill(0, at, at + piece.length);
        else target.set(piece, at);
        at += piece.length;
      }
      item.onCopied?.();
    }
    return this.length;
  }
}

/** The writing half of a gRPC stream whose messages are made of `Message`; see `serialized`. */
export interface MessageStream {
  write(message: Message, done: (error?: Error | null) => void): unknown;
}

/** For the service's definition: what `copy` fills is the message. */
export function serialized(message: Message): Buffer {
  return message as unknown as Buffer;
}

export class Sender {
  readonly #stream: MessageStream;
  readonly #onSent: ((bytes: number) => void) | undefined;
  #queue: Outgoing[] = [];
  #isScheduled = false;
  #isWriting = false;
  #isClosed = false;

  constructor(stream: MessageStream, onSent?: (bytes: number) => void) {
    this.#stream = stream;
    this.#onSent = onSent;
  }

  send(item: Outgoing): void {
    if (this.#isClosed) return;
    this.#queue.push(item);
    if (this.#isScheduled || this.#isWriting) return;
    this.#isScheduled = true;
    // Behind whatever else this turn of the event loop wants to send.
    setImmediate(() => {
      this.#isScheduled = false;
      this.#flush();
    });
  }

  /** False when it is on its way already. */
  withdraw(item: Outgoing): boolean {
    const at = this.#queue.indexOf(item);
    if (at === -1) return false;
    this.#queue.splice(at, 1);
    return true;
  }

  /** Nothing is sent any more. */
  close(): void {
    this.#isClosed = true;
    this.#queue = [];
  }

  /** One message at a time: what the socket does not take stays here, as items, and is not copied meanwhile. */
  #flush(): void {
    if (this.#isClosed || this.#isWriting || this.#queue.length === 0) return;
    let count = 0;
    let bytes = 0;
    while (count < this.#queue.length && count < ITEMS_MAX) {
      const next = this.#queue[count] as Outgoing;
      if (count > 0 && bytes + next.bytes > BYTES_MAX) break;
      bytes += next.bytes;
      count += 1;
    }
    const items = this.#queue.splice(0, count);
    this.#isWriting = true;
    noteMoved(bytes);
    this.#stream.write(new Message(items), () => {
      this.#isWriting = false;
      if (this.#isClosed) return;
      this.#onSent?.(bytes);
      this.#flush();
    });
  }
}
