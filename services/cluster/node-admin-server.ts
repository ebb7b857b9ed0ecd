/** The admin API of a cluster's process, beside its health and metrics. */
import { answerApi } from "#admin/api.ts";
import { GarbageAdmin } from "#admin/garbage-admin.ts";
import { NodeAdmin } from "#admin/node-admin.ts";
import type { NodeStores } from "#cluster/node-stores.ts";
import type { Cluster } from "#cluster/open-cluster.ts";
import type { RoleProcess } from "#cluster/role-process.ts";
import { systemClock } from "#lib/clock.ts";

export function nodeAdmin(
  { settings, log }: RoleProcess,
  {
    cluster,
    nodes,
    onChange = () => undefined,
    onGarbage = () => undefined,
  }: {
    cluster: Cluster;
    nodes: NodeStores;
    onChange?: () => void;
    onGarbage?: () => void;
  },
): RoleProcess["api"] {
  const { metadata, clusterId } = cluster;
  const { stores } = nodes;
  const admin = new NodeAdmin({ metadata, clusterId, stores, clock: systemClock, onChange });
  const garbage = new GarbageAdmin({ metadata, clusterId, onChange: onGarbage });
  const parts = { nodes: admin, garbage, token: settings.adminToken, log };
  return (request) => answerApi(parts, request);
}
