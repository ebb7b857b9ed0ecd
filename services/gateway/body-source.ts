/** A request's bytes, one piece at a time, asked for: nothing is read from the socket before the first question. */
import type { Readable } from "node:stream";
import { S3Error } from "#gateway/errors.ts";

export interface ByteSource {
  /** The next piece, never empty; undefined at the end. Throws IncompleteBody when the client breaks off. One question at a time. */
  next(): Promise<Buffer | undefined>;
}

/** What may wait here while its reader is busy; then the socket is paused and TCP holds the client. */
const WAITING_BYTES_MAX = 256 * 1024;

/** Over a stream in flowing mode: pieces as they came from the socket, neither joined nor copied. */
export class StreamSource implements ByteSource {
  readonly #stream: Readable;
  readonly #onFirstRead: (() => void) | undefined;
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #reader: PromiseWithResolvers<Buffer | undefined> | undefined;
  #state: "untouched" | "flowing" | "paused" | "ended" = "untouched";
  #fault: S3Error | undefined;

  /** `onFirstRead` is the place to send `100 Continue`. */
  constructor(stream: Readable, onFirstRead?: () => void) {
    this.#stream = stream;
    this.#onFirstRead = onFirstRead;
  }

  next(): Promise<Buffer | undefined> {
    const piece = this.#waiting.shift();
    if (piece) {
      this.#waitingBytes -= piece.length;
      if (this.#state === "paused" && this.#waitingBytes === 0) this.#resume();
      return Promise.resolve(piece);
    }
    if (this.#fault) return Promise.reject(this.#fault);
    if (this.#state === "ended") return Promise.resolve(undefined);
    const reader = Promise.withResolvers<Buffer | undefined>();
    this.#reader = reader;
    if (this.#state === "untouched") this.#start();
    else if (this.#state === "paused") this.#resume();
    return reader.promise;
  }

  #start(): void {
    const stream = this.#stream;
    if (stream.destroyed && !stream.readableEnded) {
      this.#fail();
      return;
    }
    this.#onFirstRead?.();
    this.#state = "flowing";
    stream.on("end", () => this.#end());
    stream.on("error", (cause) => this.#fail(cause));
    stream.on("close", () => this.#fail());
    stream.on("data", (piece: Buffer) => this.#take(piece));
  }

  #resume(): void {
    this.#state = "flowing";
    this.#stream.resume();
  }

  #take(piece: Buffer): void {
    const reader = this.#reader;
    if (reader) {
      this.#reader = undefined;
      reader.resolve(piece);
      return;
    }
    this.#waiting.push(piece);
    this.#waitingBytes += piece.length;
    if (this.#waitingBytes >= WAITING_BYTES_MAX && this.#state === "flowing") {
      this.#state = "paused";
      this.#stream.pause();
    }
  }

  #end(): void {
    this.#state = "ended";
    this.#reader?.resolve(undefined);
    this.#reader = undefined;
  }

  #fail(cause?: unknown): void {
    if (this.#state === "ended" || this.#fault) return;
    this.#fault = new S3Error("IncompleteBody", { cause });
    this.#reader?.reject(this.#fault);
    this.#reader = undefined;
  }
}

/** A source that has nothing. */
export const emptySource: ByteSource = { next: () => Promise.resolve(undefined) };
