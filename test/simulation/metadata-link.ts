/**
 * The index as a far process sees it, and the far end: the in-memory driver with leases. Commits are lost on the way there, on
 * the way back, or arrive long after the caller has given up; sessions end when nothing is heard of their process for a while.
 */
import type { Random } from "#lib/random.ts";
import type { MemoryMetadata } from "#metadata/memory.ts";
import {
  type Commit,
  type CommitOutcome,
  type Entry,
  IndeterminateCommit,
  type MetadataStore,
  type RangePage,
  type RangeRequest,
  type Session,
  type WatchEvent,
} from "#metadata/metadata-store.ts";
import { openSession, sessionKey } from "#metadata/sessions.ts";
import { type Network, NoAnswer } from "./network.ts";
import { Process, type World } from "./world.ts";

const DEADLINE_MS = 5000;
export const LEASE_MS = 12_000;
const LEASE_LOOK_MS = 1000;
/** A commit that its sender gave up on may come so late. */
const LATE_MS = 20_000;

/** What the nemesis turns. */
export interface IndexFaults {
  /** Shares of the commits that are lost, applied without an answer, or late. */
  lostShare: number;
  unheardShare: number;
  lateShare: number;
  readLostShare: number;
  isFull: boolean;
}

const QUIET: Readonly<IndexFaults> = {
  lostShare: 0,
  unheardShare: 0,
  lateShare: 0,
  readLostShare: 0,
  isFull: false,
};

/** The far end. */
export class IndexServer {
  readonly process: Process;
  readonly store: MemoryMetadata;
  faults: IndexFaults = { ...QUIET };
  /** Called when a commit has taken effect. */
  onCommitted: ((commit: Commit) => void) | undefined;
  readonly #world: World;
  readonly #heard = new Map<string, number>();

  constructor(world: World, store: MemoryMetadata) {
    this.#world = world;
    this.store = store;
    this.process = new Process(world, "index");
    store.fault = (commit) => {
      // Sessions and leases find room in every driver.
      return this.faults.isFull && commit.isEssential !== true ? "full" : undefined;
    };
  }

  /** Looks for leases that ran out, for ever. */
  keepLeases(): void {
    this.process.after(LEASE_LOOK_MS, "leases", () => {
      for (const [id, heard] of this.#heard) {
        if (this.#world.now - heard < LEASE_MS) continue;
        this.#world.count("session expired");
        this.end(id);
      }
      this.keepLeases();
    });
  }

  heard(id: string): void {
    this.#heard.set(id, this.#world.now);
  }

  /** Takes a session away, whoever it is of. */
  end(id: string): void {
    this.#heard.delete(id);
    void this.store.endSession(id);
  }

  sessions(): readonly string[] {
    return [...this.#heard.keys()];
  }

  heal(): void {
    this.faults = { ...QUIET };
  }
}

export class IndexLink implements MetadataStore {
  readonly #network: Network;
  readonly #from: Process;
  readonly #server: IndexServer;
  readonly #random: Random;

  constructor(parts: { network: Network; from: Process; server: IndexServer }) {
    this.#network = parts.network;
    this.#from = parts.from;
    this.#server = parts.server;
    this.#random = parts.network.world.random;
  }

  async get(key: Uint8Array, signal?: AbortSignal): Promise<Entry | undefined> {
    return this.#read("get", async () => this.#server.store.get(key), signal);
  }

  async getMany(
    keys: readonly Uint8Array[],
    signal?: AbortSignal,
  ): Promise<readonly (Entry | undefined)[]> {
    return this.#read("getMany", async () => this.#server.store.getMany(keys), signal);
  }

  async range(request: RangeRequest, signal?: AbortSignal): Promise<RangePage> {
    return this.#read("range", async () => this.#server.store.range(request), signal);
  }

  async commit(commit: Commit, signal?: AbortSignal): Promise<CommitOutcome> {
    signal?.throwIfAborted();
    const { world } = this.#network;
    const { faults, store } = this.#server;
    const sent = copied(commit);
    const fate = world.random.fraction();
    const isLost = fate < faults.lostShare;
    const isLate = !isLost && fate < faults.lostShare + faults.lateShare;
    const isUnheard =
      !isLost && !isLate && fate < faults.lostShare + faults.lateShare + faults.unheardShare;
    const late = (what: string) => {
      world.count(what);
      const ms = world.between(0, LATE_MS);
      world.after(ms, what, () => void store.commit(sent).catch(() => undefined));
    };
    try {
      return await this.#network.call({
        from: this.#from,
        to: () => this.#server.process,
        label: "commit",
        deadlineMs: DEADLINE_MS,
        signal,
        isOnce: true,
        handle: async () => {
          if (isLost) {
            world.count("commit lost");
            return hang();
          }
          if (isLate) {
            late("commit late");
            return hang();
          }
          const outcome = await store.commit(sent);
          if (outcome.kind === "committed") this.#server.onCommitted?.(sent);
          if (!isUnheard) return outcome;
          world.count("commit's answer lost");
          // As a driver may send again what it got no answer to. (On etcd a session's key hangs on its lease: no second copy makes it again.)
          if (world.chance(0.3) && sent.isEssential !== true) late("commit again");
          return hang();
        },
      });
    } catch (error) {
      if (error instanceof NoAnswer && error.isHarmless) {
        throw new Error("Cannot commit: the index is down", { cause: error });
      }
      const isAborted = signal?.aborted === true;
      if (!(error instanceof NoAnswer) && !isAborted) throw error;
      throw new IndeterminateCommit("Cannot learn the commit's outcome", { cause: error });
    }
  }

  async *watch(prefix: Uint8Array, signal: AbortSignal): AsyncIterable<WatchEvent> {
    const { world } = this.#network;
    for await (const event of this.#server.store.watch(prefix, signal)) {
      await this.#from.clock.sleep(world.between(0, 500), signal);
      // Only a hint: it may be lost.
      if (world.chance(0.1) || this.#network.isCut("index", this.#from.name)) continue;
      yield event;
    }
  }

  async session(signal?: AbortSignal): Promise<Session> {
    const session = await openSession(this, signal, this.#random);
    this.#server.heard(session.id);
    return session;
  }

  /** Keeps the session's lease; answers whether there still is one. Throws when the index does not answer. */
  async keepAlive(id: string): Promise<boolean> {
    return this.#read("keep-alive", async () => {
      const isThere = (await this.#server.store.get(sessionKey(id))) !== undefined;
      if (isThere) this.#server.heard(id);
      return isThere;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #read<T>(label: string, handle: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const { world } = this.#network;
    const isLost = world.chance(this.#server.faults.readLostShare);
    if (isLost) world.count("index read lost");
    try {
      return await this.#network.call({
        from: this.#from,
        to: () => this.#server.process,
        label,
        deadlineMs: DEADLINE_MS,
        handle: isLost ? hang : handle,
        signal,
      });
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error;
      throw new Error("Cannot read the index: it does not answer", { cause: error });
    }
  }
}

function hang(): Promise<never> {
  return new Promise(() => undefined);
}

/** As it travels: the sender may use its memory again. */
function copied({ expect, put, remove, isEssential }: Commit): Commit {
  return {
    expect: expect.map(({ key, revision }) => ({ key: Buffer.from(key), revision })),
    put: put.map(({ key, value }) => ({ key: Buffer.from(key), value: Buffer.from(value) })),
    remove: remove.map((key) => Buffer.from(key)),
    ...(isEssential && { isEssential }),
  };
}
