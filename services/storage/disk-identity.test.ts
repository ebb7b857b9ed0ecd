import { expect, test } from "vitest";
import { systemClock } from "#lib/clock.ts";
import type { Disk } from "#lib/disk.ts";
import { silentLog } from "#lib/log.ts";
import { systemRandom } from "#lib/random.ts";
import { DiskRefused, lockFolder, prepareDisk, readIdentity } from "#storage/disk-identity.ts";
import { openDiskStore } from "#storage/disk-store.ts";
import { CLUSTER, memoryDisk, openStore, temporaryDisk } from "#storage/testing/stores.ts";

const random = systemRandom;

async function reasonOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "accepted";
  } catch (error) {
    return error instanceof DiskRefused ? error.reason : String(error);
  }
}

function open(disk: Disk, clusterId = CLUSTER): Promise<unknown> {
  return openDiskStore({ disk, clusterId, clock: systemClock, log: silentLog });
}

test("a folder is prepared once and keeps its ids", async () => {
  await using folder = await temporaryDisk();
  const first = await prepareDisk(folder.disk, { clusterId: CLUSTER, random });
  expect(await prepareDisk(folder.disk, { clusterId: CLUSTER, random })).toEqual(first);
  expect(await readIdentity(folder.disk)).toEqual(first);
});

test("an empty folder is taken for an unmounted disk, and nothing is written to it", async () => {
  await using folder = await temporaryDisk();
  expect(await reasonOf(open(folder.disk))).toBe("missing");
  expect(await folder.disk.list("")).toEqual([]);
});

test("volumes without disk.json are refused, by preparing as well", async () => {
  const disk = memoryDisk();
  await using store = await openStore(disk);
  expect(store.diskId).toMatch(/^[0-9a-f]{32}$/);
  await disk.open("volumes/00000001.volume", "create");
  await disk.remove("disk.json");
  expect(await reasonOf(open(disk))).toBe("incomplete");
  expect(await reasonOf(prepareDisk(disk, { clusterId: CLUSTER, random }))).toBe("incomplete");
});

test("another cluster's disk is refused", async () => {
  const disk = memoryDisk();
  await prepareDisk(disk, { clusterId: CLUSTER, random });
  expect(await reasonOf(open(disk, "cluster-b"))).toBe("foreign-cluster");
  expect(await reasonOf(prepareDisk(disk, { clusterId: "cluster-b", random }))).toBe(
    "foreign-cluster",
  );
});

test.each([
  ["of a later format", '{"formatVersion":99,"clusterId":"cluster-a"}', "newer-format"],
  ["that is not JSON", '{"formatVersion"', "unreadable"],
  ["without ids", '{"formatVersion":1,"clusterId":"cluster-a"}', "unreadable"],
])("a disk.json %s is refused", async (_name, text, reason) => {
  const disk = memoryDisk();
  await disk.writeFile("disk.json", Buffer.from(text));
  expect(await reasonOf(open(disk))).toBe(reason);
});

test("a folder in use is refused until its server is gone", async () => {
  await using folder = await temporaryDisk();
  {
    await using held = await lockFolder(folder.disk);
    expect(held.path).toBe("lock");
    expect(await reasonOf(lockFolder(folder.disk))).toBe("in-use");
  }
  await using again = await lockFolder(folder.disk);
  expect(again.path).toBe("lock");
});
