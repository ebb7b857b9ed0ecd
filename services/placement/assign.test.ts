import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { rounds } from "#lib/testing/rounds.ts";
import { assign } from "#placement/assign.ts";
import type { PlacedDisk, PlacementGroup } from "#placement/placement-map.ts";

const GROUPS = 256;
const RUNS = { numRuns: rounds(20) };

const machines = fc
  .array(fc.record({ zone: fc.nat(3), node: fc.nat(2), weight: fc.integer({ min: 1, max: 4 }) }), {
    minLength: 1,
    maxLength: 14,
  })
  .map((shapes) => shapes.map((shape, at) => diskOf(at, shape)));

describe("placing groups on disks", () => {
  test("each group has as many disks as it can, each once, spread over zones and then nodes", () => {
    fc.assert(
      fc.property(machines, fc.integer({ min: 1, max: 8 }), (disks, width) => {
        for (const { members } of place({ disks, width })) {
          expect(members.length).toBe(Math.min(width, disks.length));
          expect(new Set(members).size).toBe(members.length);
          expect(spreadFault(members, disks)).toBe(undefined);
        }
      }),
      RUNS,
    );
  });

  test("when one of equal disks is lost only its own places change hands", () => {
    fc.assert(
      fc.property(machines, fc.nat(13), fc.integer({ min: 1, max: 6 }), (disks, at, width) => {
        fc.pre(disks.length > width);
        const equal = oneZone(disks).map((disk) => ({ ...disk, weight: 1 }));
        const old = place({ disks: equal, width });
        const lost = disks[at % disks.length]?.id ?? "";
        const left = equal.map((disk) => (disk.id === lost ? gone(disk) : disk));
        const next = place({ disks: left, width, old });
        for (const { before, now } of moves(old, next)) {
          expect(before).toBe(lost);
          expect(now).not.toBe(lost);
        }
        expect(next.flatMap(({ members }) => members)).not.toContain(lost);
      }),
      RUNS,
    );
  });

  test("a new disk takes no more than its share, and nothing moves between the others", () => {
    fc.assert(
      fc.property(machines, fc.integer({ min: 1, max: 6 }), (disks, width) => {
        fc.pre(disks.length > width);
        const equal = oneZone(disks).map((disk) => ({ ...disk, weight: 1 }));
        const old = place({ disks: equal.slice(1), width });
        const [fresh] = equal;
        const next = place({ disks: equal, width, old });
        const moved = moves(old, next);
        expect(moved.every(({ now }) => now === fresh?.id)).toBe(true);
        const share = (GROUPS * Math.min(width, equal.length - 1)) / equal.length;
        expect(moved.length).toBeLessThanOrEqual(Math.ceil(share));
        expect(moved.length).toBeGreaterThanOrEqual(Math.floor(share * 0.8));
      }),
      RUNS,
    );
  });

  test("whatever comes and goes, where spreading asks for nothing a place that moves leaves a lost disk, or goes to a new one or to one that lacks it", () => {
    const numbers = { lost: fc.nat(3), added: fc.nat(3), width: fc.integer({ min: 1, max: 6 }) };
    fc.assert(
      fc.property(machines, fc.record(numbers), (shapes, { lost, added, width }) => {
        fc.pre(shapes.length > lost + added + 1);
        const disks = oneZone(shapes).map((disk) => ({ ...disk, weight: 1 }));
        const first = disks.slice(added);
        const old = place({ disks: first, width });
        const stays = disks.slice(0, disks.length - lost);
        const left = disks.slice(disks.length - lost).map(gone);
        const fresh = new Set(stays.slice(0, added).map(({ id }) => id));
        const next = place({ disks: [...stays, ...left], width, old });
        const between = moves(old, next).filter(({ before, now }) => {
          return !left.some(({ id }) => id === before) && !fresh.has(now);
        });
        // Else only to a disk that has less than its share, and no more than it lacks.
        const places = next.reduce((sum, { members }) => sum + members.length, 0);
        const share = Math.ceil(places / stays.length);
        const kept = loadsOf(old);
        const received = new Map<string, number>();
        for (const { now } of between) received.set(now, (received.get(now) ?? 0) + 1);
        for (const [id, count] of received) {
          expect(count).toBeLessThanOrEqual(Math.max(0, share - (kept.get(id) ?? 0)));
        }
      }),
      RUNS,
    );
  });

  test("the same disks again move nothing", () => {
    fc.assert(
      fc.property(machines, fc.integer({ min: 1, max: 6 }), (disks, width) => {
        const equal = disks.map((disk) => ({ ...disk, weight: 1 }));
        const old = place({ disks: oneZone(equal), width });
        expect(moves(old, place({ disks: oneZone(equal), width, old }))).toEqual([]);
      }),
      RUNS,
    );
  });

  test("disks of one weight get shares alike", () => {
    const disks = Array.from({ length: 7 }, (_, at) =>
      diskOf(at, { zone: 0, node: at, weight: 1 }),
    );
    const loads = [...loadsOf(place({ disks, width: 3 })).values()];
    expect(Math.max(...loads) - Math.min(...loads)).toBeLessThanOrEqual(8);
  });

  test("an empty disk in the place of a lost one takes over exactly its places", () => {
    const disks = Array.from({ length: 6 }, (_, at) => diskOf(at, { zone: 0, node: 0, weight: 1 }));
    const old = place({ disks, width: 6 });
    const fresh = diskOf(9, { zone: 0, node: 0, weight: 1 });
    const next = place({
      disks: [...disks.slice(1), fresh, gone(disks[0] as PlacedDisk)],
      width: 6,
      old,
    });
    expect(moves(old, next).length).toBe(GROUPS);
    expect(next.every(({ earlier }) => earlier.length === 0)).toBe(true);
  });

  test("a lost disk that nobody can replace keeps its place, so that the others keep theirs", () => {
    const disks = Array.from({ length: 3 }, (_, at) => diskOf(at, { zone: 0, node: 0, weight: 1 }));
    const old = place({ disks, width: 3 });
    const next = place({
      disks: disks.map((disk, at) => (at === 1 ? gone(disk) : disk)),
      width: 3,
      old,
    });
    expect(next.map(({ members }) => members)).toEqual(old.map(({ members }) => members));
  });

  test("a draining disk gives up its places and is remembered as where the shards still are", () => {
    const disks = Array.from({ length: 4 }, (_, at) => diskOf(at, { zone: 0, node: 0, weight: 1 }));
    const old = place({ disks, width: 3 });
    const draining = disks.map((disk, at) =>
      at === 2 ? { ...disk, state: "draining" as const } : disk,
    );
    const next = place({ disks: draining, width: 3, old });
    for (const [number, { members, earlier, movedEpoch }] of next.entries()) {
      const index = old[number]?.members.indexOf(disks[2]?.id ?? "") ?? -1;
      expect(members).not.toContain(disks[2]?.id);
      expect(earlier).toEqual(index < 0 ? [] : [{ index, diskId: disks[2]?.id }]);
      expect(movedEpoch).toBe(index < 0 ? 0 : 2);
    }
  });
});

test("a disk that is wanted again takes back exactly the places whose shards it still holds", () => {
  const count = fc.integer({ min: 4, max: 9 });
  fc.assert(
    fc.property(count, fc.integer({ min: 2, max: 3 }), fc.nat(8), (nodes, width, at) => {
      const disks = Array.from({ length: nodes }, (_, node) =>
        diskOf(node, { zone: 0, node, weight: 1 }),
      );
      const old = place({ disks, width });
      const left = disks[at % nodes]?.id ?? "";
      const draining = disks.map((disk) =>
        disk.id === left ? { ...disk, state: "draining" as const } : disk,
      );
      const emptied = place({ disks: draining, width, old });
      const back = place({ disks, width, old: emptied, returning: new Set([left]) });
      expect(back.map(({ members }) => members)).toEqual(old.map(({ members }) => members));
      // Who had begun to take over may hold some by now.
      for (const [group, { members, earlier }] of back.entries()) {
        const index = members.indexOf(left);
        const diskId = emptied[group]?.members[index] ?? "";
        expect(earlier).toEqual(index < 0 ? [] : [{ index, diskId }]);
      }
    }),
    RUNS,
  );
});

function place(request: {
  disks: readonly PlacedDisk[];
  width: number;
  old?: readonly PlacementGroup[];
  returning?: ReadonlySet<string>;
}): readonly PlacementGroup[] {
  const { old, ...rest } = request;
  return assign({ ...rest, old, groupCount: GROUPS, epoch: old ? 2 : 1 });
}

function diskOf(
  at: number,
  { zone, node, weight }: { zone: number; node: number; weight: number },
): PlacedDisk {
  const id = at.toString(16).padStart(32, "0");
  return { id, node: `z${zone}n${node}`, zone: `z${zone}`, weight, state: "active", label: id };
}

function gone(disk: PlacedDisk): PlacedDisk {
  return { ...disk, state: "gone" };
}

/** Where spreading asks for no move of its own. */
function oneZone(disks: readonly PlacedDisk[]): readonly PlacedDisk[] {
  return disks.map((disk) => ({ ...disk, zone: "z", node: disk.id }));
}

function moves(old: readonly PlacementGroup[], next: readonly PlacementGroup[]) {
  return next.flatMap(({ members }, number) =>
    members.flatMap((now, index) => {
      const before = old[number]?.members[index];
      return before === undefined || before === now ? [] : [{ before, now }];
    }),
  );
}

/** A zone that holds two more members than another with a disk to spare; undefined when there is none. */
function spreadFault(members: readonly string[], disks: readonly PlacedDisk[]): string | undefined {
  const zones = new Map<string, { used: number; spare: number }>();
  for (const { id, zone } of disks) {
    const counts = zones.get(zone) ?? { used: 0, spare: 0 };
    if (members.includes(id)) counts.used += 1;
    else counts.spare += 1;
    zones.set(zone, counts);
  }
  for (const [crowded, { used }] of zones) {
    for (const [other, counts] of zones) {
      if (counts.spare > 0 && counts.used + 1 < used) return `${crowded} against ${other}`;
    }
  }
  return undefined;
}

function loadsOf(groups: readonly PlacementGroup[]): ReadonlyMap<string, number> {
  const loads = new Map<string, number>();
  for (const id of groups.flatMap(({ members }) => members))
    loads.set(id, (loads.get(id) ?? 0) + 1);
  return loads;
}
