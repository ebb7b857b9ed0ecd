/**
 * What may live no longer than a session of the index: opened with a fresh session whenever the last one was lost.
 *
 * Shards carry the session that wrote them, and garbage collection takes what an ended session left unnamed; so nothing
 * that was begun with one session may ever be committed with the next (R9). That is why the whole of what commits is made
 * anew, and not the session alone.
 *
 * While the index has no room for a session, what can do without one is opened without: it reads and removes (R20).
 */
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import {
  type Entry,
  MetadataFull,
  type MetadataStore,
  type Session,
} from "#metadata/metadata-store.ts";
import { NoSession, RemovalsOnly } from "#metadata/removals-only.ts";

const AGAIN_MS = 1000;

export interface SessionBoundParts<Bound extends AsyncDisposable> {
  readonly metadata: MetadataStore;
  readonly open: (session: Session, metadata: MetadataStore) => Bound;
  readonly clock: Clock;
  readonly log: Logger;
  /** For what can do without a session while the index is full. */
  readonly whenFull?: {
    /** A record of the index that never changes. */
    readonly anchor: Entry;
    readonly onChange: (isFull: boolean) => void;
  };
}

interface Opened<Bound> {
  readonly session: Session;
  readonly bound: Bound;
}

export class SessionBound<Bound extends AsyncDisposable> implements AsyncDisposable {
  readonly #parts: SessionBoundParts<Bound>;
  readonly #stop = new AbortController();
  #opened: Opened<Bound>;
  #looking: Promise<void> | undefined;

  private constructor(parts: SessionBoundParts<Bound>, opened: Opened<Bound>) {
    this.#parts = parts;
    this.#opened = opened;
  }

  static async open<Bound extends AsyncDisposable>(
    parts: SessionBoundParts<Bound>,
    signal?: AbortSignal,
  ): Promise<SessionBound<Bound>> {
    const bound = new SessionBound(parts, await begin(parts, signal));
    bound.#looking = bound.#look();
    return bound;
  }

  get current(): Bound {
    return this.#opened.bound;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error("The process is closing"));
    await this.#looking;
    await this.#close(this.#opened);
  }

  async #look(): Promise<void> {
    const { signal } = this.#stop;
    const { clock, log } = this.#parts;
    while (!signal.aborted) {
      try {
        await this.#lost(signal);
        await this.#replace(signal);
      } catch (error) {
        if (signal.aborted) return;
        log.warn({ err: error }, "Cannot open a new session; trying again");
        await clock.sleep(AGAIN_MS, signal).catch(() => undefined);
      }
    }
  }

  /** Resolves when there is reason to open another one. */
  async #lost(signal: AbortSignal): Promise<void> {
    const { session } = this.#opened;
    if (session instanceof NoSession) return this.#parts.clock.sleep(AGAIN_MS, signal);
    const { lost } = session;
    if (lost.aborted) return;
    const ended = Promise.withResolvers<void>();
    const onEnd = () => (signal.aborted ? ended.reject(signal.reason as Error) : ended.resolve());
    const either = AbortSignal.any([signal, lost]);
    either.addEventListener("abort", onEnd, { once: true });
    await ended.promise;
  }

  async #replace(signal: AbortSignal): Promise<void> {
    const { log } = this.#parts;
    const before = this.#opened;
    const opened = await begin(this.#parts, signal, before.session);
    if (opened === undefined) return;
    this.#opened = opened;
    const { session } = opened;
    if (before.session instanceof NoSession) log.warn("The index has room again: writes go on");
    else
      log.warn({ lost: before.session.id, session: session.id }, "session lost: a new one goes on");
    await this.#close(before);
  }

  async #close({ session, bound }: Opened<Bound>): Promise<void> {
    try {
      await bound[Symbol.asyncDispose]();
      await session[Symbol.asyncDispose]();
    } catch (error) {
      // Its lease, or its absence, ends it.
      this.#parts.log.warn({ err: error, session: session.id }, "session not closed");
    }
  }
}

async function begin<Bound extends AsyncDisposable>(
  parts: SessionBoundParts<Bound>,
  signal: AbortSignal | undefined,
): Promise<Opened<Bound>>;
/** Nothing: it would be without a session again. */
async function begin<Bound extends AsyncDisposable>(
  parts: SessionBoundParts<Bound>,
  signal: AbortSignal | undefined,
  before: Session,
): Promise<Opened<Bound> | undefined>;
async function begin<Bound extends AsyncDisposable>(
  { metadata, open, log, whenFull }: SessionBoundParts<Bound>,
  signal: AbortSignal | undefined,
  before?: Session,
): Promise<Opened<Bound> | undefined> {
  try {
    const session = await metadata.session(signal);
    const bound = await openedWith(session, () => open(session, metadata));
    whenFull?.onChange(false);
    return { session, bound };
  } catch (error) {
    if (!(error instanceof MetadataFull) || whenFull === undefined) throw error;
    if (before instanceof NoSession) return undefined;
    log.error({ err: error }, "The index is full: until there is room, only reads and removals");
    const session = new NoSession(whenFull.anchor);
    const bound = open(session, new RemovalsOnly(metadata));
    whenFull.onChange(true);
    return { session, bound };
  }
}

/** A session that nothing hangs on is ended: else each try to open would leave one, with its lease kept alive. */
async function openedWith<Bound>(session: Session, open: () => Bound): Promise<Bound> {
  try {
    return open();
  } catch (error) {
    // Where that cannot be done, its lease ends it, or its absence.
    await Promise.allSettled([session[Symbol.asyncDispose]()]);
    throw error;
  }
}
