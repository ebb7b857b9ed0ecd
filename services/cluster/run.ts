/** A role of a cluster, from its settings to its end: each is one process, and any number of them make a cluster. */

import { keepCluster } from "#cluster/keep-cluster.ts";
import { openCluster } from "#cluster/open-cluster.ts";
import { RoleProcess } from "#cluster/role-process.ts";
import { serveGateway } from "#cluster/serve-gateway.ts";
import { findDisks, serveStorage } from "#cluster/serve-storage.ts";
import { optimizeSooner } from "#lib/optimize-sooner.ts";
import type { Role, Settings } from "#settings.ts";

export async function runRole(
  role: Exclude<Role, "all">,
  settings: Settings,
  version: string,
): Promise<void> {
  await using process = await RoleProcess.open(settings, version);
  const { log, signal, stopped } = process;
  try {
    await startRole(role, process);
  } catch (error) {
    // Whatever it waited for, it need not wait any longer.
    if (!signal.aborted) throw error;
  }
  log.info({ signal: await stopped }, "Stopping");
}

async function startRole(role: Exclude<Role, "all">, process: RoleProcess): Promise<void> {
  const { settings, log, metrics, closing, signal, reloads } = process;
  const onWait = (reason: string) => process.notes.set("etcd", reason);
  const parts = { settings, log, metrics, closing, signal, reloads, onWait };
  if (role === "storage") {
    const disks = await findDisks(settings, closing);
    const cluster = await openCluster({ ...parts, nodeId: settings.cluster.node }, disks.known);
    process.notes.delete("etcd");
    const own = await serveStorage(process, cluster, disks);
    if (settings.cluster.gateway) await serveGateway(process, cluster, own);
  } else {
    const cluster = await openCluster(parts);
    process.notes.delete("etcd");
    await (role === "gateway" ? serveGateway : keepCluster)(process, cluster);
  }
  process.isReady = true;
  optimizeSooner();
  log.info({ role, admin: settings.adminAddress }, "Ready");
  log.flush();
}
