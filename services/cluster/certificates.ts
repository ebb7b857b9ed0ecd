/** What a cluster's process shows to the others and to etcd, and whom it believes: from files, renewed while it runs. */
import type { Logger } from "#lib/log.ts";
import type { Metrics } from "#lib/metrics.ts";
import { Renewable } from "#lib/renewable.ts";
import { WatchedPem } from "#local/certificate.ts";
import { expiryOf } from "#local/certificate-expiry.ts";
import type { Pem } from "#local/pem.ts";
import type { EtcdTls } from "#metadata/etcd-member.ts";
import type { Settings } from "#settings.ts";
import { type ClusterTls, requireNodeCertificate } from "#shards/cluster-tls.ts";

export interface CertificateParts {
  readonly settings: Settings;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly closing: AsyncDisposableStack;
  /** Called when the operator wants files to be read again. */
  readonly reloads: (() => Promise<unknown>)[];
}

/** `nodeId`: the storage node that the process is. undefined: the settings name no files. */
export async function openClusterTls(
  parts: CertificateParts,
  nodeId: string | undefined,
): Promise<Renewable<ClusterTls> | undefined> {
  const { caFile: ca, certFile: cert, keyFile: key, name } = parts.settings.cluster;
  if (ca === undefined || cert === undefined || key === undefined) {
    parts.log.warn(
      "The cluster's processes speak in plain text and believe whoever reaches them: set ANYBUCKET_CLUSTER_CA_FILE, _CERT_FILE and _KEY_FILE, or keep port 9002 to yourself",
    );
    return undefined;
  }
  return openRenewable(parts, {
    name: "cluster",
    paths: { ca, cert, key },
    read: (pem): ClusterTls => ({
      cluster: name,
      ca: Buffer.from(pem.ca),
      certificate: Buffer.from(pem.cert),
      key: Buffer.from(pem.key),
    }),
    check: (tls) => {
      if (nodeId !== undefined) requireNodeCertificate(tls, nodeId);
    },
  });
}

/** undefined: etcd is spoken to in plain text, or believed as browsers believe. */
export async function openEtcdTls(
  parts: CertificateParts,
): Promise<Renewable<EtcdTls> | undefined> {
  const { etcdCaFile: ca, etcdCertFile: cert, etcdKeyFile: key } = parts.settings.cluster;
  if (ca === undefined) return undefined;
  const paths: Pem & { ca: string } =
    cert === undefined || key === undefined ? { ca } : { ca, cert, key };
  return openRenewable(parts, {
    name: "etcd",
    paths,
    read: (pem): EtcdTls => ({
      ca: Buffer.from(pem.ca),
      ...(pem.cert === undefined ? {} : { certificate: Buffer.from(pem.cert) }),
      ...(pem.key === undefined ? {} : { key: Buffer.from(pem.key) }),
    }),
  });
}

interface Reading<Parts extends Pem, Tls> {
  /** In metrics. */
  readonly name: string;
  readonly paths: Parts;
  readonly read: (pem: Parts) => Tls;
  /** Throws when a renewed one will not do. */
  readonly check?: (tls: Tls) => void;
}

async function openRenewable<Parts extends Pem, Tls>(
  { log, metrics, closing, reloads }: CertificateParts,
  { name, paths, read, check }: Reading<Parts, Tls>,
): Promise<Renewable<Tls>> {
  const watched = closing.use(await WatchedPem.open(paths, { log }));
  const measure = (pem: Parts) =>
    metrics.certificateExpires.set({ certificate: name }, expiryOf(pem).atMs / 1000);
  const tls = new Renewable(read(watched.current));
  measure(watched.current);
  watched.onChange(
    (next) => {
      tls.renew(read(next));
      measure(next);
    },
    (next) => check?.(read(next)),
  );
  reloads.push(() => watched.reload());
  return tls;
}
