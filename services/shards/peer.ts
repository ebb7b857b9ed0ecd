/** Who is at the other end of a call, and whether this node listens to them at all. */
import { Metadata, type StatusObject, status } from "@grpc/grpc-js";
import { describe, roleNamesOfPeer } from "#shards/cluster-tls.ts";
import { ROLES, type Role } from "#shards/roles.ts";

/** The hello of every call, in its metadata. */
const CLUSTER = "anybucket-cluster";
const NODE = "anybucket-node";
const CALLER = "anybucket-caller";

export interface Peer {
  /** For logs: as the certificate has it, else as the caller says. */
  readonly name: string;
  readonly address: string;
  readonly roles: readonly Role[];
}

/** Longer is no id of ours, and goes into no log. */
const VALUE_MAX = 200;

/** Of any kind of call of grpc-js. */
export interface IncomingCall {
  readonly metadata: Metadata;
  getPeer(): string;
  getAuthContext(): { readonly sslPeerCertificate?: { readonly raw: Buffer } };
}

export type Refusal = Pick<StatusObject, "code" | "details">;

export type Admission =
  | { readonly peer: Peer }
  | { readonly refusal: Refusal; readonly who: string; readonly said: Said };

export interface Said {
  readonly cluster: string;
  readonly node: string;
  readonly caller: string;
}

export function helloTo(
  { clusterId, nodeId }: { clusterId: string; nodeId: string },
  caller: string,
): Metadata {
  const metadata = new Metadata();
  metadata.set(CLUSTER, clusterId);
  metadata.set(NODE, nodeId);
  metadata.set(CALLER, caller);
  return metadata;
}

/** `certified`: the cluster's name in certificates, where there are any; then only what they say counts. */
export function admit(
  call: IncomingCall,
  {
    clusterId,
    nodeId,
    certified,
  }: { clusterId: string; nodeId: string; certified: string | undefined },
): Admission {
  const said: Said = {
    cluster: valueOf(call.metadata, CLUSTER),
    node: valueOf(call.metadata, NODE),
    caller: valueOf(call.metadata, CALLER),
  };
  const address = call.getPeer();
  const refuse = (code: status, details: string, who: string): Admission => {
    return { refusal: { code, details }, who: `${who} at ${address}`, said };
  };
  const isTls = certified !== undefined;
  const names = isTls ? roleNamesOfPeer(call.getAuthContext().sslPeerCertificate?.raw) : [];
  const who = isTls ? describe(names) : said.caller;
  if (said.cluster !== clusterId) {
    return refuse(
      status.FAILED_PRECONDITION,
      `This is cluster ${clusterId}, not ${said.cluster || "(none was named)"}`,
      who,
    );
  }
  if (said.node !== nodeId) {
    return refuse(
      status.FAILED_PRECONDITION,
      `This is node ${nodeId}, not ${said.node || "(none was named)"}`,
      who,
    );
  }
  if (!isTls) return { peer: { name: who, address, roles: ROLES } };
  const ours = names.filter((name) => name.cluster === certified);
  if (ours.length === 0) {
    return refuse(
      status.PERMISSION_DENIED,
      `The certificate is for ${who}, none of cluster ${certified}`,
      who,
    );
  }
  return { peer: { name: describe(ours), address, roles: ours.map(({ role }) => role) } };
}

function valueOf(metadata: Metadata, name: string): string {
  return metadata.get(name)[0]?.toString().slice(0, VALUE_MAX) ?? "";
}
