/**
 * Mutual TLS between the processes of a cluster. A certificate says what its owner is in names of the form
 *
 *     URI:anybucket://CLUSTER/ROLE/NAME
 *
 * among its subject alternative names, one for each role of the process; CLUSTER is the cluster's name, since certificates
 * are there before the cluster has drawn its id, and NAME of a storage node is its node id. Signed by the cluster's authority,
 * that is the whole of an identity: host names and addresses change hands and prove nothing.
 */
import { X509Certificate } from "node:crypto";
import {
  ChannelCredentials,
  credentials,
  ServerCredentials,
  type VerifyOptions,
} from "@grpc/grpc-js";
import { ROLES, type Role } from "#shards/roles.ts";

/** PEM: the cluster's own authority, and what this process shows of itself. */
export interface ClusterTls {
  /** The name that certificates have for the cluster. */
  readonly cluster: string;
  readonly ca: Buffer;
  readonly certificate: Buffer;
  readonly key: Buffer;
}

export interface RoleName {
  readonly cluster: string;
  readonly role: Role;
  readonly name: string;
}

const SCHEME = "anybucket:";

/** What the certificate says its owner is, in whatever cluster. */
export function roleNamesOf(certificate: X509Certificate): readonly RoleName[] {
  const names: RoleName[] = [];
  const all = certificate.subjectAltName ?? "";
  // Node quotes a name that could be taken for several; ours never need that, so whoever has one is up to something.
  if (all.includes('"')) return names;
  for (const entry of all.split(", ")) {
    if (!entry.startsWith(`URI:${SCHEME}`)) continue;
    const [empty, nothing, cluster, role, name, ...rest] = entry
      .slice(`URI:${SCHEME}`.length)
      .split("/");
    const known = ROLES.find((one) => one === role);
    if (empty !== "" || nothing !== "" || rest.length > 0 || known === undefined) continue;
    if (cluster && name) names.push({ cluster, role: known, name });
  }
  return names;
}

/** As `roleNamesOf`, of what a peer showed. */
export function roleNamesOfPeer(raw: Buffer | undefined): readonly RoleName[] {
  return raw === undefined ? [] : roleNamesOf(new X509Certificate(raw));
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

export function describe(names: readonly RoleName[]): string {
  if (names.length === 0) return "nobody of a cluster";
  return names.map(({ cluster, role, name }) => `${cluster}/${role}/${name}`).join(", ");
}
