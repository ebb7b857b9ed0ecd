/** Role keeper: membership and background work of the whole cluster. Of several, each job is done by one at a time. */
import {
  type LayerParts,
  openLayer,
  openMap,
  openNodes,
  openRoom,
  storageClasses,
} from "#cluster/data-layer.ts";
import { nodeAdmin } from "#cluster/node-admin-server.ts";
import type { NodeStores } from "#cluster/node-stores.ts";
import type { Cluster } from "#cluster/open-cluster.ts";
import type { RoleProcess } from "#cluster/role-process.ts";
import { SessionBound } from "#cluster/session-bound.ts";
import { codecOf, groupWidth } from "#cluster/storage-class.ts";
import { compactionJob } from "#keeper/compaction.ts";
import { IndexHistory } from "#keeper/index-history.ts";
import { MembershipJob } from "#keeper/membership.ts";
import { NodeProbe } from "#keeper/node-probe.ts";
import { RemovalTerms } from "#keeper/removal-terms.ts";
import { JobRunner } from "#keeper/runner.ts";
import { type Keeper, startKeeper } from "#keeper/start-keeper.ts";
import { systemClock } from "#lib/clock.ts";
import type { Session } from "#metadata/metadata-store.ts";
import type { ShardStore, StoreHealth } from "#shards/shard-store.ts";

interface BoundKeeper extends AsyncDisposable {
  readonly keeper: Keeper;
}

export async function keepCluster(process: RoleProcess, cluster: Cluster): Promise<void> {
  const { closing, log } = process;
  const { metadata } = cluster;
  const shared = { metadata, clock: systemClock, log };
  const nodes = await openNodes(process, cluster);
  const probe = closing.use(new NodeProbe({ nodes: () => probed(nodes), clock: systemClock, log }));
  let work: SessionBound<BoundKeeper> | undefined;
  const onChange = () => work?.current.keeper.runNow("repair");
  const membership = closing.use(
    await SessionBound.open({
      ...shared,
      open: (session) => {
        const job = membershipJob(process, cluster, { probe, onChange });
        return new JobRunner(job, { ...shared, session });
      },
    }),
  );
  process.jobs = () => [membership.current.status(), ...(work?.current.keeper.status() ?? [])];
  process.api = nodeAdmin(process, {
    cluster,
    nodes,
    onChange: () => membership.current.runNow(),
    onGarbage: () => work?.current.keeper.runNow("garbage"),
  });
  // Without a map there is nothing to keep, and it is this process that makes it.
  process.isReady = true;
  const map = await openMap(process, cluster, nodes);
  // It makes again what others wrote, and writes nothing new: any class will do.
  const classes = storageClasses(codecOf("auto", map.map).name, process.settings);
  const currentRevision = () => metadata.currentRevision();
  const history = new IndexHistory({ metadata, currentRevision, log });
  const room = await openRoom(process, cluster);
  const parts = { cluster, stores: probe.reachable, map, classes, history, room };
  work = closing.use(
    await SessionBound.open({
      ...shared,
      open: (session) => openKeeper(process, parts, session),
    }),
  );
}

function openKeeper(
  process: RoleProcess,
  parts: LayerParts & { history: IndexHistory },
  session: Session,
): BoundKeeper {
  const { settings, log } = process;
  const { cluster, ...placed } = parts;
  const { metadata, clusterId } = cluster;
  const layer = openLayer(process, parts, session);
  const keeper = startKeeper({
    ...placed,
    metadata,
    clusterId,
    session,
    layer: layer.objects,
    clock: systemClock,
    log,
    trashRetentionMs: settings.trashRetention,
    repairBytesPerSecond: settings.repairRate,
    scrubRoundMs: settings.scrubInterval,
    removals: new RemovalTerms({ metadata, log }),
    further: [compactionJob(metadata)],
  });
  return {
    keeper,
    [Symbol.asyncDispose]: async () => {
      await keeper[Symbol.asyncDispose]();
      await layer[Symbol.asyncDispose]();
    },
  };
}

function membershipJob(
  { settings, log }: RoleProcess,
  { metadata, clusterId }: Cluster,
  { probe, onChange }: { probe: NodeProbe; onChange: () => void },
): MembershipJob {
  const { initialNodes, placementGroups } = settings.cluster;
  return new MembershipJob({
    metadata,
    clusterId,
    seen: { nodes: probe.standings, disks: probe.disks },
    initialNodes,
    groupCount: placementGroups,
    width: (disks, old) => groupWidth(settings.storageClass, disks, old),
    onChange,
    log,
  });
}

function probed(nodes: NodeStores) {
  return nodes.nodes.map(({ record, connection, stores }) => ({
    id: record.id,
    stores,
    probe: async (signal: AbortSignal) => {
      if (!connection) return healthOf(stores);
      const { disks } = await connection.control.status(signal);
      return new Map(disks.map(({ diskId, health }) => [diskId, health]));
    },
  }));
}

async function healthOf(stores: readonly ShardStore[]): Promise<ReadonlyMap<string, StoreHealth>> {
  const healths = stores.map(async (store) => [store.diskId, await store.health()] as const);
  return new Map(await Promise.all(healths));
}
