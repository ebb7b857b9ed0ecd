/**
 * Takes away the shards of writes that came to nothing. What cannot be reached, or lands after all, is left to garbage
 * collection; so failures here are only noted.
 */
import type { Logger } from "#lib/log.ts";
import type { ShardPlace } from "#objects/write-plan.ts";

export class Undo implements AsyncDisposable {
  readonly #log: Logger;
  readonly #stop = new AbortController();
  readonly #later = new Set<Promise<void>>();

  constructor(log: Logger) {
    this.#log = log;
  }

  async remove(places: readonly ShardPlace[]): Promise<void> {
    await Promise.all(places.map((place) => this.#removeOne(place)));
  }

  /** Does not wait: once nothing that could still write these shards is under way. */
  removeLater(places: readonly ShardPlace[], quiet: Promise<unknown> = Promise.resolve()): void {
    const removing = quiet
      .then(
        () => this.remove(places),
        () => this.remove(places),
      )
      .finally(() => this.#later.delete(removing));
    this.#later.add(removing);
  }

  /** Resolves when what was begun so far is done. */
  async quiet(): Promise<void> {
    while (this.#later.size > 0) await Promise.all(this.#later);
  }

  /** A disk that hangs is not waited for. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error("The data plane is closing"));
    return Promise.resolve();
  }

  async #removeOne({ id, diskId, store }: ShardPlace): Promise<void> {
    if (!store) return;
    try {
      await store.remove([id], this.#stop.signal);
    } catch (error) {
      this.#log.debug(
        { disk: diskId, err: error },
        "shard of an abandoned write left to garbage collection",
      );
    }
  }
}
