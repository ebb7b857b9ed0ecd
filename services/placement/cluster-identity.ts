/** The cluster's identity: a random id, made once by the first process that meets an empty index (R11). */
import type { Random } from "#lib/random.ts";
import type { Entry, MetadataStore } from "#metadata/metadata-store.ts";
import { CLUSTER_KEY, decodeCluster, encodeCluster } from "#placement/node-record.ts";

/** undefined: the index knows no cluster yet. */
export async function findCluster(
  metadata: MetadataStore,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const found = await metadata.get(CLUSTER_KEY, signal);
  return found && decodeCluster(found.value);
}

/** Of a cluster that is known: the record that holds its identity, and never changes. */
export async function clusterRecord(metadata: MetadataStore, signal?: AbortSignal): Promise<Entry> {
  const found = await metadata.get(CLUSTER_KEY, signal);
  if (!found) throw new Error("Cannot find the cluster's record: it is gone");
  return found;
}

/** Whoever comes second has the first one's. */
export async function createCluster(
  metadata: MetadataStore,
  random: Random,
  signal?: AbortSignal,
): Promise<string> {
  const clusterId = random.bytes(16).toString("hex");
  const outcome = await metadata.commit(
    {
      expect: [{ key: CLUSTER_KEY, revision: 0 }],
      put: [{ key: CLUSTER_KEY, value: encodeCluster(clusterId) }],
      remove: [],
    },
    signal,
  );
  if (outcome.kind === "committed") return clusterId;
  const [there] = outcome.current;
  if (!there) throw new Error("Cannot make a cluster: its record came and went");
  return decodeCluster(there.value);
}
