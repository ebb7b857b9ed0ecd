/** How many shards make a write durable, and waiting for that many. */
import type { Clock } from "#lib/clock.ts";

/** W of DESIGN §4: with m disks lost later a shard is still to spare, except where there is only one disk anyway. */
export function writeQuorum({ k, m }: { readonly k: number; readonly m: number }): number {
  return Math.min(k + m, Math.max(k + 1, k + Math.ceil(m / 2)));
}

/** What became of one disk's try when the wait ended. */
export type Outcome = "done" | "failed" | "slow";

/** A disk that lets W others wait longer than this, and than they took, is left behind (R18): 10 times a busy disk's sync. */
const LAGGARD_MS = 500;
/** Fewer than W after this: the write fails (a client would give up soon). */
const STALL_MS = 30_000;
const TICK_MS = 50;

export interface QuorumTimes {
  readonly laggardMs?: number;
  readonly stallMs?: number;
}

export interface Waited {
  readonly outcomes: readonly Outcome[];
  readonly done: number;
  /** Of the first that failed. */
  readonly cause: unknown;
}

/** One timer for all writes under way, so that a small write costs none. */
export class QuorumWaits {
  readonly #clock: Clock;
  readonly #laggardMs: number;
  readonly #stallMs: number;
  readonly #waits = new Set<Wait>();
  #isTicking = false;

  constructor(clock: Clock, { laggardMs = LAGGARD_MS, stallMs = STALL_MS }: QuorumTimes = {}) {
    this.#clock = clock;
    this.#laggardMs = laggardMs;
    this.#stallMs = stallMs;
  }

  /** Ends when all tries have, when `needed` have and the others lag, or when so many cannot be reached. Never rejects. */
  wait(tries: readonly Promise<unknown>[], needed: number): Promise<Waited> {
    const wait = new Wait(tries, { needed, startedMs: this.#clock.monotonic() });
    this.#waits.add(wait);
    if (!this.#isTicking) void this.#tick();
    return wait.ended.finally(() => this.#waits.delete(wait));
  }

  async #tick(): Promise<void> {
    this.#isTicking = true;
    while (this.#waits.size > 0) {
      await this.#clock.sleep(TICK_MS);
      const now = this.#clock.monotonic();
      for (const wait of this.#waits) wait.check(now, this.#laggardMs, this.#stallMs);
    }
    this.#isTicking = false;
  }
}

class Wait {
  readonly ended: Promise<Waited>;
  readonly #resolve: (waited: Waited) => void;
  readonly #outcomes: Outcome[];
  readonly #needed: number;
  readonly #startedMs: number;
  #pending: number;
  #done = 0;
  #cause: unknown;
  /** When the first tick saw the quorum, and how long it had taken by then. */
  #quorumMs: number | undefined;

  constructor(
    tries: readonly Promise<unknown>[],
    { needed, startedMs }: { needed: number; startedMs: number },
  ) {
    const { promise, resolve } = Promise.withResolvers<Waited>();
    this.ended = promise;
    this.#resolve = resolve;
    this.#needed = needed;
    this.#startedMs = startedMs;
    this.#pending = tries.length;
    this.#outcomes = tries.map(() => "slow");
    tries.forEach((one, place) => {
      one.then(
        () => this.#settle(place, "done"),
        (error: unknown) => this.#settle(place, "failed", error),
      );
    });
    if (this.#pending < needed) this.#end();
  }

  check(now: number, laggardMs: number, stallMs: number): void {
    if (now - this.#startedMs > stallMs) return this.#end();
    if (this.#done < this.#needed) return;
    this.#quorumMs ??= now;
    const took = this.#quorumMs - this.#startedMs;
    if (now - this.#quorumMs > Math.max(laggardMs, took)) this.#end();
  }

  #settle(place: number, outcome: "done" | "failed", error?: unknown): void {
    this.#pending -= 1;
    if (outcome === "done") this.#done += 1;
    else this.#cause ??= error;
    this.#outcomes[place] = outcome;
    if (this.#pending === 0 || this.#done + this.#pending < this.#needed) this.#end();
  }

  #end(): void {
    this.#resolve({ outcomes: [...this.#outcomes], done: this.#done, cause: this.#cause });
  }
}
