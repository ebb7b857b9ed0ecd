/** How far a round of background work is: what an operator asks while a disk is being refilled. */
import type { Clock } from "#lib/clock.ts";

/** Named one by one; beyond that they are only counted. */
const PROBLEMS_MAX = 100;

export interface Progressed {
  readonly bytes: number;
  readonly items: number;
  readonly bytesPerSecond: number;
  /** Undefined while nothing is known of the whole. */
  readonly share: number | undefined;
  readonly remainingMs: number | undefined;
  /** What could not be done, with the reason. */
  readonly problems: readonly string[];
  readonly problemCount: number;
}

export class Progress {
  readonly #clock: Clock;
  #startedMs: number;
  #bytes = 0;
  #items = 0;
  #share: number | undefined;
  #problems = new Map<string, string>();
  #problemCount = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startedMs = clock.monotonic();
  }

  /** A new round. */
  begin(): void {
    this.#startedMs = this.#clock.monotonic();
    this.#bytes = 0;
    this.#items = 0;
    this.#share = undefined;
    this.#problems = new Map();
    this.#problemCount = 0;
  }

  did({ bytes = 0, items = 1 }: { bytes?: number; items?: number }): void {
    this.#bytes += bytes;
    this.#items += items;
  }

  /** Of the whole round, 0 to 1. */
  reached(share: number): void {
    this.#share = share;
  }

  failed(what: string, why: unknown): void {
    this.#problemCount += 1;
    if (this.#problems.size < PROBLEMS_MAX || this.#problems.has(what)) {
      this.#problems.set(what, why instanceof Error ? why.message : String(why));
    }
  }

  get problemCount(): number {
    return this.#problemCount;
  }

  now(): Progressed {
    const elapsedMs = Math.max(1, this.#clock.monotonic() - this.#startedMs);
    const share = this.#share;
    const isUnderWay = share !== undefined && share > 0;
    return {
      bytes: this.#bytes,
      items: this.#items,
      bytesPerSecond: Math.round((this.#bytes * 1000) / elapsedMs),
      share,
      remainingMs: isUnderWay ? Math.round((elapsedMs * (1 - share)) / share) : undefined,
      problems: [...this.#problems].map(([what, why]) => `${what}: ${why}`),
      problemCount: this.#problemCount,
    };
  }
}
