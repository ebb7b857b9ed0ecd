/** The object layer of a cluster's process: the nodes' disks, the placement map, and what hangs on a session. */
import { followMap } from "#cluster/follow-map.ts";
import { IndexRoom } from "#cluster/index-room.ts";
import { NodeStores } from "#cluster/node-stores.ts";
import type { Cluster } from "#cluster/open-cluster.ts";
import type { RoleProcess } from "#cluster/role-process.ts";
import { CodecByName } from "#codec/codec-by-name.ts";
import { systemClock } from "#lib/clock.ts";
import { systemRandom } from "#lib/random.ts";
import type { MetadataStore, Session } from "#metadata/metadata-store.ts";
import { createDataPlane } from "#objects/create-data-plane.ts";
import { createObjectLayer, type IndexLayer } from "#objects/layer.ts";
import { StorageClasses } from "#objects/storage-classes.ts";
import type { CurrentMap } from "#placement/current-map.ts";
import type { Settings } from "#settings.ts";
import { connectNode } from "#shards/client.ts";
import type { ShardStore } from "#shards/shard-store.ts";

export interface LayerParts {
  readonly map: CurrentMap;
  readonly classes: StorageClasses;
  readonly cluster: Cluster;
  readonly stores: ReadonlyMap<string, ShardStore>;
  readonly room?: IndexRoom;
}

/** What hangs on one session. */
export interface BoundLayer extends AsyncDisposable {
  readonly objects: IndexLayer;
}

/** `own`: disks of this process, which are read and written without the network. */
export async function openNodes(
  { log, closing, signal }: RoleProcess,
  { metadata, clusterId, tls }: Cluster,
  own?: ReadonlyMap<string, ShardStore>,
): Promise<NodeStores> {
  const shared = { clock: systemClock, log };
  const encrypted = tls ? { tls } : {};
  const nodes = await NodeStores.open(
    {
      ...shared,
      metadata,
      connect: ({ id, address }) =>
        connectNode({ ...shared, ...encrypted, address, nodeId: id, clusterId }),
      ...(own ? { own } : {}),
    },
    signal,
  );
  return closing.use(nodes);
}

/** Waits for the first placement map, which the keeper makes. */
export async function openMap(
  { log, closing, signal, notes }: RoleProcess,
  { metadata }: Cluster,
  nodes: NodeStores,
): Promise<CurrentMap> {
  const onWait = (reason: string) => notes.set("map", reason);
  const map = await followMap({ metadata, nodes, clock: systemClock, log, signal, onWait });
  notes.delete("map");
  return closing.use(map);
}

/** Of those who add to the index, and of who makes room in it. */
export async function openRoom(
  { settings, log, closing, notes, metrics }: RoleProcess,
  { metadata }: Cluster,
): Promise<IndexRoom> {
  const { etcdQuota: quotaBytes } = settings.cluster;
  const sizes = () => metadata.sizes();
  const shared = { clock: systemClock, log, notes, metrics };
  return closing.use(await IndexRoom.open({ ...shared, sizes, quotaBytes }));
}

/** `codec`: what new objects are kept as. */
export function storageClasses(codec: string, { smallObject }: Settings): StorageClasses {
  const names = { STANDARD: codec };
  return new StorageClasses({ codecs: new CodecByName(), names, smallBytes: smallObject });
}

export function openLayer(
  { log }: RoleProcess,
  { cluster, stores, map, classes, room }: LayerParts,
  session: Session,
  metadata: MetadataStore = cluster.metadata,
): BoundLayer {
  const { clusterId } = cluster;
  const lifetime = new AbortController();
  const shared = { session, clock: systemClock, random: systemRandom };
  const data = createDataPlane({ ...shared, stores, map, metadata, clusterId, classes, log });
  const { signal } = lifetime;
  const objects = createObjectLayer({ ...shared, store: metadata, data, room, lifetime: signal });
  return {
    objects,
    [Symbol.asyncDispose]: async () => {
      lifetime.abort(new Error("The session has ended"));
      await data[Symbol.asyncDispose]();
    },
  };
}
