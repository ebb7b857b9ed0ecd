/** Where one write goes: a fresh id, its placement group and the disks of its shards. */
import type { Random } from "#lib/random.ts";
import type { Expectation } from "#metadata/metadata-store.ts";
import type { DiskStandings } from "#objects/disk-standings.ts";
import type { CurrentMap } from "#placement/current-map.ts";
import { groupOf, WRITE_ID_BYTES } from "#placement/placement-group.ts";
import type { ShardId, ShardStore } from "#shards/shard-store.ts";

/** Groups that are looked at for one whose disks all work: of 24 disks with one away nearly every first is. */
const DRAWS_MAX = 8;

export interface ShardPlace {
  readonly index: number;
  readonly id: ShardId;
  /** undefined: the group has no disk for this shard yet. */
  readonly diskId: string | undefined;
  /** undefined: the disk is away, or passed by. */
  readonly store: ShardStore | undefined;
}

export interface WritePlan {
  readonly group: number;
  readonly writeId: Uint8Array;
  /** Read together with the members: once the group moves, no commit of this write succeeds. */
  readonly fence: Expectation;
  /** n, in order of index. */
  readonly places: readonly ShardPlace[];
}

export interface PlanParts {
  readonly stores: ReadonlyMap<string, ShardStore>;
  readonly map: CurrentMap;
  readonly standings: DiskStandings;
  readonly random: Random;
}

/** Of the groups drawn the first whose disks all work, else the one with most. Disks that failed lately are passed by as long as `needed` others work. */
export function planWrite(
  { stores, map, standings, random }: PlanParts,
  { shards, needed }: { shards: number; needed: number },
): WritePlan {
  let best = { writeId: NO_ID, group: 0, usable: -1 };
  for (let draw = 0; draw < DRAWS_MAX && best.usable < shards; draw++) {
    const writeId = random.bytes(WRITE_ID_BYTES);
    const group = groupOf(writeId, map.groupCount);
    const { members } = map.group(group);
    let usable = 0;
    for (let index = 0; index < shards; index++) {
      const diskId = members[index];
      if (diskId !== undefined && stores.has(diskId) && standings.isUsable(diskId)) usable += 1;
    }
    if (usable > best.usable) best = { writeId, group, usable };
  }
  const { writeId, group, usable } = best;
  const { members } = map.group(group);
  const places: ShardPlace[] = [];
  for (let index = 0; index < shards; index++) {
    const diskId = members[index];
    const isChosen = diskId !== undefined && (usable < needed || standings.isUsable(diskId));
    const store = isChosen ? stores.get(diskId) : undefined;
    if (store && diskId !== undefined) standings.trying(diskId);
    places.push({ index, id: { group, writeId, index }, diskId, store });
  }
  return { group, writeId, fence: map.expectation(group), places };
}

const NO_ID: Uint8Array = new Uint8Array(0);
