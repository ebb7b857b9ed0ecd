/** Holds background work to so many bytes, or items, a second, so that clients do not feel it. */
import type { Clock } from "#lib/clock.ts";

/** A pause shorter than this is put off and made up for. */
const PAUSE_MS_MIN = 20;

export class Pace {
  readonly #clock: Clock;
  readonly #perSecond: number;
  #freeMs = 0;

  constructor(clock: Clock, perSecond: number) {
    this.#clock = clock;
    this.#perSecond = perSecond;
  }

  /** Resolves when the amount done before this one has been paid for. */
  async take(amount: number, signal: AbortSignal): Promise<void> {
    const now = this.#clock.monotonic();
    const waitMs = this.#freeMs - now;
    this.#freeMs = Math.max(this.#freeMs, now) + (amount * 1000) / this.#perSecond;
    if (waitMs >= PAUSE_MS_MIN) await this.#clock.sleep(waitMs, signal);
  }
}
