/**
 * The disks of all storage nodes, by id, wherever they are: those of this process as they stand, all others over the
 * network. Follows the nodes' records as they change.
 */
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { MetadataStore } from "#metadata/metadata-store.ts";
import { NODES_PREFIX, type NodeRecord } from "#placement/node-record.ts";
import { readNodes } from "#placement/nodes.ts";
import type { NodeConnection } from "#shards/client.ts";
import type { ShardStore } from "#shards/shard-store.ts";

/** Watches are hints: without one the records are read so often. */
const LOOK_AGAIN_MS = 10_000;
/** After a watch broke. */
const WATCH_AGAIN_MS = 1000;

export interface NodeStoresParts {
  readonly metadata: MetadataStore;
  readonly connect: (node: NodeRecord) => NodeConnection;
  /** Disks of this process. */
  readonly own?: ReadonlyMap<string, ShardStore>;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface FarNode {
  readonly record: NodeRecord;
  /** undefined: its disks are this process's own. */
  readonly connection: NodeConnection | undefined;
  readonly stores: readonly ShardStore[];
}

export class NodeStores implements AsyncDisposable {
  /** By disk id. The same map for good: disks come and go in it. */
  readonly stores = new Map<string, ShardStore>();
  readonly #parts: NodeStoresParts;
  readonly #own: ReadonlyMap<string, ShardStore>;
  readonly #nodes = new Map<string, FarNode>();
  readonly #stop = new AbortController();
  #following: Promise<unknown> | undefined;
  #refreshing: Promise<void> | undefined;

  private constructor(parts: NodeStoresParts) {
    this.#parts = parts;
    this.#own = parts.own ?? new Map();
  }

  static async open(parts: NodeStoresParts, signal?: AbortSignal): Promise<NodeStores> {
    const nodes = new NodeStores(parts);
    await nodes.refresh(signal);
    nodes.#following = Promise.all([nodes.#watch(), nodes.#look()]);
    return nodes;
  }

  get nodes(): readonly FarNode[] {
    return [...this.#nodes.values()];
  }

  /** Reads the records anew. Callers that come together share one read, begun after the last of them. */
  async refresh(signal?: AbortSignal): Promise<void> {
    if (this.#refreshing) await this.#refreshing.catch(() => undefined);
    this.#refreshing ??= this.#read().finally(() => {
      this.#refreshing = undefined;
    });
    await this.#refreshing;
    signal?.throwIfAborted();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error("The process is closing"));
    await this.#following;
    for (const { connection } of this.#nodes.values()) await connection?.[Symbol.asyncDispose]();
  }

  async #read(): Promise<void> {
    const { nodes } = await readNodes(this.#parts.metadata, this.#stop.signal);
    const known = new Set(nodes.map(({ id }) => id));
    for (const node of this.#nodes.values()) if (!known.has(node.record.id)) this.#leave(node);
    for (const record of nodes) this.#follow(record);
  }

  #follow(record: NodeRecord): void {
    const before = this.#nodes.get(record.id);
    const isOwn = record.disks.some(({ id }) => this.#own.has(id));
    const isSame = before?.record.address === record.address && sameDisks(before.record, record);
    if (isSame) {
      this.#nodes.set(record.id, { ...before, record });
      return;
    }
    if (before) this.#leave(before);
    const connection = isOwn ? undefined : this.#parts.connect(record);
    const stores = record.disks.flatMap(({ id }) => {
      const store = connection?.store(id) ?? this.#own.get(id);
      return store ? [store] : [];
    });
    for (const store of stores) this.stores.set(store.diskId, store);
    this.#nodes.set(record.id, { record, connection, stores });
  }

  #leave({ record, connection, stores }: FarNode): void {
    this.#nodes.delete(record.id);
    for (const { diskId } of stores) this.stores.delete(diskId);
    // What is under way there fails, as it would if the node were gone.
    void connection?.[Symbol.asyncDispose]();
  }

  async #watch(): Promise<void> {
    const { signal } = this.#stop;
    const { metadata, clock } = this.#parts;
    while (!signal.aborted) {
      try {
        for await (const _ of metadata.watch(NODES_PREFIX, signal)) await this.#tryRefresh();
      } catch (error) {
        if (signal.aborted) return;
        this.#parts.log.warn({ err: error }, "nodes cannot be followed; trying again");
      }
      await clock.sleep(WATCH_AGAIN_MS, signal).catch(() => undefined);
    }
  }

  async #look(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.#parts.clock.sleep(LOOK_AGAIN_MS, signal).catch(() => undefined);
      if (!signal.aborted) await this.#tryRefresh();
    }
  }

  async #tryRefresh(): Promise<void> {
    try {
      await this.refresh();
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      this.#parts.log.warn({ err: error }, "nodes cannot be read; keeping those known");
    }
  }
}

function sameDisks(one: NodeRecord, other: NodeRecord): boolean {
  return diskIds(one) === diskIds(other);
}

function diskIds({ disks }: NodeRecord): string {
  return disks.map(({ id }) => id).join();
}
