/** A process's way into its cluster: etcd, whose cluster it is, and what it shows to the others. */
import { type CertificateParts, openClusterTls, openEtcdTls } from "#cluster/certificates.ts";
import { type Clock, systemClock } from "#lib/clock.ts";
import { type Random, systemRandom } from "#lib/random.ts";
import type { Renewable } from "#lib/renewable.ts";
import { asOperatorFault, EXIT_CONFIGURATION, OperatorFault } from "#local/operator-fault.ts";
import { type EtcdMetadata, type EtcdOptions, openEtcd } from "#metadata/etcd.ts";
import { createCluster, findCluster } from "#placement/cluster-identity.ts";
import type { ClusterTls } from "#shards/cluster-tls.ts";

const AGAIN_MS = 1000;

export interface Cluster {
  readonly metadata: EtcdMetadata;
  readonly clusterId: string;
  /** undefined: the processes speak in plain text. */
  readonly tls: Renewable<ClusterTls> | undefined;
}

export interface ClusterParts extends CertificateParts {
  /** Aborted when the process is asked to stop. */
  readonly signal: AbortSignal;
  /** What it waits for, for whoever asks whether it is ready. */
  readonly onWait: (reason: string) => void;
  readonly clock?: Clock;
  readonly random?: Random;
  /** The storage node that the process is. */
  readonly nodeId?: string;
}

/** `ofDisks`: the cluster that data at hand belongs to; the index must then know that very one (R11). */
export async function openCluster(
  parts: ClusterParts,
  ofDisks?: { readonly clusterId: string; readonly path: string },
): Promise<Cluster> {
  const { settings, log, closing, signal, random = systemRandom } = parts;
  const tls = await openClusterTls(parts, parts.nodeId);
  const metadata = closing.use(await waitForEtcd(parts));
  const found = await findCluster(metadata, signal);
  const { etcd, name } = settings.cluster;
  if (ofDisks !== undefined && found !== ofDisks.clusterId) {
    const there = found === undefined ? "knows no cluster" : `is of cluster ${found}`;
    throw new OperatorFault(
      `Cannot use ${ofDisks.path}: it holds data of cluster ${ofDisks.clusterId}, and etcd at ${etcd.join(",")} under "${name}" ${there}; is ANYBUCKET_ETCD right?`,
      EXIT_CONFIGURATION,
    );
  }
  const clusterId = found ?? (await createCluster(metadata, random, signal));
  log.info({ cluster: name, clusterId, etcd }, "cluster found");
  return { metadata, clusterId, tls };
}

/** It may be started at the same time as we are. */
async function waitForEtcd(parts: ClusterParts): Promise<EtcdMetadata> {
  const { log, signal, onWait, clock = systemClock } = parts;
  const options = await etcdOptions(parts);
  let told = "";
  for (;;) {
    try {
      return await openEtcd(options);
    } catch (error) {
      signal.throwIfAborted();
      const { message, cause } = error as Error;
      // Settings that no waiting mends.
      if (cause === undefined) throw asOperatorFault(error, EXIT_CONFIGURATION);
      const reason = `${message}: ${(cause as Error).message}`;
      if (reason !== told) log.warn(`${reason}; trying again`);
      told = reason;
      onWait(reason);
      await clock.sleep(AGAIN_MS, signal);
    }
  }
}

async function etcdOptions(parts: ClusterParts): Promise<EtcdOptions> {
  const { settings, log, clock = systemClock, random = systemRandom } = parts;
  const { cluster } = settings;
  const { etcdUser, etcdPassword } = cluster;
  const tls = await openEtcdTls(parts);
  const scheme = tls === undefined ? "http" : "https";
  return {
    endpoints: cluster.etcd.map((each) => (each.includes("://") ? each : `${scheme}://${each}`)),
    namespace: `${cluster.name}/`,
    ...(tls === undefined ? {} : { tls }),
    ...(etcdUser === undefined ? {} : { user: { name: etcdUser, password: etcdPassword ?? "" } }),
    clock,
    random,
    log,
  };
}
