/** What the tests of etcd share. */
import type { EtcdMetadata } from "#metadata/etcd.ts";
import { IndeterminateCommit, MetadataUnavailable } from "#metadata/metadata-store.ts";

export function key(name: string): Buffer {
  return Buffer.from(name);
}

export function text(found: { readonly value: Uint8Array } | undefined): string | undefined {
  return found && Buffer.from(found.value).toString();
}

export async function put(store: EtcdMetadata, name: string, value: string | Buffer) {
  const outcome = await store.commit({
    expect: [],
    put: [{ key: key(name), value: Buffer.from(value) }],
    remove: [],
  });
  if (outcome.kind === "conflict") throw new Error("expected the commit to go through");
  return outcome.revision;
}

/** Resolves once it holds, asked every 50 ms; throws with what was last found otherwise. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  withinMs: number,
): Promise<void> {
  const end = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`It does not hold after ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/**
 * A client that counts in a key of its own: reads, adds one, compares. Whatever becomes of etcd, the key must never
 * show less than was acknowledged, nor more than was tried.
 */
export class Counter {
  readonly #store: EtcdMetadata;
  readonly #key: Buffer;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  acknowledged = 0;
  unknown = 0;
  refused = 0;
  readonly wrong: string[] = [];
  #lastMs = performance.now();
  /** The longest time without an acknowledgement. */
  gapMs = 0;

  constructor(store: EtcdMetadata, number: number) {
    this.#store = store;
    this.#key = key(`counter/${number}`);
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    const value = Number(text(await this.#store.get(this.#key)) ?? 0);
    this.#check(value);
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      try {
        await this.#add();
      } catch (error) {
        if (error instanceof IndeterminateCommit) this.unknown += 1;
        else if (error instanceof MetadataUnavailable) this.refused += 1;
        else this.wrong.push(String(error));
      }
    }
  }

  async #add(): Promise<void> {
    const found = await this.#store.get(this.#key);
    const value = Number(text(found) ?? 0);
    this.#check(value);
    const outcome = await this.#store.commit({
      expect: [{ key: this.#key, revision: found?.revision ?? 0 }],
      put: [{ key: this.#key, value: Buffer.from(`${value + 1}`) }],
      remove: [],
    });
    // A conflict is a commit of our own that was unheard and landed late.
    if (outcome.kind === "conflict") return;
    this.acknowledged += 1;
    this.gapMs = Math.max(this.gapMs, performance.now() - this.#lastMs);
    this.#lastMs = performance.now();
  }

  #check(value: number): void {
    if (value < this.acknowledged || value > this.acknowledged + this.unknown) {
      this.wrong.push(`${value}, with ${this.acknowledged} acknowledged, ${this.unknown} unknown`);
    }
  }
}
