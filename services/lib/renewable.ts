/** A value that another takes the place of while it is in use: a certificate, when it is renewed. */
export class Renewable<T> {
  #current: T;
  readonly #listeners = new Set<(next: T) => void>();

  constructor(first: T) {
    this.#current = first;
  }

  get current(): T {
    return this.#current;
  }

  renew(next: T): void {
    this.#current = next;
    for (const listener of this.#listeners) listener(next);
  }

  /** Called with each that comes from now on, until what it answers is called. */
  onRenewed(listener: (next: T) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}
