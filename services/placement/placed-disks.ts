/** What the storage nodes make of the placement map: which disks it shall name, and what a change of it moves. Pure. */
import type { NodeRecord, NodeState } from "#placement/node-record.ts";
import type { DiskState, PlacedDisk, PlacementMap } from "#placement/placement-map.ts";

/** Disks of other nodes are not named: those of new ones not yet, those of removed ones no more. */
const STATE_OF_DISKS: Readonly<Partial<Record<NodeState, DiskState>>> = {
  active: "active",
  draining: "draining",
  out: "draining",
};

export function placedDisks(nodes: readonly NodeRecord[]): readonly PlacedDisk[] {
  return nodes.flatMap((node) => {
    const state = STATE_OF_DISKS[node.state];
    if (!state) return [];
    const { id, zone, weight } = node;
    return node.disks.map((disk) => ({
      id: disk.id,
      node: id,
      zone,
      weight,
      state: disk.isOut ? "draining" : state,
      label: `${id}:${disk.label}`,
    }));
  });
}

/** Shard places that the disk has, and those from before a move whose shards it may still hold. */
export function placesOn(map: PlacementMap, disks: ReadonlySet<string>): number {
  let places = 0;
  for (const { members, earlier } of map.groups) {
    for (const diskId of members) if (disks.has(diskId)) places += 1;
    for (const { diskId } of earlier) if (disks.has(diskId)) places += 1;
  }
  return places;
}

/** A place that changes hands: its shards are made again on `to`. */
export interface PlaceMove {
  readonly group: number;
  readonly index: number;
  readonly from: string;
  readonly to: string;
}

export function movesBetween(old: PlacementMap, next: PlacementMap): readonly PlaceMove[] {
  return next.groups.flatMap(({ members }, group) =>
    members.flatMap((to, index) => {
      const before = old.groups[group];
      const from = before?.members[index];
      if (from === undefined || from === to) return [];
      // It still holds them, from before it was to be emptied.
      const isThere = before?.earlier.some((one) => one.index === index && one.diskId === to);
      return isThere === true ? [] : [{ group, index, from, to }];
    }),
  );
}

/** Whether groups can still be spread over as many nodes: else two shards of one object would come to lie on one. */
export function keepsSpread({
  before,
  after,
  width,
}: {
  before: readonly PlacedDisk[];
  after: readonly PlacedDisk[];
  width: number;
}): boolean {
  return activeNodes(after) >= Math.min(width, activeNodes(before));
}

/** Nodes with active disks. */
export function activeNodes(disks: readonly PlacedDisk[]): number {
  return new Set(disks.filter(({ state }) => state === "active").map(({ node }) => node)).size;
}
