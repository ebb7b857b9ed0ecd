/** Mutual TLS between the processes of a cluster. */

/** PEM: the cluster's own authority, and what this process shows of itself. */
export interface ClusterTls {
  readonly ca: Buffer;
  readonly certificate: Buffer;
  readonly key: Buffer;
}

export type Role = "gateway" | "keeper" | "storage";
