/**
 * The caller's end of one stream: requests out, answers matched to them by id.
 *
 * No wait is without an end: an answer comes, the deadline passes, the signal aborts, or the stream ends. When a request
 * has settled its block's memory is not read any more.
 */
import type { Clock } from "#lib/clock.ts";
import { noteMoved } from "#lib/outside-memory.ts";
import { type Abortable, unwatchAbort, watchAbort } from "#shards/abort-watch.ts";
import { decodeAnswers, type Reply } from "#shards/answer-wire.ts";
import { type MessageStream, type Outgoing, Sender } from "#shards/message.ts";
import { encodeRequest, type Question, type RequestKind } from "#shards/request-wire.ts";
import { ShardStoreUnavailable } from "#shards/shard-store.ts";

/** After so long the node, or its disk, is taken to be unable. A seal or a link may first read what is there already. */
const DEADLINE_MS: Readonly<Record<RequestKind, number>> = {
  put: 30_000,
  open: 30_000,
  append: 30_000,
  seal: 60_000,
  abort: 5000,
  read: 10_000,
  stat: 10_000,
  verify: 600_000,
  link: 60_000,
  remove: 30_000,
  list: 60_000,
  health: 5000,
  cancel: 5000,
};

/** What changes a disk is waited for a little when the caller has had enough: what has settled changes nothing any more. */
const CHANGES: ReadonlySet<RequestKind> = new Set([
  "put",
  "append",
  "seal",
  "abort",
  "link",
  "remove",
]);
const CANCEL_GRACE_MS = 1000;

/** Requests on their way; a caller of more is told to go elsewhere. */
const PENDING_MAX = 8192;
/** Answers that nobody waits for and that have not come: a node that owes so many is beyond use. */
const ABANDONED_MAX = 8192;
const TICK_MS = 50;

export interface AskOptions {
  readonly disk: string;
  readonly signal?: AbortSignal | undefined;
  readonly onCopied?: () => void;
}

export interface LaneStreamParts {
  readonly stream: MessageStream;
  readonly nodeId: string;
  readonly clock: Clock;
  /** The node broke the protocol: the stream must end. */
  readonly onBroken: (why: string) => void;
}

export class LaneStream {
  readonly #parts: LaneStreamParts;
  readonly #sender: Sender;
  readonly #pending = new Map<number, Pending>();
  readonly #abandoned = new Set<number>();
  #lastId = 0;
  #isTicking = false;
  #ended: Error | undefined;

  constructor(parts: LaneStreamParts) {
    this.#parts = parts;
    this.#sender = new Sender(parts.stream);
  }

  get nodeId(): string {
    return this.#parts.nodeId;
  }

  get pending(): number {
    return this.#pending.size;
  }

  ask(question: Question, options: AskOptions): { id: number; reply: Promise<Reply> } {
    const { signal, disk, onCopied } = options;
    signal?.throwIfAborted();
    if (this.#ended) throw this.#ended;
    if (this.#pending.size >= PENDING_MAX) {
      throw new ShardStoreUnavailable(
        `Node ${this.#parts.nodeId} has ${PENDING_MAX} requests unanswered`,
      );
    }
    const id = ++this.#lastId;
    const item: Outgoing = { ...encodeRequest({ id, disk, question }), onCopied };
    const { kind } = question;
    const deadlineMs = this.#parts.clock.monotonic() + DEADLINE_MS[kind];
    const pending = new Pending({ id, item, kind, deadlineMs, signal, onAbort: this.#onAbort });
    this.#pending.set(id, pending);
    if (signal) watchAbort(signal, pending);
    this.#sender.send(item);
    if (!this.#isTicking) void this.#tick();
    return { id, reply: pending.reply };
  }

  /** Throws Malformed. */
  receive(message: Buffer): void {
    noteMoved(message.length);
    for (const { id, reply } of decodeAnswers(message)) {
      const pending = this.#pending.get(id);
      if (pending) {
        this.#pending.delete(id);
        pending.answer(reply);
      } else if (!this.#abandoned.delete(id)) {
        this.#parts.onBroken(`An answer came to request ${id}, which was not asked or is answered`);
        return;
      }
    }
  }

  /** Whatever is on its way fails. */
  end(error: Error): void {
    if (this.#ended) return;
    this.#ended = error;
    this.#sender.close();
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    this.#abandoned.clear();
    for (const each of pending) each.fail(error);
  }

  readonly #onAbort = (pending: Pending, reason: unknown): void => {
    if (this.#sender.withdraw(pending.item)) {
      this.#pending.delete(pending.id);
      pending.fail(reason);
      return;
    }
    this.#cancel(pending.id);
    if (!CHANGES.has(pending.kind)) return this.#abandon(pending, reason);
    pending.reason = reason;
    const graceMs = this.#parts.clock.monotonic() + CANCEL_GRACE_MS;
    pending.deadlineMs = Math.min(pending.deadlineMs, graceMs);
  };

  #cancel(request: number): void {
    const id = ++this.#lastId;
    this.#sender.send(encodeRequest({ id, disk: "", question: { kind: "cancel", request } }));
  }

  #abandon(pending: Pending, reason: unknown): void {
    this.#pending.delete(pending.id);
    this.#abandoned.add(pending.id);
    pending.fail(reason);
    if (this.#abandoned.size > ABANDONED_MAX) this.#parts.onBroken("Too many answers are owed");
  }

  async #tick(): Promise<void> {
    this.#isTicking = true;
    while (this.#pending.size > 0) {
      await this.#parts.clock.sleep(TICK_MS);
      const now = this.#parts.clock.monotonic();
      for (const pending of this.#pending.values()) {
        if (now >= pending.deadlineMs) this.#expire(pending);
      }
    }
    this.#isTicking = false;
  }

  #expire(pending: Pending): void {
    const { nodeId } = this.#parts;
    const why = `Node ${nodeId} has not answered a ${pending.kind} in ${DEADLINE_MS[pending.kind]} ms`;
    const reason = pending.reason ?? new ShardStoreUnavailable(why);
    if (this.#sender.withdraw(pending.item)) {
      this.#pending.delete(pending.id);
      pending.fail(reason);
      return;
    }
    if (pending.reason === undefined) this.#cancel(pending.id);
    this.#abandon(pending, reason);
  }
}

interface PendingParts {
  readonly id: number;
  readonly item: Outgoing;
  readonly kind: RequestKind;
  readonly deadlineMs: number;
  readonly signal: AbortSignal | undefined;
  readonly onAbort: (pending: Pending, reason: unknown) => void;
}

class Pending implements Abortable {
  readonly id: number;
  readonly item: Outgoing;
  readonly kind: RequestKind;
  readonly reply: Promise<Reply>;
  deadlineMs: number;
  /** Why the caller had enough; it is still waited for. */
  reason: unknown;
  readonly #parts: PendingParts;
  readonly #resolve: (reply: Reply) => void;
  readonly #reject: (error: unknown) => void;

  constructor(parts: PendingParts) {
    this.#parts = parts;
    this.id = parts.id;
    this.item = parts.item;
    this.kind = parts.kind;
    this.deadlineMs = parts.deadlineMs;
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    this.reply = promise;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  answer(reply: Reply): void {
    this.#settle();
    if (this.reason !== undefined && reply.kind === "fault") this.#reject(this.reason);
    else this.#resolve(reply);
  }

  fail(error: unknown): void {
    this.#settle();
    this.#reject(this.reason ?? error);
  }

  abort(reason: unknown): void {
    this.#parts.onAbort(this, reason);
  }

  #settle(): void {
    const { signal, item } = this.#parts;
    item.isRevoked = true;
    if (signal) unwatchAbort(signal, this);
  }
}
