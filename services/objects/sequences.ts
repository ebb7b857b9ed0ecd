/**
 * Numbers the writes of a session and knows below which number all are settled: garbage collection may take
 * unreferenced shards below it while the session lives (R9 b). A write stays open until its commit's outcome is certain.
 */
export class Sequences {
  #next = 1;
  /** Numbers are added in ascending order, and a Set keeps that: the first is the smallest. */
  readonly #open = new Set<number>();

  begin(): number {
    const sequence = this.#next++;
    this.#open.add(sequence);
    return sequence;
  }

  /** Harmless when called again. */
  settle(sequence: number): void {
    this.#open.delete(sequence);
  }

  get lowWater(): number {
    for (const oldest of this.#open) return oldest;
    return this.#next;
  }
}
