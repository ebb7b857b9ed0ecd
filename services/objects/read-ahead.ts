/** What the index said of a key in the same breath as of its bucket: the first question of most requests, answered without asking. */
import type { Entry } from "#metadata/metadata-store.ts";

export interface KeyEntries {
  readonly live: Entry | undefined;
  /** undefined: it was only to be read. */
  readonly whole:
    | readonly [state: Entry | undefined, live: Entry | undefined, marker: Entry | undefined]
    | undefined;
}

/** For one request, and once: whoever asks again wants to know how it is by then. */
export class ReadAhead {
  readonly #key: string;
  #entries: KeyEntries | undefined;

  constructor(key: string, entries: KeyEntries) {
    this.#key = key;
    this.#entries = entries;
  }

  take(key: string): KeyEntries | undefined {
    if (key !== this.#key) return undefined;
    const entries = this.#entries;
    this.#entries = undefined;
    return entries;
  }
}
