/** How long reads of each disk take, and a second try elsewhere for those that take too long (R15). */
import type { Clock } from "#lib/clock.ts";

/** Below this a wait is the machine's noise, not a disk's trouble. */
const HEDGE_MS_MIN = 20;
const TICK_MS = 10;
/** Step of the estimate, as a share of it: a disk that slows down is believed after some dozens of reads. */
const LEARNING_RATE = 0.05;
const QUANTILE = 0.95;
/** At most this share of the reads is asked for twice, with some in hand for a disk that stops. */
const EXTRA_SHARE = 0.05;
const EXTRA_IN_HAND_MAX = 20;

/** A read that may ask elsewhere; `hedge` is called once at most. */
export interface Hedged {
  readonly startedMs: number;
  readonly delayMs: number;
  hedge(): void;
}

export class ReadPace {
  readonly #clock: Clock;
  readonly #p95 = new Map<string, number>();
  readonly #waiting = new Set<Hedged>();
  #isTicking = false;
  #extra = EXTRA_IN_HAND_MAX;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  now(): number {
    return this.#clock.monotonic();
  }

  took(diskId: string, ms: number): void {
    const before = this.#p95.get(diskId) ?? HEDGE_MS_MIN;
    const step = LEARNING_RATE * Math.max(before, 1);
    this.#p95.set(diskId, ms > before ? before + step * QUANTILE : before - step * (1 - QUANTILE));
  }

  delayMs(diskId: string): number {
    return Math.max(HEDGE_MS_MIN, this.#p95.get(diskId) ?? 0);
  }

  watch(read: Hedged): void {
    this.#extra = Math.min(EXTRA_IN_HAND_MAX, this.#extra + EXTRA_SHARE);
    this.#waiting.add(read);
    if (!this.#isTicking) void this.#tick();
  }

  unwatch(read: Hedged): void {
    this.#waiting.delete(read);
  }

  async #tick(): Promise<void> {
    this.#isTicking = true;
    while (this.#waiting.size > 0) {
      await this.#clock.sleep(TICK_MS);
      const now = this.now();
      for (const read of this.#waiting) {
        if (now - read.startedMs < read.delayMs || this.#extra < 1) continue;
        this.#extra -= 1;
        this.#waiting.delete(read);
        read.hedge();
      }
    }
    this.#isTicking = false;
  }
}
