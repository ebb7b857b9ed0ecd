/** A process's way into its cluster: etcd, whose cluster it is, and what it shows to the others. */
import { readFile } from "node:fs/promises";
import { type Clock, systemClock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import { type Random, systemRandom } from "#lib/random.ts";
import { asOperatorFault, EXIT_CONFIGURATION, OperatorFault } from "#local/operator-fault.ts";
import { type EtcdMetadata, type EtcdOptions, openEtcd } from "#metadata/etcd.ts";
import { createCluster, findCluster } from "#placement/cluster-identity.ts";
import type { Settings } from "#settings.ts";
import type { ClusterTls } from "#shards/cluster-tls.ts";

const AGAIN_MS = 1000;

export interface Cluster {
  readonly metadata: EtcdMetadata;
  readonly clusterId: string;
  /** undefined: the processes speak in plain text. */
  readonly tls: ClusterTls | undefined;
}

export interface ClusterParts {
  readonly settings: Settings;
  readonly log: Logger;
  readonly closing: AsyncDisposableStack;
  /** Aborted when the process is asked to stop. */
  readonly signal: AbortSignal;
  /** What it waits for, for whoever asks whether it is ready. */
  readonly onWait: (reason: string) => void;
  readonly clock?: Clock;
  readonly random?: Random;
}

/** `ofDisks`: the cluster that data at hand belongs to; the index must then know that very one (R11). */
export async function openCluster(
  parts: ClusterParts,
  ofDisks?: { readonly clusterId: string; readonly path: string },
): Promise<Cluster> {
  const { settings, log, closing, signal, random = systemRandom } = parts;
  const tls = await readClusterTls(settings, log);
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

async function etcdOptions({
  settings: { cluster },
  log,
  clock = systemClock,
  random = systemRandom,
}: ClusterParts): Promise<EtcdOptions> {
  const { etcdCaFile, etcdCertFile, etcdKeyFile, etcdUser, etcdPassword } = cluster;
  const ca = await readPem(etcdCaFile, "ETCD_CA_FILE");
  const certificate = await readPem(etcdCertFile, "ETCD_CERT_FILE");
  const key = await readPem(etcdKeyFile, "ETCD_KEY_FILE");
  const pair = certificate && key ? { certificate, key } : {};
  const scheme = ca === undefined ? "http" : "https";
  return {
    endpoints: cluster.etcd.map((each) => (each.includes("://") ? each : `${scheme}://${each}`)),
    namespace: `${cluster.name}/`,
    ...(ca === undefined ? {} : { tls: { ca, ...pair } }),
    ...(etcdUser === undefined ? {} : { user: { name: etcdUser, password: etcdPassword ?? "" } }),
    clock,
    random,
    log,
  };
}

async function readClusterTls({ cluster }: Settings, log: Logger): Promise<ClusterTls | undefined> {
  const ca = await readPem(cluster.caFile, "CLUSTER_CA_FILE");
  const certificate = await readPem(cluster.certFile, "CLUSTER_CERT_FILE");
  const key = await readPem(cluster.keyFile, "CLUSTER_KEY_FILE");
  if (ca && certificate && key) return { cluster: cluster.name, ca, certificate, key };
  log.warn(
    "The cluster's processes speak in plain text and believe whoever reaches them: set ANYBUCKET_CLUSTER_CA_FILE, _CERT_FILE and _KEY_FILE, or keep port 9002 to yourself",
  );
  return undefined;
}

async function readPem(path: string | undefined, setting: string): Promise<Buffer | undefined> {
  if (path === undefined) return undefined;
  try {
    return await readFile(path);
  } catch (error) {
    throw new OperatorFault(
      `Cannot read ANYBUCKET_${setting}=${path}: ${(error as Error).message}`,
      EXIT_CONFIGURATION,
      error,
    );
  }
}
