/**
 * Makes the placement map follow the storage nodes: the first one once enough have registered, later ones when the operator
 * adds, drains or removes a node, or when a node or disk has been away for long (R30). What a change moves is then repair's to do.
 *
 * A map is committed only if the nodes are still as they were read and the lease still holds, so a keeper that slept
 * through the operator's next word cannot undo it.
 */
import type { Job, JobContext, StepOutcome } from "#keeper/job.ts";
import { afterVerdict, judgeOutages, type Seen } from "#keeper/outages.ts";
import type { Logger } from "#lib/log.ts";
import type { MetadataStore } from "#metadata/metadata-store.ts";
import { changeMap, RequestOutdated } from "#placement/change-map.ts";
import type { NodeRecord } from "#placement/node-record.ts";
import { changeNode, type KnownNodes, readNodes } from "#placement/nodes.ts";
import { placedDisks, placesOn } from "#placement/placed-disks.ts";
import type { PlacedDisk, PlacementMap } from "#placement/placement-map.ts";
import { decodeMap, MAP_KEY } from "#placement/placement-record.ts";

const EVERY_MS = 5000;

export interface MembershipParts {
  readonly metadata: MetadataStore;
  readonly clusterId: string;
  readonly seen: Seen;
  /** Nodes that the first map waits for. */
  readonly initialNodes: number;
  readonly groupCount: number;
  /** Members of a group, given the disks; throws when the storage class asks for more than there are. */
  readonly width: (disks: readonly PlacedDisk[], old: PlacementMap | undefined) => number;
  /** Called when the map has changed: there is something to move. */
  readonly onChange: () => void;
  readonly log: Logger;
}

export class MembershipJob implements Job {
  readonly name = "membership";
  readonly everyMs = EVERY_MS;
  readonly #parts: MembershipParts;

  constructor(parts: MembershipParts) {
    this.#parts = parts;
  }

  async step(context: JobContext): Promise<StepOutcome> {
    const { metadata } = this.#parts;
    const { signal } = context;
    const known = await readNodes(metadata, signal);
    const stored = await metadata.get(MAP_KEY, signal);
    const old = stored && decodeMap(stored.value);
    const change = old
      ? await this.#judge(known.nodes, old, context)
      : await this.#begin(known.nodes, context);
    if (change === "wait") return "done";
    if (change === "again") return "more";
    const map = await this.#place(known, old, context);
    if (!map) return "more";
    await this.#forgetRemoved(known.nodes, map, context);
    return "done";
  }

  /** The first map waits for its nodes: it would be made anew, and everything moved, for each that comes later. */
  async #begin(
    nodes: readonly NodeRecord[],
    { fence, signal, progress }: JobContext,
  ): Promise<"wait" | "again" | "place"> {
    const { initialNodes, metadata, log } = this.#parts;
    const ready = nodes.filter(({ state, disks }) => {
      return (state === "new" || state === "active") && disks.length > 0;
    });
    if (ready.length < initialNodes) {
      const found = `${ready.length} of ${initialNodes} storage nodes have registered`;
      progress.failed("first placement", found);
      return "wait";
    }
    const fresh = ready.filter(({ state }) => state === "new");
    for (const { id } of fresh) {
      await changeNode(metadata, id, (node) => ({ ...node, state: "active" }), { signal, fence });
      log.info({ node: id }, "node takes part from the beginning");
    }
    return fresh.length > 0 ? "again" : "place";
  }

  async #judge(
    nodes: readonly NodeRecord[],
    map: PlacementMap,
    { fence, signal, progress }: JobContext,
  ): Promise<"again" | "place"> {
    const { metadata, seen, log } = this.#parts;
    const { verdict, spared } = judgeOutages(nodes, map, seen);
    for (const { what, reason } of spared) progress.failed(what, reason);
    if (!verdict) return "place";
    const { node, disk, isOut } = verdict;
    await changeNode(metadata, node, (one) => afterVerdict(one, verdict), { signal, fence });
    const about = disk ? { node, disk: disk.label, diskId: disk.id } : { node };
    const what = disk ? "disk" : "node";
    if (isOut)
      log.warn(about, `${what} has been away for long: what it holds is made again elsewhere`);
    else log.info(about, `${what} is back: it takes its share again`);
    return "again";
  }

  /** undefined: something has changed meanwhile. */
  async #place(
    { nodes, expectation }: KnownNodes,
    old: PlacementMap | undefined,
    { fence, signal }: JobContext,
  ): Promise<PlacementMap | undefined> {
    const { metadata, clusterId, groupCount, width, onChange, log } = this.#parts;
    const disks = placedDisks(nodes);
    if (!disks.some(({ state }) => state === "active")) {
      throw new Error("Cannot place anything: no node is active");
    }
    try {
      const map = await changeMap(
        metadata,
        {
          clusterId,
          disks,
          width: width(disks, old),
          groupCount,
          expect: [expectation, ...fence],
        },
        signal,
      );
      if (map.epoch !== old?.epoch) {
        log.info({ epoch: map.epoch, disks: map.disks.length }, "placement map changed");
        onChange();
      }
      return map;
    } catch (error) {
      if (error instanceof RequestOutdated) return undefined;
      throw error;
    }
  }

  /** A removed node's record goes when nobody looks for its shards any more. */
  async #forgetRemoved(
    nodes: readonly NodeRecord[],
    map: PlacementMap,
    { fence, signal }: JobContext,
  ): Promise<void> {
    const { metadata, log } = this.#parts;
    for (const { id, state, disks } of nodes) {
      if (state !== "removed" || placesOn(map, new Set(disks.map((disk) => disk.id))) > 0) continue;
      await changeNode(metadata, id, unlessRemoved, { signal, fence });
      log.info({ node: id }, "removed node forgotten");
    }
  }
}

function unlessRemoved(node: NodeRecord): NodeRecord | undefined {
  return node.state === "removed" ? undefined : node;
}
