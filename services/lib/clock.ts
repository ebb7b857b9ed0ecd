/** Wall time and timers come in by constructor, so that a whole cluster can run on one seed. */
export interface Clock {
  /** Milliseconds since the epoch. For dates and ages; never for order. */
  now(): number;
  /** Milliseconds since some fixed start; never steps back. For durations and deadlines. */
  monotonic(): number;
  /** Resolves after the time given; rejects with the signal's reason when it aborts first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: async (ms, signal) => {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = () => reject(signal?.reason as Error);
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    }
  },
};
