/** A node's disk as a far process sees it: a ShardStore whose every call crosses the simulated network. */
import {
  type Block,
  type ShardId,
  type ShardInfo,
  type ShardPage,
  type ShardSeal,
  type ShardStore,
  ShardStoreUnavailable,
  type ShardWriter,
  type StoreHealth,
} from "#shards/shard-store.ts";
import { type Network, NoAnswer } from "./network.ts";
import type { Process } from "./world.ts";

/** What a client of a node waits for an answer. */
const DEADLINE_MS = 8000;

/** The far end: its process, and its store while it is up. */
export interface ShardServer {
  readonly process: Process;
  readonly store: ShardStore;
}

export interface LinkParts {
  readonly network: Network;
  readonly from: Process;
  readonly diskId: string;
  /** undefined: the disk is gone for good. */
  readonly server: () => ShardServer | undefined;
}

/** For the node's end, which nobody calls off. */
const NEVER = new AbortController().signal;

export class ShardLink implements ShardStore {
  readonly diskId: string;
  readonly #parts: LinkParts;

  constructor(parts: LinkParts) {
    this.diskId = parts.diskId;
    this.#parts = parts;
  }

  write(id: ShardId, options: { signal: AbortSignal; forRepair?: boolean }): ShardWriter {
    const far = new FarWriter(id, options.forRepair === true);
    const { signal } = options;
    // Messages of one stream arrive in order; a lost one breaks the stream.
    let notBefore = 0;
    let isBroken = false;
    const inOrder = async (label: string, handle: (store: ShardStore) => Promise<void>) => {
      if (isBroken) throw new ShardStoreUnavailable("The stream is broken");
      const { now } = this.#parts.network.world;
      notBefore = Math.max(notBefore, now) + this.#parts.network.delay();
      try {
        await this.#call(label, handle, { signal, notBefore });
      } catch (error) {
        isBroken = true;
        throw error;
      }
    };
    return {
      append: async (block) => {
        const copy = copied(block);
        const number = far.next();
        await inOrder("append", async (store) => far.append(store, number, copy));
      },
      seal: async (seal) => {
        const copy = copiedSeal(seal);
        await inOrder("seal", async (store) => far.seal(store, copy));
      },
      abort: async () => {
        isBroken = true;
        await this.#call("abort", async () => far.abort(), {}).catch(() => undefined);
      },
    };
  }

  async put(
    id: ShardId,
    { block, seal }: { block: Block | undefined; seal: ShardSeal },
    { signal, forRepair = false }: { signal: AbortSignal; forRepair?: boolean },
  ): Promise<void> {
    const content = { block: block && copied(block), seal: copiedSeal(seal) };
    const options = { signal: NEVER, forRepair };
    return this.#call("put", async (store) => store.put(id, content, options), { signal });
  }

  async read(
    id: ShardId,
    range: { offset: number; length: number },
    { signal, into }: { signal: AbortSignal; into?: Uint8Array },
  ): Promise<Uint8Array> {
    const read = async (store: ShardStore) => {
      return Buffer.from(await store.read(id, range, { signal: NEVER }));
    };
    const bytes = await this.#call("read", read, { signal });
    if (into === undefined) return bytes;
    into.set(bytes);
    return into.subarray(0, bytes.length);
  }

  async stat(id: ShardId, signal: AbortSignal): Promise<ShardInfo | undefined> {
    return this.#call("stat", async (store) => store.stat(id, NEVER), { signal });
  }

  async verify(id: ShardId, signal: AbortSignal): Promise<"good" | "bad" | "missing"> {
    return this.#call("verify", async (store) => store.verify(id, NEVER), { signal });
  }

  async link(
    ids: { source: ShardId; target: ShardId },
    seal: ShardSeal,
    signal: AbortSignal,
  ): Promise<void> {
    const copy = copiedSeal(seal);
    return this.#call("link", async (store) => store.link(ids, copy, NEVER), { signal });
  }

  async remove(ids: readonly ShardId[], signal: AbortSignal, term?: number): Promise<void> {
    const copy = [...ids];
    return this.#call("remove", async (store) => store.remove(copy, NEVER, term), { signal });
  }

  async list(
    request: { after?: ShardId; group?: number; limit: number },
    signal: AbortSignal,
  ): Promise<ShardPage> {
    return this.#call("list", async (store) => store.list(request, NEVER), { signal });
  }

  async health(): Promise<StoreHealth> {
    try {
      return await this.#call("health", async (store) => store.health(), {});
    } catch (error) {
      const reason = (error as Error).message;
      return { state: "failed", capacity: 0, free: 0, live: 0, used: 0, reason };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #call<T>(
    label: string,
    handle: (store: ShardStore) => Promise<T>,
    { signal, notBefore = 0 }: { signal?: AbortSignal; notBefore?: number },
  ): Promise<T> {
    const { network, from } = this.#parts;
    const first = this.#parts.server();
    if (first === undefined) throw new ShardStoreUnavailable(`Disk ${this.diskId} is gone`);
    // A node that is taken away meanwhile is dead, and stays the one that was meant.
    const server = () => this.#parts.server() ?? first;
    const to = () => server().process;
    try {
      return await network.call({
        from,
        to,
        label: `${label} ${to().name}`,
        deadlineMs: DEADLINE_MS,
        handle: async () => handle(server().store),
        signal,
        notBefore,
      });
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error;
      throw new ShardStoreUnavailable(`Disk ${this.diskId} cannot be reached`, { cause: error });
    }
  }
}

/** The node's end of a stream. Blocks that come twice, or after a gap, are refused as the real protocol does by their number. */
class FarWriter {
  readonly #id: ShardId;
  readonly #forRepair: boolean;
  #sent = 0;
  #received = 0;
  #open: { readonly store: ShardStore; readonly writer: ShardWriter } | undefined;
  #isSealed = false;

  constructor(id: ShardId, forRepair: boolean) {
    this.#id = id;
    this.#forRepair = forRepair;
  }

  next(): number {
    return this.#sent++;
  }

  async append(store: ShardStore, number: number, block: Block): Promise<void> {
    if (number !== this.#received) throw new ShardStoreUnavailable("A block is out of order");
    this.#received += 1;
    await this.#writerOf(store).append(block);
  }

  async seal(store: ShardStore, seal: ShardSeal): Promise<void> {
    if (this.#isSealed || this.#received !== this.#sent) {
      throw new ShardStoreUnavailable("The stream has ended or lacks blocks");
    }
    this.#isSealed = true;
    await this.#writerOf(store).seal(seal);
  }

  async abort(): Promise<void> {
    if (!this.#isSealed) await this.#open?.writer.abort();
    this.#isSealed = true;
  }

  #writerOf(store: ShardStore): ShardWriter {
    const options = { signal: NEVER, forRepair: this.#forRepair };
    this.#open ??= { store, writer: store.write(this.#id, options) };
    // A node that was started again knows nothing of the stream.
    if (this.#open.store !== store) throw new ShardStoreUnavailable("The stream is not known here");
    return this.#open.writer;
  }
}

/** As it travels: the sender may use its memory again. */
function copied({ pieces, length, checksums }: Block): Block {
  return { pieces: [Buffer.concat(pieces)], length, checksums: checksums.slice() };
}

function copiedSeal(seal: ShardSeal): ShardSeal {
  return { ...seal, siblings: [...seal.siblings], about: Buffer.from(seal.about) };
}
