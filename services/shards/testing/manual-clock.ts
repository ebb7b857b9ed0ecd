/** A clock that stands still until a test moves it. */
import type { Clock } from "#lib/clock.ts";

interface Sleeper {
  readonly untilMs: number;
  readonly wake: () => void;
}

export class ManualClock implements Clock {
  #ms = 1_000_000;
  readonly #sleepers = new Set<Sleeper>();

  now(): number {
    return this.#ms;
  }

  monotonic(): number {
    return this.#ms;
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const sleeper = { untilMs: this.#ms + ms, wake: resolve };
    this.#sleepers.add(sleeper);
    signal?.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
    await promise.finally(() => this.#sleepers.delete(sleeper));
  }

  pass(ms: number): void {
    this.#ms += ms;
    for (const { untilMs, wake } of this.#sleepers) if (untilMs <= this.#ms) wake();
  }
}
