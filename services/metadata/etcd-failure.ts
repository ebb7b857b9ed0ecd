/** What an error from etcd says about the request: above all, whether it can have taken effect. */
import { type ServiceError, status } from "@grpc/grpc-js";

export type FailureKind =
  /** Not sent, or turned away unseen: another member may be asked. */
  | "unsent"
  /** Looked at and refused; nothing was written, and nothing will be. */
  | "refused"
  /** As "refused": the revision asked for is not kept any more. */
  | "compacted"
  /** No space. etcd also says so when it has just applied what filled it (`quotaApplierV3`), so this is no "no". */
  | "full"
  /** The answer is larger than we take; what was asked was done. */
  | "oversized"
  /** It may have taken effect, or still will. */
  | "unknown";

export class EtcdFailure extends Error {
  override readonly name = "EtcdFailure";
  readonly kind: FailureKind;

  constructor(kind: FailureKind, found: string, options?: ErrorOptions) {
    super(found, options);
    this.kind = kind;
  }
}

/** etcd answers these only after it has looked at the request, and before it writes anything. */
const REFUSALS: ReadonlySet<status> = new Set([
  status.INVALID_ARGUMENT,
  status.NOT_FOUND,
  status.ALREADY_EXISTS,
  status.PERMISSION_DENIED,
  status.FAILED_PRECONDITION,
  status.OUT_OF_RANGE,
  status.UNIMPLEMENTED,
]);

/** Of a call that was sent. */
export function failureOf({ code, details, message }: Partial<ServiceError>): EtcdFailure {
  const found = details ?? message ?? "no reason given";
  return new EtcdFailure(kindOf(code ?? status.UNKNOWN, found), found);
}

/** The token is unknown or older than the newest change of users: a new one will do. */
export function needsNewToken({ code, details = "" }: Partial<ServiceError>): boolean {
  return (
    code === status.UNAUTHENTICATED || /invalid auth token|revision in header is old/.test(details)
  );
}

function kindOf(code: status, found: string): FailureKind {
  if (code === status.UNAUTHENTICATED) return "unsent";
  // Asked for with each request (hasleader), and checked before it is looked at.
  if (code === status.UNAVAILABLE && found === "etcdserver: no leader") return "unsent";
  if (code === status.RESOURCE_EXHAUSTED) {
    if (found.includes("too many requests")) return "unsent";
    if (found.includes("space exceeded")) return "full";
    return found.includes("larger than max") ? "oversized" : "unknown";
  }
  if (code === status.OUT_OF_RANGE && found.includes("compacted")) return "compacted";
  return REFUSALS.has(code) ? "refused" : "unknown";
}
