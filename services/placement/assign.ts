/**
 * Disks + the map so far → the next map. Pure, so that every process would come to the same.
 *
 * In this order of importance:
 *  1. a member that may stay keeps its place: shard i lies on member i, so even a swap moves bytes; a disk that is
 *     wanted again takes back the places whose shards it still holds;
 *  2. no two members of a group in one zone, then node, as far as the disks allow; a group's first
 *     members are spread as well as all of them, as narrow codecs use only those;
 *  3. each disk's share follows its weight, about: small differences are not worth moving bytes.
 *
 * What it moves is at most: the places of disks that left, the places that break rule 2 and can be mended,
 * and for each disk that has much less than its share, what it lacks. assign.test.ts checks that bound.
 */
import { crc32c } from "#lib/crc32c.ts";
import {
  type EarlierMember,
  type PlacedDisk,
  type PlacementGroup,
  WIDTH_MAX,
} from "#placement/placement-map.ts";

/** More than the weights of all pairs of a group: 24 × 25. */
const ZONE_WEIGHT = 1024;
/** Places by which chance may outweigh a difference in load. */
const CHANCE = 4;
/** Share of a disk's share that is good enough when it has it. */
const WELL_FILLED = 0.8;

export interface Assignment {
  readonly disks: readonly PlacedDisk[];
  readonly width: number;
  readonly groupCount: number;
  /** undefined: the cluster's first map. */
  readonly old: readonly PlacementGroup[] | undefined;
  /** Of the map to come. */
  readonly epoch: number;
  /** Disks that were to be emptied and now are not. */
  readonly returning?: ReadonlySet<string>;
}

export function assign({
  disks,
  width,
  groupCount,
  old,
  epoch,
  returning = NONE,
}: Assignment): readonly PlacementGroup[] {
  const known = new Map(disks.map((disk) => [disk.id, disk]));
  const targets = disks.filter((disk) => disk.state === "active");
  if (targets.length === 0) throw new Error("Cannot place shards: there is no active disk");
  const drafts = Array.from({ length: groupCount }, (_, group) =>
    draftOf(old?.[group], { known, returning, length: width }),
  );
  const layout = new Layout(targets, drafts);
  for (const [group, draft] of drafts.entries()) layout.fill(draft, group);
  for (const [group, draft] of drafts.entries()) layout.mendSpread(draft, group);
  layout.level();
  return drafts.map((draft, group) => finished(draft, { old: old?.[group], known, epoch }));
}

/** A group under way: a member, or undefined where a place is vacant. */
type Draft = (PlacedDisk | undefined)[];

const NONE: ReadonlySet<string> = new Set();

function draftOf(
  group: PlacementGroup | undefined,
  {
    known,
    returning,
    length,
  }: { known: ReadonlyMap<string, PlacedDisk>; returning: ReadonlySet<string>; length: number },
): Draft {
  const places = Math.max(length, group?.members.length ?? 0);
  const draft: Draft = Array.from({ length: places }, (_, index) => {
    const disk = known.get(group?.members[index] ?? "");
    return disk?.state === "active" ? disk : undefined;
  });
  for (const { index, diskId } of group?.earlier ?? []) {
    const disk = returning.has(diskId) ? known.get(diskId) : undefined;
    if (disk?.state === "active" && !draft.includes(disk)) draft.splice(index, 1, disk);
  }
  return draft;
}

function finished(
  draft: Draft,
  {
    old,
    known,
    epoch,
  }: {
    old: PlacementGroup | undefined;
    known: ReadonlyMap<string, PlacedDisk>;
    epoch: number;
  },
): PlacementGroup {
  const members: string[] = [];
  const canRead = (diskId: string) => (known.get(diskId) ?? { state: "gone" }).state !== "gone";
  const earlier: EarlierMember[] = (old?.earlier ?? []).filter(({ diskId }) => canRead(diskId));
  let hasMoved = false;
  for (const [index, disk] of draft.entries()) {
    const before = old?.members[index];
    // Nobody can take the place: who had it keeps it, and the group is short of a shard until there is another disk.
    const now = disk?.id ?? before;
    if (now === undefined) break;
    members.push(now);
    if (now === before) continue;
    hasMoved ||= old !== undefined;
    if (before === undefined || !canRead(before)) continue;
    if (!earlier.some((one) => one.index === index && one.diskId === before)) {
      earlier.push({ index, diskId: before });
    }
  }
  const stillElsewhere = earlier.filter(({ index, diskId }) => members[index] !== diskId);
  const movedEpoch = hasMoved ? epoch : (old?.movedEpoch ?? 0);
  return { members, earlier: stillElsewhere, movedEpoch };
}

class Layout {
  readonly #targets: readonly PlacedDisk[];
  readonly #drafts: readonly Draft[];
  readonly #loads = new Map<PlacedDisk, number>();

  constructor(targets: readonly PlacedDisk[], drafts: readonly Draft[]) {
    this.#targets = targets;
    this.#drafts = drafts;
    for (const disk of targets) this.#loads.set(disk, 0);
    for (const disk of drafts.flat()) if (disk) this.#count(disk, 1);
  }

  fill(draft: Draft, group: number): void {
    for (let index = 0; index < draft.length; index++) {
      if (draft[index]) continue;
      const disk = this.#best(draft, { group, index });
      if (!disk) return;
      this.#put(draft, index, disk);
    }
  }

  /** Moves a place where another disk's zone or node is used less by the group, until none is left. */
  mendSpread(draft: Draft, group: number): void {
    for (let hasMoved = true; hasMoved; ) {
      hasMoved = false;
      for (const [index, disk] of draft.entries()) {
        const better = disk && this.#best(draft, { group, index });
        if (!better || crowding(draft, index, better) >= crowding(draft, index, disk)) continue;
        this.#put(draft, index, better);
        hasMoved = true;
      }
    }
  }

  /** Gives each disk that is far below its share the whole of it, rounded down, from those that have more than theirs. */
  level(): void {
    const shares = this.#shares();
    for (const poor of this.#targets) {
      const share = Math.floor(shares.get(poor) ?? 0);
      if (this.#load(poor) >= share * WELL_FILLED) continue;
      for (const draft of this.#drafts) {
        if (this.#load(poor) >= share) break;
        if (!draft.includes(poor)) this.#takeOver(draft, poor, shares);
      }
    }
  }

  #takeOver(draft: Draft, poor: PlacedDisk, shares: ReadonlyMap<PlacedDisk, number>): void {
    let richest = -1;
    let most = 0;
    for (const [index, rich] of draft.entries()) {
      if (!rich) continue;
      const surplus = this.#load(rich) - (shares.get(rich) ?? 0);
      if (surplus <= most) continue;
      if (crowding(draft, index, poor) > crowding(draft, index, rich)) continue;
      richest = index;
      most = surplus;
    }
    if (richest >= 0) this.#put(draft, richest, poor);
  }

  /** A disk has at most one place in a group, so a heavy one's share is capped and the others take the rest. */
  #shares(): ReadonlyMap<PlacedDisk, number> {
    const shares = new Map<PlacedDisk, number>();
    let open = [...this.#targets];
    let places = this.#drafts.reduce((sum, draft) => sum + draft.filter(Boolean).length, 0);
    for (let capped = true; capped && open.length > 0; ) {
      const weights = open.reduce((sum, disk) => sum + disk.weight, 0);
      const full = open.filter((disk) => (places * disk.weight) / weights >= this.#drafts.length);
      capped = full.length > 0;
      for (const disk of capped ? full : open) {
        shares.set(disk, capped ? this.#drafts.length : (places * disk.weight) / weights);
      }
      places -= full.length * this.#drafts.length;
      open = capped ? open.filter((disk) => !full.includes(disk)) : [];
    }
    return shares;
  }

  /**
   * Least crowded, then least loaded for its weight, with some chance in it: else the same disks would meet in group
   * after group, and what one of them loses would have to come from few others, and go to few.
   */
  #best(draft: Draft, { group, index }: { group: number; index: number }): PlacedDisk | undefined {
    let best: PlacedDisk | undefined;
    let bestCrowding = 0;
    let bestLoad = 0;
    for (const disk of this.#targets) {
      if (draft.includes(disk)) continue;
      const crowd = crowding(draft, index, disk);
      const load = (this.#load(disk) + CHANCE * chanceOf(disk, group)) / disk.weight;
      if (best && (crowd > bestCrowding || (crowd === bestCrowding && load >= bestLoad))) continue;
      best = disk;
      bestCrowding = crowd;
      bestLoad = load;
    }
    return best;
  }

  #put(draft: Draft, index: number, disk: PlacedDisk): void {
    const before = draft[index];
    if (before) this.#count(before, -1);
    this.#count(disk, 1);
    draft.splice(index, 1, disk);
  }

  #load(disk: PlacedDisk): number {
    return this.#loads.get(disk) ?? 0;
  }

  #count(disk: PlacedDisk, change: number): void {
    this.#loads.set(disk, this.#load(disk) + change);
  }
}

/**
 * How many members the disk would meet in its zone and on its node at this place. One in the zone weighs more than
 * all on the node, and a pair near the group's beginning more than one further on. The weight of a pair is the same
 * from both sides, so each move that makes a place less crowded makes the group so, and mending ends.
 */
function crowding(draft: Draft, index: number, disk: PlacedDisk): number {
  let total = 0;
  for (const [place, other] of draft.entries()) {
    if (!other || place === index || other.zone !== disk.zone) continue;
    const weight = WIDTH_MAX + 1 - Math.max(place, index);
    total += other.node === disk.node ? weight * (ZONE_WEIGHT + 1) : weight * ZONE_WEIGHT;
  }
  return total;
}

/** In [0, 1), the same in every process; well mixed, as ids of one cluster may differ in few digits. */
function chanceOf(disk: PlacedDisk, group: number): number {
  return crc32c(Buffer.from(`${disk.id} ${group}`)) / 2 ** 32;
}
