/**
 * Mutual TLS between the processes of a cluster. Signed by the cluster's authority, the names in a certificate (role-names.ts)
 * are the whole of an identity: host names and addresses change hands and prove nothing.
 */
import { X509Certificate } from "node:crypto";
import {
  type ChannelCredentials,
  credentials,
  experimental,
  ServerCredentials,
  type VerifyOptions,
} from "@grpc/grpc-js";
import type { Renewable } from "#lib/renewable.ts";
import { describe, type RoleName, roleNamesOf, roleNamesOfPeer } from "#shards/role-names.ts";

/** PEM: the cluster's own authority, and what this process shows of itself. */
export interface ClusterTls {
  /** The name that certificates have for the cluster. */
  readonly cluster: string;
  readonly ca: Buffer;
  readonly certificate: Buffer;
  readonly key: Buffer;
}

/** Of connections that come from now on: those that there are keep the certificates with which they began. */
export function serverCredentials(tls: Renewable<ClusterTls> | undefined): ServerCredentials {
  if (tls === undefined) return ServerCredentials.createInsecure();
  const provider = new CertificateProvider(tls);
  return experimental.createCertificateProviderServerCredentials(provider, provider, true);
}

/** Believes only the storage node that is meant. A renewed certificate is for the connections made after it. */
export function channelCredentials(
  tls: Renewable<ClusterTls> | undefined,
  nodeId: string,
): ChannelCredentials {
  if (tls === undefined) return credentials.createInsecure();
  const { cluster } = tls.current;
  const verify: VerifyOptions = {
    checkServerIdentity: (_, { raw }) => {
      const names = roleNamesOfPeer(raw);
      if (names.some((name) => isNode(name, { cluster, nodeId }))) return undefined;
      return new Error(
        `Cannot trust the server as storage node ${nodeId} of cluster ${cluster}: its certificate is for ${describe(names)}`,
      );
    },
  };
  const provider = new CertificateProvider(tls);
  return experimental.createCertificateProviderChannelCredentials(provider, provider, verify);
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

/** grpc-js asks for authority and certificate apart; from here both change in one turn. */
class CertificateProvider implements experimental.CertificateProvider {
  readonly #tls: Renewable<ClusterTls>;
  readonly #ends = new Map<unknown, () => void>();

  constructor(tls: Renewable<ClusterTls>) {
    this.#tls = tls;
  }

  addCaCertificateListener(listener: experimental.CaCertificateUpdateListener): void {
    this.#tell(listener, ({ ca }) => listener({ caCertificate: ca }));
  }

  addIdentityCertificateListener(listener: experimental.IdentityCertificateUpdateListener): void {
    this.#tell(listener, ({ certificate, key }) => listener({ certificate, privateKey: key }));
  }

  removeCaCertificateListener(listener: experimental.CaCertificateUpdateListener): void {
    this.#forget(listener);
  }

  removeIdentityCertificateListener(
    listener: experimental.IdentityCertificateUpdateListener,
  ): void {
    this.#forget(listener);
  }

  #tell(listener: unknown, tell: (tls: ClusterTls) => void): void {
    this.#ends.set(listener, this.#tls.onRenewed(tell));
    // Not at once: a server listens for what comes of it only after this.
    process.nextTick(() => {
      if (this.#ends.has(listener)) tell(this.#tls.current);
    });
  }

  #forget(listener: unknown): void {
    this.#ends.get(listener)?.();
    this.#ends.delete(listener);
  }
}
