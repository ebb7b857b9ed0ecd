/** Role storage: the disks of one machine, registered in the cluster and served to gateways and keeper. */
import { resolve } from "node:path";
import type { Cluster } from "#cluster/open-cluster.ts";
import type { RoleProcess } from "#cluster/role-process.ts";
import { systemClock } from "#lib/clock.ts";
import { systemRandom } from "#lib/random.ts";
import { systemDisk } from "#lib/system-disk.ts";
import { parseAddress } from "#local/address.ts";
import { type FoundFolder, findFolders, joinFolder } from "#local/machine.ts";
import { EXIT_CONFIGURATION, OperatorFault } from "#local/operator-fault.ts";
import type { MountedDisk, NodeRecord } from "#placement/node-record.ts";
import { checkRegistration, NodeRefused, readNodes, registerNode } from "#placement/nodes.ts";
import type { Settings } from "#settings.ts";
import type { NodeControl, NodeStatus } from "#shards/node-control.ts";
import { serveShards } from "#shards/server.ts";
import { type DiskStore, openDiskStore } from "#storage/disk-store.ts";
import { keepCompacted } from "#storage/keep-compacted.ts";

export interface FoundDisks {
  readonly folders: readonly FoundFolder[];
  /** Whose data is in one of them; undefined: all are empty. */
  readonly known: { readonly clusterId: string; readonly path: string } | undefined;
}

/** Locks the folders that are disks already, and says of which cluster; nothing is written to others yet. */
export async function findDisks(
  settings: Settings,
  closing: AsyncDisposableStack,
): Promise<FoundDisks> {
  const isReplaced = (path: string) => settings.replace.some((one) => resolve(one) === path);
  const folders = await findFolders(settings.folders, { closing, isReplaced });
  const first = folders.find(({ clusterId }) => clusterId !== undefined);
  const { clusterId, path } = first ?? { clusterId: undefined, path: "" };
  return { folders, known: clusterId === undefined ? undefined : { clusterId, path } };
}

/** Answers the stores of its disks, by id. */
export async function serveStorage(
  process: RoleProcess,
  { metadata, clusterId, tls }: Cluster,
  { folders }: FoundDisks,
): Promise<ReadonlyMap<string, DiskStore>> {
  const { settings, log, closing, signal } = process;
  const { cluster } = settings;
  const { nodes } = await readNodes(metadata, signal);
  const plan = planDisks(process, folders, nodes);
  await refusing(async () => checkRegistration({ id: cluster.node, ...plan }, nodes));
  const mounted: { path: string; diskId: string }[] = [];
  for (const folder of plan.folders) {
    mounted.push(await joinFolder(folder, { clusterId, random: systemRandom, closing }));
  }
  const stores = new Map<string, DiskStore>();
  const disks: MountedDisk[] = [];
  for (const { path, diskId } of mounted) {
    const disk = systemDisk(path);
    const store = await openDiskStore({ disk, clusterId, clock: systemClock, log });
    closing.use(store);
    stores.set(diskId, store);
    disks.push({ id: diskId, label: path, capacity: (await store.health()).capacity });
  }
  closing.use(keepCompacted(stores.values(), { clock: systemClock, log }));
  const identity = { clusterId, nodeId: cluster.node };
  const control = new DiskControl({ ...identity, version: process.version, disks, stores });
  const server = await listening(cluster.grpcAddress, () =>
    serveShards({
      stores,
      identity,
      address: listenAddress(cluster.grpcAddress),
      ...(tls ? { tls } : {}),
      control,
      clock: systemClock,
      log,
    }),
  );
  closing.use(server);
  // Before anything is closed: whoever asks learns that it should go elsewhere.
  closing.defer(() => control.setDraining(true));
  const { zone, weight } = cluster;
  const address = cluster.nodeAddress ?? `${cluster.node}:${server.port}`;
  const { replaced } = plan;
  const registration = { id: cluster.node, zone, weight, address, disks, replaced };
  const record = await refusing(() => registerNode(metadata, registration, signal));
  log.info({ node: record.id, zone, address, state: record.state }, "registered");
  if (record.state === "new") {
    process.notes.set(
      "new",
      `node ${record.id} is new: a cluster that is at work places nothing on it before "anybucket node add ${record.id}"`,
    );
  }
  process.measures.push(() => measure(process, stores));
  return stores;
}

interface DiskPlan {
  readonly folders: readonly FoundFolder[];
  /** Those of the folders that are disks already. */
  readonly disks: readonly MountedDisk[];
  /** Disks whose place an empty folder takes. */
  readonly replaced: readonly string[];
}

/** An empty folder where the node had a disk is one that is not mounted, unless the operator says otherwise (R29). */
function planDisks(
  { settings, notes }: RoleProcess,
  found: readonly FoundFolder[],
  nodes: readonly NodeRecord[],
): DiskPlan {
  const { node } = settings.cluster;
  const known = nodes.find(({ id }) => id === node);
  const folders: FoundFolder[] = [];
  const disks: MountedDisk[] = [];
  const replaced: string[] = [];
  for (const folder of found) {
    const { path, diskId } = folder;
    if (diskId !== undefined) disks.push({ id: diskId, label: path, capacity: 0 });
    const isReplaced = settings.replace.some((one) => resolve(one) === path);
    // A start that was cut short may have made the new disk, and not registered it.
    const lost = known?.disks.find(({ id, label }) => label === path && id !== diskId);
    if (lost && diskId === undefined && !isReplaced) {
      notes.set(
        path,
        `degraded: the disk of ${path} is missing; mount it, or start with --replace ${path} to have an empty one filled`,
      );
      continue;
    }
    if (lost && isReplaced) replaced.push(lost.id);
    folders.push(folder);
  }
  if (folders.length > 0) return { folders, disks, replaced };
  throw new OperatorFault(
    `Cannot serve node ${node}: none of its disks is mounted; mount one, or start with --replace to have an empty one filled`,
    EXIT_CONFIGURATION,
  );
}

/** gRPC wants a host. */
function listenAddress(text: string): string {
  const { host, port } = parseAddress(text);
  if (host === undefined) return `[::]:${port}`;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** gRPC's faults have no code, only words. */
async function listening<T>(address: string, open: () => Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (error) {
    const { message } = error as Error;
    const isOurs = message.startsWith("Cannot ");
    throw new OperatorFault(
      isOurs
        ? message
        : `Cannot listen on ${address}: ${message}; choose another with --grpc-address :PORT`,
      EXIT_CONFIGURATION,
      error,
    );
  }
}

async function refusing<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof NodeRefused)) throw error;
    throw new OperatorFault(error.message, EXIT_CONFIGURATION, error);
  }
}

async function measure(
  { metrics }: RoleProcess,
  stores: ReadonlyMap<string, DiskStore>,
): Promise<void> {
  for (const [disk, store] of stores) {
    const health = await store.health();
    for (const kind of ["capacity", "free", "live", "used"] as const) {
      metrics.diskBytes.set({ disk, kind }, health[kind]);
    }
    metrics.diskState.set({ disk }, health.state === "writable" ? 1 : 0);
  }
}

class DiskControl implements NodeControl {
  readonly #node: Pick<NodeStatus, "clusterId" | "nodeId" | "version">;
  readonly #disks: readonly MountedDisk[];
  readonly #stores: ReadonlyMap<string, DiskStore>;
  readonly #startedMs = systemClock.now();
  #isDraining = false;

  constructor({
    disks,
    stores,
    ...node
  }: Pick<NodeStatus, "clusterId" | "nodeId" | "version"> & {
    disks: readonly MountedDisk[];
    stores: ReadonlyMap<string, DiskStore>;
  }) {
    this.#node = node;
    this.#disks = disks;
    this.#stores = stores;
  }

  async status(): Promise<NodeStatus> {
    const disks = await Promise.all(
      this.#disks.flatMap(({ id, label }) => {
        const store = this.#stores.get(id);
        return store ? [this.#status(store, label)] : [];
      }),
    );
    const state = this.#isDraining ? "draining" : "ready";
    return { ...this.#node, state, startedMs: this.#startedMs, disks };
  }

  async setDraining(isDraining: boolean): Promise<void> {
    this.#isDraining = isDraining;
  }

  async #status(store: DiskStore, label: string): Promise<NodeStatus["disks"][number]> {
    const scrub = { verified: 0, bad: 0, lastMs: 0 };
    return { diskId: store.diskId, label, health: await store.health(), scrub };
  }
}
