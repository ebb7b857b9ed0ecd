/**
 * What is left of the index for a process that cannot open a session, as there is no room for one: reads, and commits that only
 * remove (R20). Removals need no session (DESIGN §7): they compare what they remove, and bring nothing that garbage collection could take.
 */
import {
  type Commit,
  type Entry,
  MetadataFull,
  type MetadataStore,
  type Session,
} from "#metadata/metadata-store.ts";

export class RemovalsOnly implements MetadataStore {
  readonly #store: MetadataStore;

  constructor(store: MetadataStore) {
    this.#store = store;
  }

  get(...request: Parameters<MetadataStore["get"]>): ReturnType<MetadataStore["get"]> {
    return this.#store.get(...request);
  }

  getMany(...request: Parameters<MetadataStore["getMany"]>): ReturnType<MetadataStore["getMany"]> {
    return this.#store.getMany(...request);
  }

  range(...request: Parameters<MetadataStore["range"]>): ReturnType<MetadataStore["range"]> {
    return this.#store.range(...request);
  }

  watch(...request: Parameters<MetadataStore["watch"]>): ReturnType<MetadataStore["watch"]> {
    return this.#store.watch(...request);
  }

  /** Whether there is room again by now is not asked: what a put would make reachable has no session that protects it. */
  async commit(commit: Commit, signal?: AbortSignal): ReturnType<MetadataStore["commit"]> {
    if (commit.put.length > 0) {
      throw new MetadataFull("Cannot commit: the index had no room for this process's session");
    }
    return this.#store.commit(commit, signal);
  }

  async session(): Promise<Session> {
    throw new MetadataFull("Cannot open a session: the index had no room for one");
  }

  /** The store is its owner's. */
  async [Symbol.asyncDispose](): Promise<void> {}
}

/**
 * In the place of a session that there is no room for. What its commits compare is a record that never changes, and so fences
 * nothing: a removal without an answer may take effect late, and is never made again.
 */
export class NoSession implements Session {
  readonly id = "none";
  readonly lost = new AbortController().signal;
  readonly #anchor: Entry;

  constructor(anchor: Entry) {
    this.#anchor = anchor;
  }

  expectation(): ReturnType<Session["expectation"]> {
    return this.#anchor;
  }

  async renew(): Promise<void> {
    throw new MetadataFull("Cannot renew the session: the index had no room for one");
  }

  async publishLowWater(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {}
}
