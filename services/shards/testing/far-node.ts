/** A node served on a free port of this machine, and a connection to it. */
import { type Clock, systemClock } from "#lib/clock.ts";
import { type Logger, silentLog } from "#lib/log.ts";
import { Renewable } from "#lib/renewable.ts";
import { connectNode, type NodeConnection } from "#shards/client.ts";
import type { ClusterTls } from "#shards/cluster-tls.ts";
import { MemoryShardStore } from "#shards/memory-shard-store.ts";
import type { NodeControl } from "#shards/node-control.ts";
import { type ShardServer, serveShards } from "#shards/server.ts";
import type { ShardStore } from "#shards/shard-store.ts";

export const IDENTITY = { clusterId: "cluster-a", nodeId: "node-1" };
export const { signal } = new AbortController();

export interface FarNode extends AsyncDisposable {
  readonly server: ShardServer;
  readonly node: NodeConnection;
  /** The first disk, from afar. */
  readonly far: ShardStore;
  /** The same one here, when it is in memory. */
  readonly near: MemoryShardStore;
}

export interface FarNodeOptions {
  readonly store?: ShardStore;
  readonly serverTls?: ClusterTls | Renewable<ClusterTls>;
  readonly tls?: ClusterTls | Renewable<ClusterTls>;
  readonly control?: Partial<NodeControl>;
  readonly clock?: Clock;
  readonly log?: Logger;
  readonly port?: number;
  /** Whom the caller means. */
  readonly identity?: { readonly clusterId: string; readonly nodeId: string };
  readonly caller?: string;
}

export async function openFarNode(options: FarNodeOptions = {}): Promise<FarNode> {
  const store = options.store ?? new MemoryShardStore();
  const server = await serveStore(store, options);
  const node = connectTo(server.port, options);
  return {
    server,
    node,
    far: node.store(store.diskId),
    near: store as MemoryShardStore,
    [Symbol.asyncDispose]: async () => {
      await node[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

export function serveStore(store: ShardStore, options: FarNodeOptions = {}): Promise<ShardServer> {
  const { serverTls, clock = systemClock, log = silentLog } = options;
  return serveShards({
    stores: new Map([[store.diskId, store]]),
    identity: IDENTITY,
    address: `127.0.0.1:${options.port ?? 0}`,
    ...(serverTls && { tls: renewable(serverTls) }),
    control: {
      status: async () => ({
        ...IDENTITY,
        version: "1.2.3",
        state: "ready",
        startedMs: 5,
        disks: [{ diskId: store.diskId, label: "/disk", health: await store.health() }],
      }),
      setDraining: async () => undefined,
      ...options.control,
    },
    clock,
    log,
  });
}

export function connectTo(port: number, options: FarNodeOptions = {}): NodeConnection {
  const { tls, log = silentLog, clock = systemClock, identity = IDENTITY, caller = "" } = options;
  const address = `127.0.0.1:${port}`;
  return connectNode({
    ...identity,
    address,
    ...(tls && { tls: renewable(tls) }),
    caller,
    clock,
    log,
  });
}

function renewable(tls: ClusterTls | Renewable<ClusterTls>): Renewable<ClusterTls> {
  return tls instanceof Renewable ? tls : new Renewable(tls);
}
