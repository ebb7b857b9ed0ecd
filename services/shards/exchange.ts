/**
 * The node's end of one stream: requests in, answers out in the order they come about.
 *
 * Memory is bounded by what is admitted: the payloads that came and are not yet on disk, and the answers of reads that
 * the peer has not taken. Beyond the bounds the stream is not read, so HTTP/2 stops the peer; reads wait for their turn.
 * A peer that breaks the protocol, or takes no answer for 30 s, loses the stream, and with it all that it half wrote.
 */
import { status } from "@grpc/grpc-js";
import type { Clock } from "#lib/clock.ts";
import { noteMoved } from "#lib/outside-memory.ts";
import { encodeAnswer, type Reply } from "#shards/answer-wire.ts";
import { ByteBudget } from "#shards/byte-budget.ts";
import { Denied, faultOf } from "#shards/faults.ts";
import { HalfWrittenShards, OutOfTurn } from "#shards/half-written.ts";
import { type Outgoing, Sender } from "#shards/message.ts";
import { freeMessage } from "#shards/message-memory.ts";
import type { Peer, Refusal } from "#shards/peer.ts";
import { type PerformParts, perform } from "#shards/perform.ts";
import type { RareLog } from "#shards/rare-log.ts";
import { decodeRequests, type Request } from "#shards/request-wire.ts";
import { mayCall } from "#shards/roles.ts";
import { Malformed } from "#shards/wire.ts";

/** Of one stream: some blocks on their way to the disk while others come. */
const STREAM_BYTES_MAX = 16 * 1024 * 1024;
/** Under way on one stream; more come once these are answered. */
const REQUESTS_MAX = 1024;
/** A peer that takes none of its answers for so long does not read at all. */
const UNREAD_MS = 30_000;
/** What a small request costs in memory while it is under way. */
const REQUEST_BYTES = 512;

/** What `Exchange` needs of a gRPC call. */
export interface ExchangeStream {
  write(message: unknown, done: (error?: Error | null) => void): unknown;
  pause(): unknown;
  resume(): unknown;
}

export interface ExchangeParts extends PerformParts {
  readonly clock: Clock;
  readonly log: RareLog;
  readonly peer: Peer;
  /** Of all streams. */
  readonly budget: ByteBudget;
  /** Ends the stream; told once at most. */
  readonly end: (refusal: Refusal) => void;
}

export class Exchange {
  readonly #parts: ExchangeParts;
  readonly #stream: ExchangeStream;
  readonly #sender: Sender;
  readonly #budget: ByteBudget;
  readonly #writes: HalfWrittenShards;
  readonly #underWay = new Map<number, AbortController>();
  /** Reads that found no room. */
  #waiting: Request[] = [];
  #lastId = 0;
  #isPaused = false;
  #isEnded = false;
  /** Bytes of answers that the peer has not taken, and when it last took some. */
  #unreadBytes = 0;
  #takenMs: number;

  constructor(parts: ExchangeParts, stream: ExchangeStream) {
    this.#parts = parts;
    this.#stream = stream;
    this.#takenMs = parts.clock.monotonic();
    this.#budget = new ByteBudget(STREAM_BYTES_MAX, {
      whole: parts.budget,
      onRoom: () => this.#goOn(),
    });
    this.#writes = new HalfWrittenShards(parts.clock);
    this.#sender = new Sender(stream, (bytes) => this.#taken(bytes));
  }

  get isQuiet(): boolean {
    return this.#underWay.size === 0 && this.#unreadBytes === 0;
  }

  receive(message: Buffer): void {
    noteMoved(message.length);
    if (this.#isEnded) return;
    let requests: readonly Request[];
    try {
      requests = decodeRequests(message);
      for (const { id } of requests) {
        if (id <= this.#lastId) throw new Malformed(`Request ${id} came after ${this.#lastId}`);
        this.#lastId = id;
      }
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      this.#refuse(error.message);
      return;
    }
    const isAlone = requests.length === 1;
    for (const request of requests) this.#begin(request, isAlone);
    this.#pace();
  }

  /** To be called now and then: looks after peers that have fallen silent. */
  async tend(): Promise<void> {
    const now = this.#parts.clock.monotonic();
    if (this.#unreadBytes > 0 && now - this.#takenMs > UNREAD_MS) {
      this.#refuse("No answer was taken for too long");
      return;
    }
    const idle = await this.#writes.abortIdle();
    if (idle.length === 0) return;
    const fields = { ...this.#who(), writes: idle.length };
    this.#parts.log.warn("idle", fields, "half-written shards of a silent peer forgotten");
  }

  /** The stream is gone: what was half written goes, what is under way is told to stop. */
  async close(reason: Error): Promise<void> {
    this.#isEnded = true;
    this.#sender.close();
    this.#waiting = [];
    for (const controller of this.#underWay.values()) controller.abort(reason);
    await this.#writes.abortAll(reason);
    this.#budget.close();
  }

  #begin(request: Request, isAlone: boolean): void {
    const { kind } = request.question;
    if (kind === "cancel") {
      this.#cancel(request.question.request);
      return;
    }
    const denied = this.#denied(request);
    if (denied) {
      this.#parts.log.warn(`denied ${this.#parts.peer.name}`, this.#who(), denied.message);
      this.#answer(request.id, faultOf(denied), 0);
      return;
    }
    this.#underWay.set(request.id, new AbortController());
    const bytes = bytesOf(request);
    if (kind !== "read") this.#budget.take(bytes);
    else if (this.#waiting.length > 0 || !this.#budget.tryTake(bytes)) {
      this.#waiting.push(request);
      return;
    }
    void this.#serve(request, bytes, isAlone);
  }

  /** `isAlone`: in its message. */
  async #serve(request: Request, bytes: number, isAlone = false): Promise<void> {
    const controller = this.#underWay.get(request.id);
    if (!controller) return this.#budget.give(bytes);
    let reply: Reply;
    try {
      const { signal } = controller;
      reply = await perform(this.#parts, request, { writes: this.#writes, signal });
      if (isAlone) freeBlock(request);
    } catch (error) {
      reply = faultOf(error);
      if (error instanceof OutOfTurn) {
        this.#parts.log.warn(`turn ${this.#parts.peer.name}`, this.#who(), error.message);
      }
    }
    this.#underWay.delete(request.id);
    if (this.#isEnded) return;
    this.#answer(request.id, reply, bytes);
  }

  /** `bytes` were admitted for it. An answer with bytes of its own keeps them until the peer has taken it. */
  #answer(id: number, reply: Reply, bytes: number): void {
    const encoded = encodeAnswer({ id, reply });
    const release = reply.kind === "content" ? reply.release : undefined;
    const item: Outgoing = release ? { ...encoded, onCopied: release } : encoded;
    if (this.#unreadBytes === 0) this.#takenMs = this.#parts.clock.monotonic();
    this.#unreadBytes += item.bytes;
    this.#budget.take(item.bytes);
    this.#sender.send(item);
    this.#budget.give(bytes);
  }

  #taken(bytes: number): void {
    this.#unreadBytes -= bytes;
    this.#takenMs = this.#parts.clock.monotonic();
    this.#budget.give(bytes);
  }

  #cancel(id: number): void {
    const at = this.#waiting.findIndex((request) => request.id === id);
    const controller = this.#underWay.get(id);
    if (at === -1) return controller?.abort(new Error("The caller does not wait any more"));
    this.#waiting.splice(at, 1);
    this.#underWay.delete(id);
    const message = "The caller does not wait any more";
    this.#answer(id, { kind: "fault", fault: "unavailable", message }, 0);
  }

  #goOn(): void {
    if (this.#isEnded) return;
    while (this.#waiting.length > 0) {
      const [request] = this.#waiting as [Request];
      const bytes = bytesOf(request);
      if (!this.#budget.tryTake(bytes)) break;
      this.#waiting.shift();
      void this.#serve(request, bytes);
    }
    this.#pace();
  }

  #pace(): void {
    const isFull =
      this.#waiting.length > 0 || this.#underWay.size >= REQUESTS_MAX || this.#budget.isFull;
    if (isFull === this.#isPaused) return;
    this.#isPaused = isFull;
    if (isFull) this.#stream.pause();
    else this.#stream.resume();
  }

  #denied({ question, id }: Request): Denied | undefined {
    const { roles, name } = this.#parts.peer;
    const isRepair = (question.kind === "put" || question.kind === "open") && question.forRepair;
    const method = isRepair ? "repair" : question.kind;
    if (mayCall(roles, question.kind) && mayCall(roles, method)) return undefined;
    return new Denied(`${name} may not ask for ${method} (request ${id})`);
  }

  #refuse(why: string): void {
    this.#parts.log.warn(
      `protocol ${this.#parts.peer.name}`,
      { ...this.#who(), why },
      "peer cut off",
    );
    this.#parts.end({ code: status.INVALID_ARGUMENT, details: why });
  }

  #who(): { peer: string; address: string } {
    return { peer: this.#parts.peer.name, address: this.#parts.peer.address };
  }
}

/** The disk has taken it. */
function freeBlock({ question }: Request): void {
  const block = question.kind === "put" || question.kind === "append" ? question.block : undefined;
  for (const piece of block?.pieces ?? []) freeMessage(piece);
}

/** What a request holds while it is under way: its payload, or the answer it asks for. */
function bytesOf({ question }: Request): number {
  if (question.kind === "read") return REQUEST_BYTES + question.length;
  if (question.kind === "put" || question.kind === "append") {
    return REQUEST_BYTES + (question.block?.length ?? 0);
  }
  return REQUEST_BYTES;
}
