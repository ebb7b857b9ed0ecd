/**
 * How every change of the index is committed: compared with what was read, tried again after a conflict, and looked
 * up when its outcome could not be learnt (DESIGN §4).
 *
 * Every commit compares this process's session key. A commit that timed out may still be on its way, so the session
 * key is rewritten first, which kills it wherever it is; only then does a read tell whether it took effect.
 */
import type { Clock } from "#lib/clock.ts";
import type { Random } from "#lib/random.ts";
import { Unavailable } from "#lib/unavailable.ts";
import { asBuffer } from "#metadata/keys.ts";
import {
  type Commit,
  type Entry,
  type Expectation,
  IndeterminateCommit,
  MetadataFull,
  type MetadataStore,
  type Put,
  type Session,
} from "#metadata/metadata-store.ts";

/** The commit may have taken effect, and will not do so later once `fenced` has resolved. The client gets a 503. */
export class OutcomeUnknown extends Unavailable {
  readonly fenced: Promise<void>;

  constructor(cause: unknown, fenced: Promise<void>) {
    super("Cannot tell whether the change was made: the index gave no answer", { cause });
    this.fenced = fenced;
  }
}

/** One look at the index: either there is nothing (more) to change, or this is the change and what it answers. */
export type Step<T> =
  | { readonly kind: "done"; readonly value: T }
  /** Something was waited for: look again. */
  | { readonly kind: "retry" }
  | {
      readonly kind: "commit";
      readonly change: Commit;
      readonly value: T;
      /** The put that no other commit makes: it carries our nonce. Its presence shows that the commit took effect. */
      readonly proof: Put | undefined;
      /**
       * Looks further for traces of a commit without an answer, after the general look has found none.
       * Called when the session is fenced and something compared has changed, or would not show it.
       */
      readonly landed?: () => Promise<boolean>;
      /**
       * All that the change writes was absent, and may be again after the change took effect: then that nothing compared
       * has changed proves nothing, as "absent" has no revision of its own.
       */
      readonly comesAndGoes?: boolean;
      /** When the index is full, or nearly: the change without puts, where that still does what was asked (R20). */
      readonly whenFull?: Commit;
    };

/** Expectations under these keys cannot be mended by reading again: the placement moved while bytes were written. */
export interface Fixed {
  readonly expect: readonly Expectation[];
}

export interface CommitParts {
  readonly store: MetadataStore;
  readonly session: Session;
  readonly clock: Clock;
  readonly random: Random;
  /** Ends when the process does. */
  readonly lifetime: AbortSignal;
  /** Whether what can do without puts shall; undefined: the index itself refuses puts in time. */
  readonly room?: { readonly isTight: boolean } | undefined;
  /** Called when a commit found that the placement of its bytes has changed: what plans the next write shall know it. */
  readonly onMoved?: () => Promise<unknown>;
}

/** Conflicts come from other processes only (those of this one queue up), so this many in a row mean trouble. */
const ATTEMPTS_MAX = 100;
/** Longest wait between two attempts. */
const BACKOFF_MS_MAX = 32;
const RENEW_BACKOFF_MS_MAX = 10_000;

export class Commits {
  readonly #parts: CommitParts;
  readonly #turns = new Map<string, Promise<void>>();

  constructor(parts: CommitParts) {
    this.#parts = parts;
  }

  /**
   * Calls `attempt` until its change is committed or it has none. `name` is what is contended for: after a first
   * conflict the contenders of this process take turns, so that a hot key costs one attempt a commit and not one
   * a contender.
   */
  async run<T>(
    name: string,
    attempt: () => Promise<Step<T>>,
    options: { signal?: AbortSignal | undefined; fixed?: Fixed } = {},
  ): Promise<T> {
    const first = await this.#once(attempt, options.fixed);
    return first.kind === "done" ? first.value : this.#again(name, attempt, options);
  }

  async #again<T>(
    name: string,
    attempt: () => Promise<Step<T>>,
    options: { signal?: AbortSignal | undefined; fixed?: Fixed },
  ): Promise<T> {
    const { clock, random } = this.#parts;
    const turn = Promise.withResolvers<void>();
    const before = this.#turns.get(name);
    this.#turns.set(name, turn.promise);
    try {
      await before;
      for (let attempts = 1; attempts < ATTEMPTS_MAX; attempts += 1) {
        options.signal?.throwIfAborted();
        const tried = await this.#once(attempt, options.fixed);
        if (tried.kind === "done") return tried.value;
        const backoff = Math.min(2 ** attempts, BACKOFF_MS_MAX) * random.fraction();
        await clock.sleep(backoff, options.signal);
      }
    } finally {
      turn.resolve();
      if (this.#turns.get(name) === turn.promise) this.#turns.delete(name);
    }
    throw new Unavailable(
      `Cannot change ${name}: others changed it ${ATTEMPTS_MAX} times meanwhile`,
    );
  }

  async #once<T>(
    attempt: () => Promise<Step<T>>,
    fixed: Fixed | undefined,
  ): Promise<{ kind: "done"; value: T } | { kind: "conflict" }> {
    const step = await attempt();
    if (step.kind === "done") return step;
    if (step.kind === "retry") return { kind: "conflict" };
    const { whenFull } = step;
    // It puts nothing that could prove that it took effect.
    const bare = whenFull && { ...step, change: whenFull, proof: undefined };
    if (bare && this.#parts.room?.isTight === true) return this.#make(bare, fixed);
    try {
      return await this.#make(step, fixed);
    } catch (error) {
      if (!(error instanceof MetadataFull)) throw error;
      if (bare === undefined) throw new Unavailable("The index is full", { cause: error });
      return this.#make(bare, fixed);
    }
  }

  async #make<T>(
    step: Extract<Step<T>, { kind: "commit" }>,
    fixed: Fixed | undefined,
  ): Promise<{ kind: "done"; value: T } | { kind: "conflict" }> {
    try {
      return (await this.#commit(step.change, fixed)) ? done(step.value) : { kind: "conflict" };
    } catch (error) {
      if (!(error instanceof IndeterminateCommit)) throw error;
      await this.#fence(error);
      return (await this.#landed(step, error)) ? done(step.value) : { kind: "conflict" };
    }
  }

  /** Not abortable: an answer that nobody waits for any more is still needed to know what became of the bytes. */
  async #commit(change: Commit, fixed: Fixed | undefined): Promise<boolean> {
    const { store, session } = this.#parts;
    const own = session.expectation();
    // A plan made before the session was renewed carries its old revision.
    const planned = fixed?.expect.filter(({ key }) => !asBuffer(key).equals(own.key)) ?? [];
    const expect = [...change.expect, ...planned, own];
    const outcome = await store.commit({ ...change, expect });
    if (outcome.kind === "committed") return true;
    // No later attempt could fare better.
    if (outcome.current.at(-1) === undefined) {
      throw new Unavailable("Cannot commit: this process's session has ended");
    }
    for (let index = 0; index < planned.length; index += 1) {
      const current = outcome.current[change.expect.length + index];
      if ((current?.revision ?? 0) !== planned[index]?.revision) {
        // The body is gone, so this request is lost; but the watch may lag, and the client's next one shall not meet the same.
        await this.#parts.onMoved?.().catch(() => undefined);
        throw new Unavailable(
          "Cannot commit: the bytes' placement changed while they were written",
        );
      }
    }
    return false;
  }

  /** After this no earlier commit of this process can take effect. */
  async #fence(cause: IndeterminateCommit): Promise<void> {
    try {
      await this.#parts.session.renew();
    } catch {
      const fenced = this.#fenceLater();
      // It fails when the process ends, and not every change has bytes whose fate somebody waits to tell.
      fenced.catch(() => undefined);
      throw new OutcomeUnknown(cause, fenced);
    }
  }

  async #fenceLater(): Promise<void> {
    const { clock, session, lifetime } = this.#parts;
    for (let backoff = 100; ; backoff = Math.min(2 * backoff, RENEW_BACKOFF_MS_MAX)) {
      await clock.sleep(backoff, lifetime);
      try {
        await session.renew();
        return;
      } catch (error) {
        lifetime.throwIfAborted();
        if (!(error instanceof Error)) throw error;
      }
    }
  }

  async #landed<T>(
    step: Extract<Step<T>, { kind: "commit" }>,
    cause: IndeterminateCommit,
  ): Promise<boolean> {
    try {
      const { expect } = step.change;
      const proof = step.proof === undefined ? [] : [step.proof];
      const keys = [...expect, ...proof].map(({ key }) => key);
      const current = await this.#parts.store.getMany(keys);
      if (proof.some(({ value }) => holds(current.at(-1), value))) return true;
      const isUnchanged = expect.every(
        ({ revision }, index) => (current[index]?.revision ?? 0) === revision,
      );
      if (isUnchanged && step.comesAndGoes !== true) return false;
      if (await step.landed?.()) return true;
    } catch (error) {
      throw new OutcomeUnknown(error, Promise.resolve());
    }
    // It may have landed and been undone since: to make the change again could undo what came after it.
    throw new OutcomeUnknown(cause, Promise.resolve());
  }
}

function done<T>(value: T): { kind: "done"; value: T } {
  return { kind: "done", value };
}

function holds(entry: Entry | undefined, value: Uint8Array): boolean {
  return entry !== undefined && asBuffer(entry.value).equals(value);
}
