import { expect, test } from "vitest";
import { GarbageJob } from "#keeper/garbage.ts";
import type { Job } from "#keeper/job.ts";
import { RepairJob } from "#keeper/repair.ts";
import { KeeperBench } from "#keeper/testing/keeper-bench.ts";
import { TrashJob } from "#keeper/trash.ts";
import { systemClock } from "#lib/clock.ts";
import { silentLog } from "#lib/log.ts";
import { encodeSuspicion, SUSPICIONS, suspicionKey } from "#objects/suspicions.ts";
import { CLUSTER } from "#objects/testing/data-plane-bench.ts";
import type { MemoryDisk } from "#objects/testing/memory-disk.ts";
import { changeMap } from "#placement/change-map.ts";
import { CurrentMap } from "#placement/current-map.ts";
import { DIRTY_MARKS } from "#placement/placement-record.ts";
import { checksummedBlock } from "#shards/digest.ts";

const SMALL = 500;

test("a shard that arrived on a disk after its group had left it is found by a sweep and taken away", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3, groupCount: 1 });
  const { bench } = keeper;
  await keeper.store(SMALL);
  const [left] = bench.disks;
  if (!left) throw new Error("no disk");
  const [late] = left.ids();
  const info = late && (await left.stat(late, soon()));
  if (!late || !info) throw new Error("no shard");
  const range = { offset: 0, length: info.length };
  const block = checksummedBlock([await left.read(late, range, { signal: soon() })]);
  await bench.add();
  await drain(keeper, left);
  await keeper.run(repairJob(keeper));
  expect(left.size).toBe(0);
  await left.put(late, { block, seal: info }, { signal: soon() });
  await keeper.run(repairJob(keeper));
  expect(left.size).toBe(1);
  await bench.data.quiesce();
  await keeper.run(garbageJob(keeper, bench.map));
  expect(await keys(keeper, DIRTY_MARKS)).toBe(1);
  await keeper.run(repairJob(keeper));
  expect({ left: left.size, all: bench.shards }).toEqual({ left: 0, all: 3 });
  expect(await keys(keeper, DIRTY_MARKS)).toBe(0);
  expect(await keeper.unreadable()).toEqual([]);
});

test("a copy stays where its group was while the new place takes none, be it the last one", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-1", disks: 1, groupCount: 1 });
  const { bench } = keeper;
  await keeper.store(SMALL);
  const [left] = bench.disks;
  if (!left) throw new Error("no disk");
  const fresh = await bench.add();
  fresh.before = (step) => {
    if (step === "put") throw new Error("EIO");
  };
  await drain(keeper, left);
  const job = repairJob(keeper);
  const { progress } = await keeper.run(job);
  expect(progress.problemCount).toBe(1);
  expect(await keeper.unreadable()).toEqual([]);
  fresh.before = undefined;
  await keeper.run(job);
  expect({ left: left.size, fresh: fresh.size }).toEqual({ left: 0, fresh: 1 });
  expect(await keeper.unreadable()).toEqual([]);
});

test("a keeper that has not heard of the latest map marks no group that is whole", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3, groupCount: 1 });
  const { bench } = keeper;
  await using deaf = await deafToDrain(keeper);
  await bench.data.quiesce();
  await keeper.run(garbageJob(keeper, deaf));
  expect(await keys(keeper, DIRTY_MARKS)).toBe(0);
});

test("a keeper that has not heard of the latest map takes trash from where it lies by now", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3, groupCount: 1 });
  const { bench } = keeper;
  await using deaf = await deafToDrain(keeper);
  const names = [...keeper.stored.keys()];
  for (const name of names) await keeper.trash(name, 0);
  const { stores, metadata, classes } = bench;
  const { manifests } = keeper;
  const parts = { stores, metadata, classes, manifests, clock: systemClock, log: silentLog };
  await keeper.run(new TrashJob({ ...parts, map: deaf, retentionMs: 1000 }));
  expect(bench.shards).toBe(0);
});

test("a shard noted as bad is looked at when its disk is back, however many others wait", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3, groupCount: 1 });
  const { bench } = keeper;
  await keeper.store(SMALL);
  const [away, here] = bench.disks;
  if (!away || !here) throw new Error("no disk");
  bench.stores.delete(away.diskId);
  for (const disk of [away, here]) {
    const [id] = disk.ids();
    if (!id) throw new Error("no shard");
    disk.corrupt(id, 0);
    await note(keeper, suspicionKey(id), disk);
  }
  const job = repairJob(keeper);
  const { progress } = await keeper.run(job);
  expect(progress.problemCount).toBe(0);
  expect(await verdicts(here)).toEqual(["good"]);
  expect(await keys(keeper, SUSPICIONS)).toBe(1);
  bench.stores.set(away.diskId, away);
  await keeper.run(job);
  expect(await verdicts(away)).toEqual(["good"]);
  expect(await keys(keeper, SUSPICIONS)).toBe(0);
});

test("a shard noted as bad on a disk that is gone for good is forgotten", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3, groupCount: 1 });
  const { bench } = keeper;
  await keeper.store(SMALL);
  const [lost] = bench.disks;
  const [id] = lost?.ids() ?? [];
  if (!lost || !id) throw new Error("no shard");
  await note(keeper, suspicionKey(id), lost);
  await bench.replace(0);
  await keeper.run(repairJob(keeper));
  expect(await keys(keeper, SUSPICIONS)).toBe(0);
});

/** As of a process whose watch has broken. */
async function deafMap({ bench }: KeeperBench): Promise<CurrentMap> {
  const metadata = new Proxy(bench.metadata, {
    get: (target, name) => {
      if (name === "watch") return silence;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  return CurrentMap.open({ metadata, clock: systemClock, log: silentLog });
}

async function* silence(_prefix: Uint8Array, signal: AbortSignal) {
  await new Promise((resolve) => {
    signal.addEventListener("abort", resolve, { once: true });
  });
  yield* [];
}

/** What a keeper knows that has not heard of it when a disk was drained, and its shards moved. */
async function deafToDrain(keeper: KeeperBench): Promise<CurrentMap> {
  const { bench } = keeper;
  await keeper.store(SMALL);
  const deaf = await deafMap(keeper);
  const [left] = bench.disks;
  if (!left) throw new Error("no disk");
  await bench.add();
  await drain(keeper, left);
  await keeper.run(repairJob(keeper));
  return deaf;
}

/** All its places go to others. */
async function drain({ bench }: KeeperBench, drained: MemoryDisk): Promise<void> {
  const disks = bench.disks.map((disk) => {
    const { diskId: id } = disk;
    const state = disk === drained ? ("draining" as const) : ("active" as const);
    return { id, node: "node", zone: "zone", weight: 1, state, label: id };
  });
  await changeMap(bench.metadata, { clusterId: CLUSTER, disks, width: 3, groupCount: 1 });
  await bench.map.refresh();
}

function repairJob(keeper: KeeperBench): Job {
  const { stores, map, metadata, classes } = keeper.bench;
  const { references } = keeper;
  const parts = { stores, map, metadata, classes, references, clusterId: CLUSTER };
  return new RepairJob({ ...parts, clock: systemClock, log: silentLog, bytesPerSecond: 2 ** 40 });
}

function garbageJob(keeper: KeeperBench, map: CurrentMap): Job {
  const { stores, metadata, classes } = keeper.bench;
  const { references } = keeper;
  const parts = { stores, map, metadata, classes, references, clusterId: CLUSTER };
  return new GarbageJob({ ...parts, clock: systemClock, log: silentLog });
}

async function note({ bench }: KeeperBench, key: Buffer, { diskId }: MemoryDisk): Promise<void> {
  const put = [{ key, value: encodeSuspicion(diskId) }];
  await bench.metadata.commit({ expect: [], put, remove: [] });
}

async function verdicts(disk: MemoryDisk) {
  return Promise.all(disk.ids().map((id) => disk.verify(id, soon())));
}

async function keys(
  { bench }: KeeperBench,
  range: { readonly from: Uint8Array; readonly to: Uint8Array },
): Promise<number> {
  return (await bench.metadata.range({ ...range, limit: 1000 })).entries.length;
}

function soon(): AbortSignal {
  return AbortSignal.timeout(5000);
}
