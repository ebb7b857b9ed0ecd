import { expect, test } from "vitest";
import { GarbageJob } from "#keeper/garbage.ts";
import { armGarbage, disarmedBecause } from "#keeper/identity.ts";
import { RemovalTerms } from "#keeper/removal-terms.ts";
import { RepairJob } from "#keeper/repair.ts";
import { encodeTerm, TERM_KEY } from "#keeper/term-record.ts";
import { KeeperBench } from "#keeper/testing/keeper-bench.ts";
import { TrashJob } from "#keeper/trash.ts";
import { systemClock } from "#lib/clock.ts";
import { silentLog } from "#lib/log.ts";
import { endSession } from "#metadata/sessions.ts";
import { CLUSTER } from "#objects/testing/data-plane-bench.ts";
import { MemoryDisk } from "#objects/testing/memory-disk.ts";
import { changeMap } from "#placement/change-map.ts";

const SMALL = 500;

test("what a keeper decided before another one began is refused by the disk, and decided anew", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-1", disks: 1 });
  await keeper.store(SMALL);
  const { stores } = keeper.bench;
  const [disk] = keeper.bench.disks;
  if (!disk) throw new Error("no disk");
  const paused = terms(keeper);
  await paused.begin(stores, { signal: soon(), fence: [] });
  let asked = 0;
  disk.before = async (step) => {
    if (step !== "remove") return;
    disk.before = undefined;
    await terms(keeper).begin(stores, { signal: soon(), fence: [] });
  };
  const mayStill = async () => {
    asked += 1;
    return asked === 1;
  };
  const request = { store: disk, ids: disk.ids(), mayStill, signal: soon() };
  expect(await paused.remove(request)).toBe(false);
  expect({ asked, size: disk.size }).toEqual({ asked: 2, size: 1 });
  expect(await paused.remove({ ...request, mayStill: async () => true })).toBe(true);
  expect(disk.size).toBe(0);
});

test("a copy that counts again is not taken away by a keeper that was paused before it removed it as surplus", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3, groupCount: 1 });
  const { bench } = keeper;
  await keeper.store(SMALL);
  const [drained] = bench.disks;
  if (!drained) throw new Error("no disk");
  const fresh = new MemoryDisk("f".repeat(32));
  bench.disks.push(fresh);
  bench.stores.set(fresh.diskId, fresh);
  await place(keeper, { draining: drained });
  // Between the paused one's last look and the disk's answer, all that undoes the move.
  drained.before = async (step) => {
    if (step !== "remove" || fresh.size === 0) return;
    drained.before = undefined;
    await place(keeper, { draining: fresh });
    await keeper.run(repairJob(keeper));
  };
  await keeper.run(repairJob(keeper));
  expect(drained.before).toBeUndefined();
  expect(bench.disks.map(({ size }) => size)).toEqual([1, 1, 1, 0]);
  expect(await keeper.unreadable()).toEqual([]);
});

test("an index that was put back to a copy removes nothing, whoever looks, before it is armed", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3 });
  const { metadata } = keeper.bench;
  const job = garbageJob(keeper);
  await keeper.run(job);
  const copy = await metadata.get(TERM_KEY);
  for (let minute = 0; minute < 3; minute++) await keeper.run(job);
  // A write that the copy does not know, of a process that died since.
  const session = await metadata.session();
  await keeper.write(keeper.bench.dataPlaneOf(session), SMALL);
  await endSession(metadata, session.id);
  await keeper.store(SMALL);
  for (const name of keeper.stored.keys()) await keeper.trash(name, 0);
  await put(keeper, copy?.value ?? encodeTerm(0));
  await expect(keeper.run(garbageJob(keeper))).rejects.toThrow(/disks know of term 4, it knows/);
  await expect(keeper.run(trashJob(keeper))).rejects.toThrow(/restored from a copy/);
  expect(keeper.bench.shards).toBe(6);
  expect(await disarmedBecause(metadata, CLUSTER, soon())).toMatch(/restored from a copy/);
  await armGarbage(metadata);
  await keeper.run(trashJob(keeper));
  await keeper.run(garbageJob(keeper));
  expect(keeper.bench.shards).toBe(0);
});

test("a disk that was away while others were told does not come to agree with an index that lost terms", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3 });
  const { stores, disks } = keeper.bench;
  const [away] = disks;
  if (!away) throw new Error("no disk");
  const before = terms(keeper);
  for (let round = 0; round < 3; round++) {
    await before.begin(stores, { signal: soon(), fence: [] });
  }
  await put(keeper, encodeTerm(2));
  // Exactly the term that the disk knows would come of it.
  const others = new Map([...stores].filter(([diskId]) => diskId === away.diskId));
  const begun = terms(keeper).begin(others, { signal: soon(), fence: [] });
  await expect(begun).rejects.toThrow(/disks know of term 3, it knows of 2/);
});

test("a disk that has not heard of the new term does not count as there", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3 });
  const [deaf, ...others] = keeper.bench.disks;
  if (!deaf) throw new Error("no disk");
  deaf.before = () => {
    throw new Error("gone");
  };
  const told = await terms(keeper).begin(keeper.bench.stores, { signal: soon(), fence: [] });
  expect([...told.keys()].toSorted()).toEqual(others.map(({ diskId }) => diskId).toSorted());
});

test("who no longer has the job begins no term", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-1", disks: 1 });
  const { stores } = keeper.bench;
  const fence = [{ key: Buffer.from("lease/repair"), revision: 7 }];
  const begun = terms(keeper).begin(stores, { signal: soon(), fence });
  await expect(begun).rejects.toThrow(/no longer does the job/);
});

function terms({ bench }: KeeperBench): RemovalTerms {
  return new RemovalTerms({ metadata: bench.metadata, log: silentLog });
}

async function put({ bench }: KeeperBench, value: Uint8Array): Promise<void> {
  await bench.metadata.commit({ expect: [], put: [{ key: TERM_KEY, value }], remove: [] });
}

async function place({ bench }: KeeperBench, { draining }: { draining: MemoryDisk }) {
  const disks = bench.disks.map((disk) => {
    const { diskId: id } = disk;
    const state = disk === draining ? ("draining" as const) : ("active" as const);
    return { id, node: "node", zone: "zone", weight: 1, state, label: id };
  });
  await changeMap(bench.metadata, { clusterId: CLUSTER, disks, width: 3, groupCount: 1 });
  await bench.map.refresh();
}

function repairJob(keeper: KeeperBench): RepairJob {
  const { stores, map, metadata, classes } = keeper.bench;
  const { references } = keeper;
  const parts = { stores, map, metadata, classes, references, clusterId: CLUSTER };
  const times = { clock: systemClock, log: silentLog, bytesPerSecond: 2 ** 40 };
  return new RepairJob({ ...parts, ...times, removals: terms(keeper) });
}

function garbageJob(keeper: KeeperBench): GarbageJob {
  const { stores, metadata, map, classes } = keeper.bench;
  const { references } = keeper;
  const parts = { stores, map, metadata, classes, references, clusterId: CLUSTER };
  return new GarbageJob({ ...parts, clock: systemClock, log: silentLog, removals: terms(keeper) });
}

function trashJob(keeper: KeeperBench): TrashJob {
  const { stores, map, metadata, classes } = keeper.bench;
  const { manifests } = keeper;
  const parts = { stores, map, metadata, classes, manifests, clock: systemClock, log: silentLog };
  return new TrashJob({ ...parts, retentionMs: 1000, removals: terms(keeper) });
}

function soon(): AbortSignal {
  return AbortSignal.timeout(10_000);
}
