/** A store whose calls wait until a test lets them go on, and that tells which signals were aborted. */
import type { Block, ShardId, ShardStore, ShardWriter } from "#shards/shard-store.ts";

export class HeldStore {
  readonly store: ShardStore;
  readonly started: string[] = [];
  readonly aborted: string[] = [];
  readonly #gate = Promise.withResolvers<void>();

  constructor(store: ShardStore) {
    const held = async <T>(name: string, signal: AbortSignal, call: () => Promise<T>) => {
      this.started.push(name);
      signal.addEventListener("abort", () => this.aborted.push(name), { once: true });
      await this.#gate.promise;
      signal.throwIfAborted();
      return call();
    };
    const write = (id: ShardId, options: { signal: AbortSignal }): ShardWriter => {
      const writer = store.write(id, options);
      return {
        append: (block: Block) => held("append", options.signal, () => writer.append(block)),
        seal: (seal) => held("seal", options.signal, () => writer.seal(seal)),
        abort: async () => {
          this.aborted.push("writer");
          await writer.abort();
        },
      };
    };
    this.store = {
      diskId: store.diskId,
      write,
      put: (id, content, options) =>
        held("put", options.signal, () => store.put(id, content, options)),
      read: (id, range, options) =>
        held("read", options.signal, () => store.read(id, range, options)),
      stat: (id, signal) => held("stat", signal, () => store.stat(id, signal)),
      verify: (id, signal) => held("verify", signal, () => store.verify(id, signal)),
      link: (ids, seal, signal) => store.link(ids, seal, signal),
      remove: (ids, signal, term) => store.remove(ids, signal, term),
      list: (request, signal) => store.list(request, signal),
      health: () => store.health(),
      [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
    };
  }

  letGo(): void {
    this.#gate.resolve();
  }
}
