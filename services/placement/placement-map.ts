/**
 * The placement map: which disks hold the shards of each placement group, in order. Shard i of a write
 * lies on member i of its group, so a kept member never changes its place.
 */

/** Shard indexes go up to 23. */
export const WIDTH_MAX = 24;
export const GROUP_COUNT_DEFAULT = 256;
export const GROUP_COUNT_MAX = 65_536;

/** Active: takes shards. Draining: to be emptied while it still reads. Gone: lost for good; it keeps a place only while nobody can take it. */
export const DISK_STATES = ["active", "draining", "gone"] as const;
export type DiskState = (typeof DISK_STATES)[number];

export interface PlacedDisk {
  /** From its `disk.json`; 32 hex digits. */
  readonly id: string;
  readonly node: string;
  readonly zone: string;
  /** Share of the shards, against the other disks' weights; at least 1. */
  readonly weight: number;
  readonly state: DiskState;
  /** What an operator knows it by: its path. */
  readonly label: string;
}

/** A disk that may still hold shards `index` of a group, from before the group moved. */
export interface EarlierMember {
  readonly index: number;
  readonly diskId: string;
}

export interface PlacementGroup {
  /** Disk ids; shard i lies on the i-th. */
  readonly members: readonly string[];
  readonly earlier: readonly EarlierMember[];
  /** Epoch in which members last changed; 0: never since the beginning. */
  readonly movedEpoch: number;
}

export interface PlacementMap {
  readonly epoch: number;
  readonly clusterId: string;
  /** Disks that hold shards of one group: the largest n of any storage class, where there are so many disks. */
  readonly width: number;
  readonly disks: readonly PlacedDisk[];
  readonly groups: readonly PlacementGroup[];
}

/** Members and earlier members of one shard, each once: the disks to ask for it. */
export function placesOf(group: PlacementGroup, index: number): readonly string[] {
  const places = new Set<string>();
  const member = group.members[index];
  if (member !== undefined) places.add(member);
  for (const earlier of group.earlier) if (earlier.index === index) places.add(earlier.diskId);
  return [...places];
}
