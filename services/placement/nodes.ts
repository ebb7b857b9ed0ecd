/**
 * The storage nodes of a cluster, as records that change by compare: a node registers at its start, the operator and the
 * keeper change its state. Which disks the placement map names follows from them (`placed-disks.ts`).
 */
import { afterKey } from "#metadata/keys.ts";
import type { Expectation, MetadataStore } from "#metadata/metadata-store.ts";
import {
  decodeNode,
  encodeNode,
  type MountedDisk,
  NODE_CHANGE,
  NODE_CHANGES_KEY,
  NODES,
  type NodeRecord,
  nodeKey,
} from "#placement/node-record.ts";

const PAGE = 100;
/** A change that others keep overtaking is given up; there are seconds between two changes of one record. */
const TRIES_MAX = 50;

export interface KnownNodes {
  readonly nodes: readonly NodeRecord[];
  /** Holds as long as no record has changed since. */
  readonly expectation: Expectation;
}

export interface Registration {
  readonly id: string;
  readonly zone: string;
  readonly address: string;
  readonly weight: number;
  /** Those that are mounted. */
  readonly disks: readonly MountedDisk[];
  /** Ids of disks that one of those takes the place of. */
  readonly replaced: readonly string[];
}

/** Why a node may not have this name, or these disks. */
export class NodeRefused extends Error {
  override readonly name = "NodeRefused";
}

/** Something else that a change depends on, its fence, is no longer what it was. */
export class FenceChanged extends Error {
  override readonly name = "FenceChanged";
}

export async function readNodes(
  metadata: MetadataStore,
  signal?: AbortSignal,
): Promise<KnownNodes> {
  // First, so that a record that changes while they are read is noticed.
  const changes = await metadata.get(NODE_CHANGES_KEY, signal);
  const nodes: NodeRecord[] = [];
  for (let from = NODES.from; ; ) {
    const page = await metadata.range({ from, to: NODES.to, limit: PAGE }, signal);
    for (const { value } of page.entries) nodes.push(decodeNode(value));
    const last = page.entries.at(-1);
    if (!page.more || !last) break;
    from = afterKey(last.key);
  }
  return { nodes, expectation: { key: NODE_CHANGES_KEY, revision: changes?.revision ?? 0 } };
}

/** Answers the record in force. A node keeps its state over a restart; a first one is new, and waits to be added. */
export async function registerNode(
  metadata: MetadataStore,
  registration: Registration,
  signal?: AbortSignal,
): Promise<NodeRecord> {
  const { id } = registration;
  return changing(
    metadata,
    (nodes) => {
      const known = nodes.find((node) => node.id === id);
      checkRegistration(registration, nodes);
      return { id, next: registered(registration, known) };
    },
    { signal },
  );
}

/** `change` is given the record as it is, and all others; it answers what it shall be, or undefined to remove it. */
export async function changeNode(
  metadata: MetadataStore,
  id: string,
  change: (node: NodeRecord, nodes: readonly NodeRecord[]) => NodeRecord | undefined,
  options: { signal?: AbortSignal; fence?: readonly Expectation[] } = {},
): Promise<NodeRecord | undefined> {
  return changing(
    metadata,
    (nodes) => {
      const known = nodes.find((node) => node.id === id);
      if (!known) throw new NodeRefused(`Cannot change node ${id}: there is none of that name`);
      return { id, next: change(known, nodes) };
    },
    options,
  );
}

/** A record is changed as all of them are read: what the change depends on is still so. */
async function changing<Next extends NodeRecord | undefined>(
  metadata: MetadataStore,
  change: (nodes: readonly NodeRecord[]) => { readonly id: string; readonly next: Next },
  { signal, fence = [] }: { signal?: AbortSignal | undefined; fence?: readonly Expectation[] },
): Promise<Next> {
  for (let turn = 0; turn < TRIES_MAX; turn++) {
    const { nodes, expectation } = await readNodes(metadata, signal);
    const { id, next } = change(nodes);
    const key = nodeKey(id);
    const value = next && encodeNode(next);
    const before = nodes.find((node) => node.id === id);
    if (value && before && encodeNode(before).equals(value)) return next;
    const changed = { key: NODE_CHANGES_KEY, value: NODE_CHANGE };
    const expect = [expectation, ...fence];
    const commit = value
      ? { expect, put: [changed, { key, value }], remove: [] }
      : { expect, put: [changed], remove: [key] };
    const outcome = await metadata.commit(commit, signal);
    if (outcome.kind === "committed") return next;
    if (fence.some(({ revision }, at) => (outcome.current[at + 1]?.revision ?? 0) !== revision)) {
      throw new FenceChanged("Cannot change a node: what the change depends on is no longer so");
    }
  }
  throw new Error(`Cannot change a node: others changed theirs ${TRIES_MAX} times meanwhile`);
}

/** Throws NodeRefused. A name stays with its disks: another machine, or the same one with other disks, is another node (R29). */
export function checkRegistration(
  { id, disks, replaced }: Pick<Registration, "id" | "disks" | "replaced">,
  nodes: readonly NodeRecord[],
): void {
  const known = nodes.find((node) => node.id === id);
  for (const node of nodes) {
    const shared =
      node.id !== id && node.disks.find((disk) => disks.some((one) => one.id === disk.id));
    if (!shared) continue;
    throw new NodeRefused(
      `Cannot register as ${id}: ${labelIn(disks, shared.id)} is a disk of node ${node.id}; start with ANYBUCKET_NODE=${node.id}`,
    );
  }
  if (!known) return;
  if (known.state === "removed") {
    throw new NodeRefused(
      `Cannot register as ${id}: that node was removed, and what it held is being made again elsewhere; wait, or choose another ANYBUCKET_NODE`,
    );
  }
  const isSame = known.disks.some((disk) => {
    return disks.some((one) => one.id === disk.id) || replaced.includes(disk.id);
  });
  if (isSame) return;
  throw new NodeRefused(
    `Cannot register as ${id}: that node has other disks (${known.disks.map(({ label }) => label).join(", ")}); choose another ANYBUCKET_NODE, or remove it first: anybucket node remove ${id} --lost`,
  );
}

function registered(
  { replaced, ...registration }: Registration,
  known: NodeRecord | undefined,
): NodeRecord {
  // What is not mounted now keeps its place until it is replaced.
  const away = (known?.disks ?? []).filter(({ id }) => {
    return !replaced.includes(id) && !registration.disks.some((disk) => disk.id === id);
  });
  const mounted = registration.disks.map((disk) => {
    const { isOut = false } = known?.disks.find(({ id }) => id === disk.id) ?? {};
    return { ...disk, isOut };
  });
  const disks = [...mounted, ...away].toSorted((one, other) => (one.id < other.id ? -1 : 1));
  const { state, move } = known ?? { state: "new", move: undefined };
  return { ...registration, disks, state, move };
}

function labelIn(disks: readonly MountedDisk[], id: string): string {
  return disks.find((disk) => disk.id === id)?.label ?? id;
}
