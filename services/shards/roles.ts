/** Who may ask for what: the roles of a cluster's processes against the methods of proto/. */
import type { RequestKind } from "#shards/request-wire.ts";

export type Role = "gateway" | "keeper" | "storage";

export const ROLES: readonly Role[] = ["gateway", "keeper", "storage"];

/** What goes by names of its own beside the requests: `repair` is the right to use a disk's reserve. */
export type Method = RequestKind | "repair" | "status" | "drain";

/**
 * A gateway has what its paths need: it writes, reads, takes back what came to nothing, and copies by a second name. The
 * keeper rebuilds, looks for what is bad, and takes away what nobody names. A storage node asks nothing of another:
 * whoever takes one over has the shards of one, and no more.
 */
const MAY: Readonly<Record<Method, readonly Role[]>> = {
  put: ["gateway", "keeper"],
  open: ["gateway", "keeper"],
  append: ["gateway", "keeper"],
  seal: ["gateway", "keeper"],
  abort: ["gateway", "keeper"],
  read: ["gateway", "keeper"],
  stat: ["gateway", "keeper"],
  link: ["gateway", "keeper"],
  remove: ["gateway", "keeper"],
  health: ["gateway", "keeper"],
  status: ["gateway", "keeper"],
  cancel: ["gateway", "keeper"],
  repair: ["keeper"],
  verify: ["keeper"],
  list: ["keeper"],
  drain: ["keeper"],
};

export const METHODS = Object.keys(MAY) as readonly Method[];

export function mayCall(roles: readonly Role[], method: Method): boolean {
  return roles.some((role) => MAY[method].includes(role));
}
