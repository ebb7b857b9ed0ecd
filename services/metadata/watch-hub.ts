/** Hands what one process commits to its watchers. Events are hints: a watcher that falls behind gets one `reset` instead. */
import { asBuffer } from "#metadata/keys.ts";
import type { Commit, WatchEvent } from "#metadata/metadata-store.ts";

/** Events held for a watcher that is busy; more cost memory and tell it little that reading again would not. */
const PENDING_MAX = 1000;

export class WatchHub {
  readonly #watchers = new Set<Watcher>();

  get isWatched(): boolean {
    return this.#watchers.size > 0;
  }

  /** Watches from this call on, not from the first event asked for; ends quietly when the signal aborts. */
  watch(prefix: Uint8Array, signal: AbortSignal): AsyncIterable<WatchEvent> {
    const watcher = new Watcher(Buffer.from(prefix));
    if (!signal.aborted) {
      this.#watchers.add(watcher);
      const end = () => {
        this.#watchers.delete(watcher);
        watcher.end();
      };
      signal.addEventListener("abort", end, { once: true });
    } else {
      watcher.end();
    }
    return watcher;
  }

  publish({ put, remove }: Commit, revision: number): void {
    for (const watcher of this.#watchers) {
      for (const { key } of put) watcher.offer("put", key, revision);
      for (const key of remove) watcher.offer("remove", key, revision);
    }
  }

  reset(): void {
    for (const watcher of this.#watchers) watcher.reset();
  }

  /** Ends every watch, as when its signal aborts. */
  close(): void {
    for (const watcher of this.#watchers) watcher.end();
    this.#watchers.clear();
  }
}

class Watcher implements AsyncIterable<WatchEvent>, AsyncIterator<WatchEvent> {
  readonly #prefix: Buffer;
  #pending: WatchEvent[] = [];
  #isEnded = false;
  #wake: (() => void) | undefined;

  constructor(prefix: Buffer) {
    this.#prefix = prefix;
  }

  [Symbol.asyncIterator](): AsyncIterator<WatchEvent> {
    return this;
  }

  async next(): Promise<IteratorResult<WatchEvent, undefined>> {
    for (;;) {
      const event = this.#isEnded ? undefined : this.#pending.shift();
      if (event !== undefined) return { done: false, value: event };
      if (this.#isEnded) return { done: true, value: undefined };
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  offer(kind: "put" | "remove", key: Uint8Array, revision: number): void {
    const length = this.#prefix.length;
    if (key.length < length || asBuffer(key).compare(this.#prefix, 0, length, 0, length) !== 0) {
      return;
    }
    if (this.#pending[0]?.kind === "reset") return;
    // Copied: the committer may use the memory again.
    if (this.#pending.length < PENDING_MAX)
      this.#pending.push({ kind, key: Buffer.from(key), revision });
    else this.#pending = [{ kind: "reset" }];
    this.#wake?.();
  }

  reset(): void {
    this.#pending = [{ kind: "reset" }];
    this.#wake?.();
  }

  end(): void {
    this.#isEnded = true;
    this.#pending = [];
    this.#wake?.();
  }
}
