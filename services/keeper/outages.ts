/**
 * Which node or disk is to be set out, or to take its share again (R30). Pure. One at a time: each is judged by what the last
 * one left.
 *
 * A disk is judged only while its node answers: away with its node, it is the node's affair.
 */
import type { Standings } from "#keeper/standings.ts";
import type { NodeDisk, NodeRecord } from "#placement/node-record.ts";
import { keepsSpread, placedDisks } from "#placement/placed-disks.ts";
import type { PlacementMap } from "#placement/placement-map.ts";

/** Away for so long, what it holds is made again elsewhere. */
const OUT_AFTER_MS = 15 * 60_000;
/** Share of the nodes that may be out, or have a disk out, at once, and one in any case: beyond that it is the network. */
const OUT_SHARE_MAX = 0.1;

export interface Seen {
  readonly nodes: Standings;
  /** By disk id. */
  readonly disks: Standings;
}

export interface Verdict {
  readonly node: string;
  /** undefined: the whole node. */
  readonly disk: Pick<NodeDisk, "id" | "label"> | undefined;
  readonly isOut: boolean;
}

export interface Judgement {
  readonly verdict: Verdict | undefined;
  /** Who would be set out, and why not. */
  readonly spared: readonly { readonly what: string; readonly reason: string }[];
}

export function judgeOutages(
  nodes: readonly NodeRecord[],
  { width }: Pick<PlacementMap, "width">,
  seen: Seen,
): Judgement {
  for (const node of nodes) {
    const back = whatIsBack(node, seen);
    if (back) return { verdict: back, spared: [] };
  }
  const spared: { what: string; reason: string }[] = [];
  for (const verdict of nodes.flatMap((node) => whatIsAway(node, seen))) {
    const reason = whyNotOut(verdict, nodes, width);
    if (reason === undefined) return { verdict, spared };
    const { node, disk } = verdict;
    const what = disk ? `disk ${disk.label} of node ${node} has failed` : `node ${node} is away`;
    spared.push({ what, reason });
  }
  return { verdict: undefined, spared };
}

/** The record as it is after the verdict; unchanged where the operator has said something else meanwhile. */
export function afterVerdict(record: NodeRecord, { disk, isOut }: Verdict): NodeRecord {
  if (disk) {
    const disks = record.disks.map((one) => (one.id === disk.id ? { ...one, isOut } : one));
    return { ...record, disks };
  }
  if (record.state !== (isOut ? "active" : "out")) return record;
  return { ...record, state: isOut ? "out" : "active", move: undefined };
}

function whatIsBack({ id, state, disks }: NodeRecord, seen: Seen): Verdict | undefined {
  if (state === "out" && seen.nodes.isUp(id)) return { node: id, disk: undefined, isOut: false };
  const disk = disks.find((one) => one.isOut && seen.disks.isUp(one.id));
  return disk && { node: id, disk, isOut: false };
}

function whatIsAway({ id, state, disks }: NodeRecord, seen: Seen): readonly Verdict[] {
  if (state !== "active") return [];
  if (seen.nodes.awayMs(id) >= OUT_AFTER_MS) return [{ node: id, disk: undefined, isOut: true }];
  return disks
    .filter((disk) => !disk.isOut && seen.disks.awayMs(disk.id) >= OUT_AFTER_MS)
    .map((disk) => ({ node: id, disk, isOut: true }));
}

function whyNotOut(
  verdict: Verdict,
  nodes: readonly NodeRecord[],
  width: number,
): string | undefined {
  const taking = nodes.filter(({ state }) => state === "active" || state === "out");
  const out = taking.filter(({ state, disks }) => {
    return state === "out" || disks.some(({ isOut }) => isOut);
  });
  const most = Math.max(1, Math.floor(taking.length * OUT_SHARE_MAX));
  if (out.length >= most && !out.some(({ id }) => id === verdict.node)) {
    return `${out.length} of ${taking.length} nodes are out already, or have a disk that is; more are left alone until the operator has looked`;
  }
  const without = nodes.map((node) => {
    return node.id === verdict.node ? afterVerdict(node, verdict) : node;
  });
  const change = { before: placedDisks(nodes), after: placedDisks(without), width };
  return keepsSpread(change) ? undefined : "too few other nodes are left to take its share";
}
