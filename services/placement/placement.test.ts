import { fileURLToPath } from "node:url";
import * as fc from "fast-check";
import protobuf from "protobufjs";
import { describe, expect, test } from "vitest";
import { systemClock } from "#lib/clock.ts";
import { silentLog } from "#lib/log.ts";
import { SeededRandom } from "#lib/random.ts";
import { MemoryMetadata } from "#metadata/memory.ts";
import { changeMap, forgetEarlier, RequestOutdated } from "#placement/change-map.ts";
import { CurrentMap } from "#placement/current-map.ts";
import { groupOf, writeIdIn } from "#placement/placement-group.ts";
import type { PlacedDisk } from "#placement/placement-map.ts";
import {
  DIRTY_MARKS,
  decodeMap,
  dirtyKey,
  dirtyMarkOf,
  encodeFence,
  encodeMap,
  MAP_KEY,
} from "#placement/placement-record.ts";

const schema = protobuf.loadSync(
  fileURLToPath(new URL("../../proto/placement.proto", import.meta.url)),
);
const CLUSTER = "c".repeat(32);

test("a fresh id for a second name falls into the group of the first", () => {
  const random = new SeededRandom(7);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 65_536 }), fc.nat(65_535), (groupCount, number) => {
      const group = number % groupCount;
      expect(groupOf(writeIdIn(group, { groupCount, random }), groupCount)).toBe(group);
    }),
  );
});

describe("the map in the index", () => {
  test("is what the schema says, and reads back", async () => {
    const metadata = new MemoryMetadata();
    await changeMap(metadata, request([1, 2, 3, 4]));
    const map = await changeMap(metadata, {
      ...request([1, 2, 3]),
      disks: [...disksOf([1, 2, 3]), draining(4)],
    });
    expect(map.groups.some(({ earlier }) => earlier.length > 0)).toBe(true);
    const bytes = encodeMap(map);
    expect(decodeMap(bytes)).toEqual(map);
    for (const [name, value] of [
      ["PlacementMap", bytes],
      ["GroupFence", encodeFence(5)],
    ] as const) {
      const type = schema.lookupType(`anybucket.placement.${name}`);
      expect(Buffer.from(type.encode(type.decode(value)).finish()).equals(value)).toBe(true);
    }
  });

  test("stays as it is when asked for again", async () => {
    const metadata = new MemoryMetadata();
    const first = await changeMap(metadata, request([1, 2, 3]));
    expect(await changeMap(metadata, request([1, 2, 3]))).toEqual(first);
    expect(first.epoch).toBe(1);
  });

  test("of another cluster is not touched", async () => {
    const metadata = new MemoryMetadata();
    await changeMap(metadata, request([1]));
    const foreign = { ...request([1]), clusterId: "d".repeat(32) };
    await expect(changeMap(metadata, foreign)).rejects.toThrow(/of cluster c+, the disks of d+/);
  });

  test("marks every place that changes hands, before it does", async () => {
    const metadata = new MemoryMetadata();
    await changeMap(metadata, request([1, 2, 3]));
    const map = await changeMap(metadata, request([1, 2, 4]));
    const { entries } = await metadata.range({ ...DIRTY_MARKS, limit: 1000 });
    const marks = entries.map(({ key }) => dirtyMarkOf(key));
    expect(marks).toEqual(map.groups.map((_, group) => ({ group, diskId: idOf(4) })));
    expect(map.disks.map(({ id }) => id)).not.toContain(idOf(3));
  });

  test("marks them again once it has, as repair may have looked in between, and seen nothing missing", async () => {
    const metadata = new MemoryMetadata();
    await changeMap(metadata, request([1, 2, 3]));
    metadata.fault = ({ put }) => {
      if (!put.some(({ key }) => MAP_KEY.equals(key))) return undefined;
      metadata.fault = undefined;
      const remove = Array.from({ length: 16 }, (_, group) => {
        return dirtyKey({ group, diskId: idOf(4) });
      });
      void metadata.commit({ expect: [], put: [], remove });
      return undefined;
    };
    await changeMap(metadata, request([1, 2, 4]));
    const { entries } = await metadata.range({ ...DIRTY_MARKS, limit: 1000 });
    expect(entries.length).toBe(16);
  });

  test("a write planned before its group moved is refused at its commit, one of another group is not", async () => {
    const metadata = new MemoryMetadata();
    await changeMap(metadata, request([1, 2, 3]));
    await using current = await CurrentMap.open({ metadata, clock: systemClock, log: silentLog });
    const planned = current.map.groups.map((_, group) => current.expectation(group));
    const map = await changeMap(metadata, request([1, 2, 3, 4]));
    for (const [group, { movedEpoch }] of map.groups.entries()) {
      const fence = planned[group];
      if (!fence) throw new Error("no expectation");
      const put = [{ key: Buffer.from(`k${group}`), value: Buffer.alloc(1) }];
      const { kind } = await metadata.commit({ expect: [fence], put, remove: [] });
      expect(kind).toBe(movedEpoch > 0 ? "conflict" : "committed");
    }
    await current.refresh();
    expect(current.map.epoch).toBe(2);
  });

  test("after a change that was cut short the fences are raised by the next", async () => {
    const metadata = new MemoryMetadata();
    await changeMap(metadata, request([1, 2]));
    let commits = 0;
    metadata.fault = ({ put }) => {
      const isFence = put.some(({ key }) =>
        Buffer.from(key).toString().startsWith("placement/group/"),
      );
      if (isFence && commits++ === 0) throw new Error("crash");
      return undefined;
    };
    await expect(changeMap(metadata, request([1, 3]))).rejects.toThrow("crash");
    const before = await CurrentMap.open({ metadata, clock: systemClock, log: silentLog });
    const planned = before.expectation(0);
    await before[Symbol.asyncDispose]();
    await changeMap(metadata, request([1, 3]));
    const outcome = await metadata.commit({ expect: [planned], put: [], remove: [Buffer.of(1)] });
    expect(outcome.kind).toBe("conflict");
  });

  test("is not changed by a request made from what is no longer so", async () => {
    const metadata = new MemoryMetadata();
    await changeMap(metadata, request([1, 2, 3]));
    const key = Buffer.from("nodes");
    const put = [{ key, value: Buffer.alloc(1) }];
    await metadata.commit({ expect: [], put, remove: [] });
    const outdated = { ...request([1, 2, 4]), expect: [{ key, revision: 0 }] };
    await expect(changeMap(metadata, outdated)).rejects.toThrow(RequestOutdated);
    const stored = await metadata.get(MAP_KEY);
    expect(decodeMap(stored?.value ?? Buffer.alloc(0)).epoch).toBe(1);
  });

  test("forgets where shards were only in the epoch that repair looked at", async () => {
    const metadata = new MemoryMetadata();
    await changeMap(metadata, request([1, 2, 3, 4]));
    const disks = [...disksOf([1, 2, 3]), draining(4)];
    const map = await changeMap(metadata, { ...request([]), disks });
    const groups = new Set(map.groups.keys());
    const earlier = async () => {
      const stored = await metadata.get(MAP_KEY);
      return decodeMap(stored?.value ?? Buffer.alloc(0)).groups.flatMap((group) => group.earlier);
    };
    await forgetEarlier(metadata, { groups, epoch: 1 });
    expect((await earlier()).length).toBeGreaterThan(0);
    await forgetEarlier(metadata, { groups, epoch: map.epoch });
    expect(await earlier()).toEqual([]);
  });
});

function request(numbers: readonly number[]) {
  return { clusterId: CLUSTER, disks: disksOf(numbers), width: 3, groupCount: 16 };
}

function disksOf(numbers: readonly number[]): readonly PlacedDisk[] {
  return numbers.map((number) => {
    const id = idOf(number);
    return { id, node: "node", zone: "zone", weight: 1, state: "active", label: `/${number}` };
  });
}

function draining(number: number): PlacedDisk {
  return { ...(disksOf([number])[0] as PlacedDisk), state: "draining" };
}

function idOf(number: number): string {
  return number.toString(16).padStart(32, "0");
}
