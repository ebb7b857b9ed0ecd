/**
 * What a disk knows of whoever removes from it: the highest term that a removal came with. One with a lower term was decided
 * before something that its sender has not heard of, and is refused (R13, R11).
 */
import { ShardFenced } from "#shards/shard-store.ts";

export class RemovalFence {
  readonly #save: (term: number) => Promise<void>;
  /** Removals under way, of the latest term. */
  readonly #running = new Set<Promise<void>>();
  #seen: number;
  /** It could not be made durable. */
  #isForgotten = false;
  #raised: Promise<void> = Promise.resolve();

  /** `save` makes a term durable. */
  constructor(seen: number, save: (term: number) => Promise<void>) {
    this.#seen = seen;
    this.#save = save;
  }

  /**
   * When it resolves, no removal of a lower term is under way or will be accepted, not even after a power cut. Throws ShardFenced.
   */
  async run(term: number, removal: () => Promise<void>): Promise<void> {
    this.#requireLatest(term);
    if (term > this.#seen || this.#isForgotten) this.#raised = this.#raise(term);
    await this.#raised;
    this.#requireLatest(term);
    const running = removal();
    this.#running.add(running);
    try {
      await running;
    } finally {
      this.#running.delete(running);
    }
  }

  #requireLatest(term: number): void {
    if (term < this.#seen) throw new ShardFenced(this.#seen);
  }

  async #raise(term: number): Promise<void> {
    const before = this.#raised;
    this.#seen = term;
    const older = [...this.#running];
    this.#isForgotten = false;
    await before.catch(() => undefined);
    try {
      await this.#save(term);
    } catch (error) {
      this.#isForgotten = true;
      throw error;
    }
    await Promise.allSettled(older);
  }
}
