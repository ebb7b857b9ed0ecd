/** Role gateway: S3 over the cluster's index and disks. It keeps nothing: any number of them serve the same buckets. */
import { UserTable } from "#access/users-file.ts";
import { openLayer, openMap, openNodes, openRoom, storageClasses } from "#cluster/data-layer.ts";
import { nodeAdmin } from "#cluster/node-admin-server.ts";
import type { Cluster } from "#cluster/open-cluster.ts";
import type { RoleProcess } from "#cluster/role-process.ts";
import { SessionBound } from "#cluster/session-bound.ts";
import { codecOf } from "#cluster/storage-class.ts";
import { systemClock } from "#lib/clock.ts";
import { openCertificate } from "#local/certificate.ts";
import { createBuckets } from "#local/create-buckets.ts";
import { firstUser } from "#local/credentials.ts";
import type { ChosenCodec } from "#local/default-codec.ts";
import { S3Server } from "#local/s3-server.ts";
import { LoadedUsers } from "#local/users.ts";
import { clusterRecord } from "#placement/cluster-identity.ts";
import type { ShardStore } from "#shards/shard-store.ts";

export async function serveGateway(
  process: RoleProcess,
  cluster: Cluster,
  own?: ReadonlyMap<string, ShardStore>,
): Promise<void> {
  const { settings, log, closing, metrics, notes } = process;
  const certificate = await openCertificate(settings, log);
  if (certificate !== undefined) closing.use(certificate);
  const { accessKey = "", secretKey = "" } = settings;
  const first = firstUser({ accessKey, secretKey, origin: "given" });
  const loaded = await LoadedUsers.open(first, settings.usersFile, log);
  const { metadata } = cluster;
  const nodes = await openNodes(process, cluster, own);
  const map = await openMap(process, cluster, nodes);
  const codec = codecOf(settings.storageClass, map.map);
  notes.set("codec", `objects are kept as ${codec.name}: ${lossOf(codec)}`);
  const classes = storageClasses(codec.name, settings);
  const room = await openRoom(process, cluster);
  const parts = { cluster, stores: nodes.stores, map, classes, room };
  const layer = closing.use(
    await SessionBound.open({
      metadata,
      open: (session, index) => openLayer(process, parts, session, index),
      clock: systemClock,
      log,
      whenFull: { anchor: await clusterRecord(metadata), onChange: noteFull(process) },
    }),
  );
  for (const note of await createBuckets({ settings, metadata, ownerId: first.ownerId })) {
    notes.set(note, note);
  }
  const users = new UserTable(loaded.current);
  const server = new S3Server({
    settings,
    users,
    objects: () => layer.current.objects,
    certificate: certificate?.current,
    metrics,
    log,
    room,
  });
  certificate?.onChange((next) => server.useCertificate(next));
  if (certificate) process.reloads.push(() => certificate.reload());
  process.reloads.push(async () => {
    if (await loaded.reload()) users.replace(loaded.current);
  });
  process.measures.push(() => server.measure());
  process.api = nodeAdmin(process, { cluster, nodes });
  process.signal.addEventListener("abort", () => server.announceEnd());
  await server.listen();
  closing.defer(() => server.drain());
  log.info({ address: settings.address, codec: codec.name, epoch: map.map.epoch }, "S3 is served");
}

/** Ready all the same: others cannot do more, and what makes room must come through (R20). */
function noteFull({ notes }: RoleProcess): (isFull: boolean) => void {
  return (isFull) => {
    if (isFull)
      notes.set("full", "the index is full: until there is room, only reads and removals");
    else notes.delete("full");
  };
}

function lossOf({ mayLose }: ChosenCodec): string {
  if (mayLose === 0) return "ONE copy; the loss of a disk is the loss of data";
  return `any ${mayLose} of the disks that hold an object may be lost`;
}
