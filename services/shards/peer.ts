/** Who is at the other end of a call, and whether this node listens to them at all. */
import { Metadata, type StatusObject, status } from "@grpc/grpc-js";
import { describe, roleNamesOfPeer } from "#shards/role-names.ts";
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
const NONE = "(none was named)";

/** Of any kind of call of grpc-js. */
export interface IncomingCall {
  readonly metadata: Metadata;
  getPeer(): string;
  getAuthContext(): { readonly sslPeerCertificate?: { readonly raw: Buffer } };
}

export type Refusal = Pick<StatusObject, "code" | "details">;

export type Admission =
  | { readonly peer: Peer }
  | {
      /** What the caller is told: nothing of what would have been right. */
      readonly refusal: Refusal;
      /** For our own log. */
      readonly why: string;
      readonly who: string;
      readonly said: Said;
    };

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
  const isTls = certified !== undefined;
  const names = isTls ? roleNamesOfPeer(call.getAuthContext().sslPeerCertificate?.raw) : [];
  const who = isTls ? describe(names) : said.caller;
  const refuse = (code: status, details: string, why: string): Admission => {
    return { refusal: { code, details }, why, who: `${who} at ${address}`, said };
  };
  if (said.cluster !== clusterId) {
    return refuse(
      status.FAILED_PRECONDITION,
      `The call is for cluster ${said.cluster || NONE}, which is not this one`,
      `this is cluster ${clusterId}, not ${said.cluster || NONE}`,
    );
  }
  if (said.node !== nodeId) {
    return refuse(
      status.FAILED_PRECONDITION,
      `The call is for node ${said.node || NONE}, which is not this one`,
      `this is node ${nodeId}, not ${said.node || NONE}`,
    );
  }
  if (!isTls) return { peer: { name: who, address, roles: ROLES } };
  const ours = names.filter((name) => name.cluster === certified);
  if (ours.length === 0) {
    return refuse(
      status.PERMISSION_DENIED,
      `The certificate is for ${who}, none of this cluster`,
      `the certificate is for ${who}, none of cluster ${certified}`,
    );
  }
  return { peer: { name: describe(ours), address, roles: ours.map(({ role }) => role) } };
}

function valueOf(metadata: Metadata, name: string): string {
  return metadata.get(name)[0]?.toString().slice(0, VALUE_MAX) ?? "";
}
