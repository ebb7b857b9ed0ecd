/**
 * What may live no longer than a session of the index: opened with a fresh session whenever the last one was lost.
 *
 * Shards carry the session that wrote them, and garbage collection takes what an ended session left unnamed; so nothing
 * that was begun with one session may ever be committed with the next (R9). That is why the whole of what commits is made
 * anew, and not the session alone.
 */
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { MetadataStore, Session } from "#metadata/metadata-store.ts";

const AGAIN_MS = 1000;

export interface SessionBoundParts<Bound extends AsyncDisposable> {
  readonly metadata: MetadataStore;
  readonly open: (session: Session) => Bound;
  readonly clock: Clock;
  readonly log: Logger;
}

export class SessionBound<Bound extends AsyncDisposable> implements AsyncDisposable {
  readonly #parts: SessionBoundParts<Bound>;
  readonly #stop = new AbortController();
  #session: Session;
  #current: Bound;
  #looking: Promise<void> | undefined;

  private constructor(parts: SessionBoundParts<Bound>, session: Session) {
    this.#parts = parts;
    this.#session = session;
    this.#current = parts.open(session);
  }

  static async open<Bound extends AsyncDisposable>(
    parts: SessionBoundParts<Bound>,
    signal?: AbortSignal,
  ): Promise<SessionBound<Bound>> {
    const bound = new SessionBound(parts, await parts.metadata.session(signal));
    bound.#looking = bound.#look();
    return bound;
  }

  get current(): Bound {
    return this.#current;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error("The process is closing"));
    await this.#looking;
    await this.#close(this.#session, this.#current);
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

  async #lost(signal: AbortSignal): Promise<void> {
    const { lost } = this.#session;
    if (lost.aborted) return;
    const ended = Promise.withResolvers<void>();
    const onEnd = () => (signal.aborted ? ended.reject(signal.reason as Error) : ended.resolve());
    const either = AbortSignal.any([signal, lost]);
    either.addEventListener("abort", onEnd, { once: true });
    await ended.promise;
  }

  async #replace(signal: AbortSignal): Promise<void> {
    const { metadata, open, log } = this.#parts;
    const before = { session: this.#session, current: this.#current };
    const session = await metadata.session(signal);
    const current = open(session);
    this.#session = session;
    this.#current = current;
    log.warn({ lost: before.session.id, session: session.id }, "session lost: a new one goes on");
    await this.#close(before.session, before.current);
  }

  async #close(session: Session, current: Bound): Promise<void> {
    try {
      await current[Symbol.asyncDispose]();
      await session[Symbol.asyncDispose]();
    } catch (error) {
      // Its lease, or its absence, ends it.
      this.#parts.log.warn({ err: error, session: session.id }, "session not closed");
    }
  }
}
