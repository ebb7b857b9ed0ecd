/**
 * Mutual TLS between the processes of a cluster. Signed by the cluster's authority, the names in a certificate (role-names.ts)
 * are the whole of an identity: host names and addresses change hands and prove nothing.
 */
import { X509Certificate } from "node:crypto";
import {
  ChannelCredentials,
  credentials,
  ServerCredentials,
  type VerifyOptions,
} from "@grpc/grpc-js";
import { describe, type RoleName, roleNamesOf, roleNamesOfPeer } from "#shards/role-names.ts";

/** PEM: the cluster's own authority, and what this process shows of itself. */
export interface ClusterTls {
  /** The name that certificates have for the cluster. */
  readonly cluster: string;
  readonly ca: Buffer;
  readonly certificate: Buffer;
  readonly key: Buffer;
}

export function serverCredentials(tls: ClusterTls | undefined): ServerCredentials {
  if (tls === undefined) return ServerCredentials.createInsecure();
  const pair = { private_key: tls.key, cert_chain: tls.certificate };
  return ServerCredentials.createSsl(tls.ca, [pair], true);
}

/** Believes only the storage node that is meant. */
export function channelCredentials(
  tls: ClusterTls | undefined,
  nodeId: string,
): ChannelCredentials {
  if (tls === undefined) return credentials.createInsecure();
  const { cluster } = tls;
  const verify: VerifyOptions = {
    checkServerIdentity: (_, { raw }) => {
      const names = roleNamesOfPeer(raw);
      if (names.some((name) => isNode(name, { cluster, nodeId }))) return undefined;
      return new Error(
        `Cannot trust the server as storage node ${nodeId} of cluster ${cluster}: its certificate is for ${describe(names)}`,
      );
    },
  };
  return ChannelCredentials.createSsl(tls.ca, tls.key, tls.certificate, verify);
}

/** Throws when others would not believe that this process is what it is about to say. */
export function requireNodeCertificate({ cluster, certificate }: ClusterTls, nodeId: string): void {
  const names = roleNamesOf(new X509Certificate(certificate));
  if (names.some((name) => isNode(name, { cluster, nodeId }))) return;
  throw new Error(
    `Cannot serve shards as node ${nodeId} of cluster ${cluster}: the certificate is for ${describe(names)}`,
  );
}

function isNode(
  { cluster, role, name }: RoleName,
  node: { cluster: string; nodeId: string },
): boolean {
  return role === "storage" && cluster === node.cluster && name === node.nodeId;
}
