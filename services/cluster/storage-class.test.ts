import { describe, expect, test } from "vitest";
import { codecOf, groupWidth } from "#cluster/storage-class.ts";
import { nextMap } from "#placement/change-map.ts";
import type { PlacedDisk } from "#placement/placement-map.ts";

describe("what a new cluster keeps objects as", () => {
  test.each<[nodes: number, disksEach: number, codec: string]>([
    [1, 1, "replica-1"],
    [1, 6, "ec-4+2"],
    [2, 1, "replica-2"],
    [2, 3, "replica-3"],
    [3, 1, "replica-3"],
    [3, 4, "replica-3"],
    [4, 1, "ec-2+2"],
    [5, 2, "ec-3+2"],
    [12, 8, "ec-4+2"],
  ])("%i nodes of %i disks: %s", (nodes, disksEach, codec) => {
    const disks = disksOf(nodes, disksEach);
    const map = mapOf(disks, groupWidth("auto", disks, undefined));
    expect(codecOf("auto", map).name).toBe(codec);
  });
});

test("a cluster that grows keeps objects as before, so that it can shrink again", () => {
  const three = disksOf(3, 1);
  const map = mapOf(three, groupWidth("auto", three, undefined));
  expect(groupWidth("auto", disksOf(8, 1), map)).toBe(3);
  expect(groupWidth("ec-4+2", disksOf(8, 1), map)).toBe(6);
});

describe("is refused", () => {
  test.each<[wanted: string, line: RegExp]>([
    ["ec-2+1", /takes ec-K\+M with M of 2 or more, such as ec-2\+2 on 4 nodes/],
    ["ec-4+2", /on 3 folders: it takes 6/],
    ["best", /write replica-N or ec-K\+M/],
  ])("%s on three nodes", (wanted, line) => {
    expect(() => groupWidth(wanted, disksOf(3, 1), undefined)).toThrow(line);
  });

  test("a gateway's class that the groups are too small for", () => {
    const disks = disksOf(6, 1);
    expect(() => codecOf("ec-4+2", mapOf(disks, 3))).toThrow(/groups have 3; set .* of the keeper/);
    expect(codecOf("replica-2", mapOf(disks, 3)).name).toBe("replica-2");
  });
});

function mapOf(disks: readonly PlacedDisk[], width: number) {
  return nextMap(undefined, { clusterId: "c".repeat(32), disks, width, groupCount: 4 });
}

function disksOf(nodes: number, each: number): readonly PlacedDisk[] {
  return Array.from({ length: nodes * each }, (_, at) => ({
    id: at.toString(16).padStart(32, "0"),
    node: `n${at % nodes}`,
    zone: "z",
    weight: 1,
    state: "active",
    label: "/data",
  }));
}
