import { describe, expect, test } from "vitest";
import { RepairJob } from "#keeper/repair.ts";
import { ScrubJob } from "#keeper/scrub.ts";
import { decodeScrubState, scrubKey } from "#keeper/scrub-state.ts";
import { KeeperBench } from "#keeper/testing/keeper-bench.ts";
import { systemClock } from "#lib/clock.ts";
import { silentLog } from "#lib/log.ts";
import type { MetadataStore } from "#metadata/metadata-store.ts";
import { SUSPICIONS } from "#objects/suspicions.ts";
import { CLUSTER } from "#objects/testing/data-plane-bench.ts";
import { type DiskStep, MemoryDisk } from "#objects/testing/memory-disk.ts";
import { changeMap } from "#placement/change-map.ts";
import { DIRTY_MARKS, dirtyMarkOf } from "#placement/placement-record.ts";
import type { ShardId } from "#shards/shard-store.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZES = [1, 4 * KIB, 300 * KIB, 5 * MIB + 1];

describe("repair of ec-4+2 on six disks", () => {
  test("refills two replaced disks, after which two others may be lost", async () => {
    await using keeper = await KeeperBench.open({ codec: "ec-4+2", disks: 6 });
    const { bench } = keeper;
    for (const size of SIZES) await keeper.store(size);
    const before = bench.shards;
    await bench.replace(0);
    await bench.replace(3);
    expect(bench.shards).toBeLessThan(before);
    expect(await keeper.unreadable()).toEqual([]);
    const { progress } = await keeper.run(repairJob(keeper));
    expect(progress.now()).toMatchObject({ problemCount: 0, share: 1 });
    expect(progress.now().bytes).toBeGreaterThan(MIB);
    expect(bench.shards).toBe(before);
    expect(await entries(keeper, DIRTY_MARKS)).toBe(0);
    for (const at of [1, 4]) bench.stores.delete(bench.disks[at]?.diskId ?? "");
    expect(await keeper.unreadable()).toEqual([]);
  });

  test("refills a disk though another that lacks shards takes none", async () => {
    await using keeper = await KeeperBench.open({ codec: "ec-4+2", disks: 6, groupCount: 1 });
    const { bench } = keeper;
    for (const size of SIZES) await keeper.store(size);
    const lost = [bench.disks[0], bench.disks[3]].map((disk) => disk?.size);
    const fresh = [await bench.replace(0), await bench.replace(3)];
    const [good, bad] = fresh as [MemoryDisk, MemoryDisk];
    bad.before = (step) => {
      if (step === "put" || step === "append") throw new Error("EIO");
    };
    const job = repairJob(keeper);
    const { progress } = await keeper.run(job);
    expect(good.size).toBe(lost[0]);
    expect(progress.now().problems.join()).toMatch(/EIO/);
    expect(await entries(keeper, DIRTY_MARKS)).toBeGreaterThan(0);
    bad.before = undefined;
    await keeper.run(job);
    expect(fresh.map((disk) => disk.size)).toEqual(lost);
    expect(await entries(keeper, DIRTY_MARKS)).toBe(0);
    expect(bench.disks.map((disk) => disk.openWriters)).toEqual(bench.disks.map(() => 0));
  });

  test("mends writes that a disk missed, once it is back", async () => {
    const times = { laggardMs: 50 };
    await using keeper = await KeeperBench.open({ codec: "ec-4+2", disks: 6, times });
    const { bench } = keeper;
    const [away] = bench.disks;
    if (!away) throw new Error("no disk");
    bench.stores.delete(away.diskId);
    for (const size of SIZES) await keeper.store(size);
    expect(await entries(keeper, DIRTY_MARKS)).toBeGreaterThan(0);
    const job = repairJob(keeper);
    await keeper.run(job);
    expect(await entries(keeper, DIRTY_MARKS)).toBeGreaterThan(0);
    bench.stores.set(away.diskId, away);
    await keeper.run(job);
    expect(await entries(keeper, DIRTY_MARKS)).toBe(0);
    expect(away.size).toBeGreaterThan(0);
    for (const at of [1, 2]) bench.stores.delete(bench.disks[at]?.diskId ?? "");
    expect(await keeper.unreadable()).toEqual([]);
  });

  test("a disk that comes back while its group is gone through keeps its mark", async () => {
    await using keeper = await KeeperBench.open({ codec: "ec-4+2", disks: 6, groupCount: 1 });
    const { bench } = keeper;
    const [away] = bench.disks;
    if (!away) throw new Error("no disk");
    bench.stores.delete(away.diskId);
    await keeper.store(300 * KIB);
    const fresh = await bench.replace(3);
    fresh.before = (step) => {
      if (step !== "list") bench.stores.set(away.diskId, away);
    };
    const job = repairJob(keeper);
    await keeper.run(job);
    expect({ fresh: fresh.size, away: away.size }).toEqual({ fresh: 1, away: 0 });
    const marks = await bench.metadata.range({ ...DIRTY_MARKS, limit: 10 });
    expect(marks.entries.map(({ key }) => dirtyMarkOf(key).diskId)).toEqual([away.diskId]);
    await keeper.run(job);
    expect(away.size).toBe(1);
    expect(await entries(keeper, DIRTY_MARKS)).toBe(0);
  });

  test("a mark that is written again while repair looks stays", async () => {
    await using keeper = await KeeperBench.open({ codec: "ec-4+2", disks: 6, groupCount: 1 });
    const { bench } = keeper;
    await keeper.store(4 * KIB);
    const fresh = await bench.replace(2);
    let missed = false;
    keeper.onAsk = async () => {
      if (missed) return;
      missed = true;
      fresh.before = (step) => {
        if (step === "put") throw new Error("EIO");
      };
      await keeper.store(4 * KIB);
      fresh.before = undefined;
    };
    const job = repairJob(keeper);
    for (let round = 0; round < 3; round++) {
      await keeper.run(job);
      keeper.onAsk = undefined;
    }
    expect(await entries(keeper, DIRTY_MARKS)).toBe(0);
    for (const disk of bench.disks) expect(disk.size).toBe(copiesOn(keeper, disk));
  });

  test("leaves alone what nothing names", async () => {
    await using keeper = await KeeperBench.open({ codec: "ec-4+2", disks: 6, groupCount: 1 });
    await keeper.write(keeper.bench.data, 300 * KIB);
    const fresh = await keeper.bench.replace(1);
    await keeper.run(repairJob(keeper));
    expect(fresh.size).toBe(0);
    expect(await entries(keeper, DIRTY_MARKS)).toBe(0);
  });

  test("says what it cannot mend, and keeps the mark", async () => {
    await using keeper = await KeeperBench.open({ codec: "ec-4+2", disks: 6, groupCount: 1 });
    const { bench } = keeper;
    await keeper.store(300 * KIB);
    for (const at of [0, 1, 2]) await bench.replace(at);
    const { progress } = await keeper.run(repairJob(keeper));
    expect(progress.now().problems.join()).toMatch(/3 good shards are left, 4 are needed/);
    expect(await entries(keeper, DIRTY_MARKS)).toBeGreaterThan(0);
  });

  test("a source that is bad itself is left out, noted, and mended in the next round", async () => {
    await using keeper = await KeeperBench.open({ codec: "ec-4+2", disks: 6, groupCount: 1 });
    const { bench } = keeper;
    await keeper.store(5 * MIB);
    await bench.replace(0);
    const bad = bench.disks[1];
    const [id] = bad?.ids() ?? [];
    if (!bad || !id) throw new Error("no shard");
    bad.corrupt(id, 70_000);
    const job = repairJob(keeper);
    await keeper.run(job);
    expect(await bad.verify(id, soon())).toBe("bad");
    await keeper.run(job);
    expect(await bad.verify(id, soon())).toBe("good");
    for (const at of [2, 3]) bench.stores.delete(bench.disks[at]?.diskId ?? "");
    expect(await keeper.unreadable()).toEqual([]);
  });
});

test("groups move onto a new disk while everything stays readable, and leave nothing behind", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3, groupCount: 32 });
  const { bench } = keeper;
  for (let count = 0; count < 60; count++) await keeper.store(500);
  const late = await keeper.write(bench.data, 500);
  const fresh = await bench.add();
  expect(await keeper.unreadable()).toEqual([]);
  await bench.map.refresh();
  const { group = 0 } = late.written.extents[0] ?? {};
  expect(await keeper.commit(late)).toBe(bench.map.group(group).movedEpoch === 0);
  expect(await keeper.unreadable()).toEqual([]);
  const job = repairJob(keeper);
  await keeper.run(job);
  expect(fresh.size).toBeGreaterThan(10);
  expect(await entries(keeper, DIRTY_MARKS)).toBe(0);
  await bench.map.refresh();
  expect(bench.map.map.groups.flatMap(({ earlier }) => earlier)).toEqual([]);
  await bench.data.quiesce();
  for (const disk of bench.disks) expect(disk.size).toBe(copiesOn(keeper, disk));
  expect(await keeper.unreadable()).toEqual([]);
});

test("where shards were is forgotten in the next round, when the map changed in this one", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3, groupCount: 32 });
  const { bench } = keeper;
  for (let count = 0; count < 60; count++) await keeper.store(500);
  await bench.add();
  const job = repairJob(keeper);
  const context = await keeper.context(job.name);
  for (
    let outcome = await job.step(context);
    outcome === "more";
    outcome = await job.step(context)
  ) {
    if (bench.disks.length === 4) await bench.add();
  }
  await bench.map.refresh();
  expect(bench.map.map.groups.flatMap(({ earlier }) => earlier)).not.toEqual([]);
  await keeper.run(job);
  await bench.map.refresh();
  expect(bench.map.map.groups.flatMap(({ earlier }) => earlier)).toEqual([]);
  expect(await keeper.unreadable()).toEqual([]);
});

test("where shards were is not forgotten by a round that began before the fences of the move were raised", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3, groupCount: 1 });
  const { bench } = keeper;
  const { metadata } = bench;
  const late = await keeper.write(bench.data, 500);
  let isMoved = false;
  const move = async () => {
    isMoved = true;
    metadata.fault = ({ put }) => {
      const isFence = put.some(({ key }) => Buffer.from(key).includes("placement/group/"));
      if (isFence) throw new Error("killed");
      return undefined;
    };
    await expect(drain(keeper, 0)).rejects.toThrow("killed");
    metadata.fault = undefined;
    await bench.map.refresh();
  };
  // While the round begins, behind its look at the map.
  const during = new Proxy(metadata, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      return async (...given: unknown[]) => {
        if (name === "range" && !isMoved) await move();
        return (value as (...given: unknown[]) => unknown).apply(target, given);
      };
    },
  });
  const job = repairJob(keeper, during);
  const context = await keeper.context(job.name);
  expect(await job.step(context)).toBe("more");
  expect(await keeper.commit(late)).toBe(true);
  while ((await job.step(context)) === "more");
  await bench.map.refresh();
  expect(bench.map.map.groups.flatMap(({ earlier }) => earlier)).not.toEqual([]);
  await keeper.run(job);
  await bench.map.refresh();
  expect(bench.map.map.groups.flatMap(({ earlier }) => earlier)).toEqual([]);
  expect(bench.disks.at(-1)?.size).toBe(1);
});

test("a copy is not taken away as surplus from a disk that was given its place back meanwhile", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3, groupCount: 1 });
  const { bench } = keeper;
  for (let count = 0; count < 2; count++) await keeper.store(500);
  const [drained] = bench.disks;
  const fresh = await drain(keeper, 0);
  await bench.map.refresh();
  let asked = 0;
  keeper.onAsk = async () => {
    asked += 1;
    if (asked !== 2) return;
    while (fresh.size === 0) await new Promise(setImmediate);
    await takeBack(keeper);
  };
  const job = repairJob(keeper);
  await keeper.run(job);
  expect(drained?.size).toBe(2);
  keeper.onAsk = undefined;
  await keeper.run(job);
  expect(bench.disks.map(({ size }) => size)).toEqual([2, 2, 2, 0]);
  expect(await entries(keeper, DIRTY_MARKS)).toBe(0);
  expect(await keeper.unreadable()).toEqual([]);
});

test("a disk that goes before its surplus is taken away is come back to", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3, groupCount: 1 });
  const { bench } = keeper;
  await keeper.store(500);
  const [drained] = bench.disks;
  if (!drained) throw new Error("no disk");
  const fresh = await drain(keeper, 0);
  await bench.map.refresh();
  fresh.before = () => {
    if (fresh.size > 0) bench.stores.delete(drained.diskId);
  };
  drained.before = (step) => {
    if (step === "remove") throw new Error("gone");
  };
  const job = repairJob(keeper);
  await keeper.run(job);
  await bench.map.refresh();
  expect(bench.map.map.groups.flatMap(({ earlier }) => earlier)).not.toEqual([]);
  fresh.before = undefined;
  drained.before = undefined;
  bench.stores.set(drained.diskId, drained);
  await keeper.run(job);
  await bench.map.refresh();
  expect(drained.size).toBe(0);
  expect(bench.map.map.groups.flatMap(({ earlier }) => earlier)).toEqual([]);
  expect(await keeper.unreadable()).toEqual([]);
});

test("where shards may still be is not forgotten while nobody can look there", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-1", disks: 3, groupCount: 32 });
  const { bench } = keeper;
  for (let count = 0; count < 60; count++) await keeper.store(500);
  await bench.add();
  await bench.map.refresh();
  const job = repairJob(keeper);
  const [away] = bench.disks;
  if (!away) throw new Error("no disk");
  bench.stores.delete(away.diskId);
  await keeper.run(job);
  await bench.map.refresh();
  const earlier = bench.map.map.groups.flatMap((group) => group.earlier);
  expect(new Set(earlier.map(({ diskId }) => diskId))).toEqual(new Set([away.diskId]));
  bench.stores.set(away.diskId, away);
  await keeper.run(job);
  await bench.map.refresh();
  expect(bench.map.map.groups.flatMap((group) => group.earlier)).toEqual([]);
  expect(await keeper.unreadable()).toEqual([]);
});

describe.each(["replica-3", "ec-4+2"])("a flipped shard of %s", (codec) => {
  test.each([4 * KIB, 5 * MIB])("of %i bytes is found by a reader and replaced", async (size) => {
    await using keeper = await KeeperBench.open({ codec, disks: codec === "ec-4+2" ? 6 : 3 });
    await keeper.store(size);
    const shards = flipOneOfEach(keeper);
    expect(await keeper.unreadable()).toEqual([]);
    await noted(keeper);
    await keeper.run(repairJob(keeper));
    expect(await verdicts(shards)).toEqual(["good"]);
    expect(await entries(keeper, SUSPICIONS)).toBe(0);
  });

  test("is replaced though another disk cannot say what it has", async () => {
    await using keeper = await KeeperBench.open({ codec, disks: codec === "ec-4+2" ? 6 : 3 });
    await keeper.store(5 * MIB);
    const shards = flipOneOfEach(keeper);
    await keeper.unreadable();
    await noted(keeper);
    for (const disk of keeper.bench.disks) disk.before = cannotTell;
    await keeper.run(repairJob(keeper));
    expect(await entries(keeper, SUSPICIONS)).toBe(1);
    for (const disk of keeper.bench.disks) disk.before = undefined;
    const other = keeper.bench.disks.find((disk) => disk !== shards[0]?.[0]);
    if (other) other.before = cannotTell;
    await keeper.run(repairJob(keeper));
    expect(await verdicts(shards)).toEqual(["good"]);
    expect(await entries(keeper, SUSPICIONS)).toBe(0);
  });

  test("is found by scrub, which goes on where it was", async () => {
    await using keeper = await KeeperBench.open({ codec, disks: codec === "ec-4+2" ? 6 : 3 });
    for (let count = 0; count < 100; count++) await keeper.store(300);
    await keeper.store(300 * KIB);
    const [disk] = keeper.bench.disks;
    const ids = (disk?.ids() ?? []).filter((_, place) => place % 20 === 0);
    expect(ids.length).toBeGreaterThan(1);
    for (const id of ids) disk?.corrupt(id);
    const scrub = () => scrubJob(keeper);
    await scrub().step(await keeper.context("scrub"));
    await keeper.run(scrub());
    expect(await entries(keeper, SUSPICIONS)).toBe(ids.length);
    await keeper.run(repairJob(keeper));
    const all = ids.map((id) => [disk as MemoryDisk, id] as const);
    expect(new Set(await verdicts(all))).toEqual(new Set(["good"]));
  });
});

test("scrub reads every disk, also when the first is due again before the last had its turn", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3 });
  for (let count = 0; count < 3; count++) await keeper.store(300);
  const scrub = scrubJob(keeper, 0);
  for (let step = 0; step < 6; step++) await scrub.step(await keeper.context("scrub"));
  const keys = keeper.bench.disks.map(({ diskId }) => scrubKey(diskId));
  const states = await keeper.bench.metadata.getMany(keys);
  expect(states.map((entry) => entry && decodeScrubState(entry.value).endedMs > 0)).toEqual([
    true,
    true,
    true,
  ]);
});

test("scrub looks for a disk that is due no less often than one may be", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3 });
  expect(scrubJob(keeper, 30_000).everyMs).toBe(30_000);
  expect(scrubJob(keeper, 24 * 60 * 60_000).everyMs).toBeLessThan(60 * 60_000);
});

function cannotTell(step: DiskStep): void {
  if (step === "stat") throw new Error("EIO");
}

/** One more disk, to which another's places go. */
async function drain({ bench }: KeeperBench, at: number): Promise<MemoryDisk> {
  const fresh = new MemoryDisk("f".repeat(32));
  bench.disks.push(fresh);
  bench.stores.set(fresh.diskId, fresh);
  await changeMap(bench.metadata, mapOf(bench.disks, { draining: bench.disks[at] }));
  return fresh;
}

/** The last disk is drained instead, and all before it are wanted. */
async function takeBack({ bench }: KeeperBench): Promise<void> {
  await changeMap(bench.metadata, mapOf(bench.disks, { draining: bench.disks.at(-1) }));
  await bench.map.refresh();
}

function mapOf(disks: readonly MemoryDisk[], { draining }: { draining: MemoryDisk | undefined }) {
  const placed = disks.map((disk) => {
    const { diskId: id } = disk;
    const state = disk === draining ? ("draining" as const) : ("active" as const);
    return { id, node: "node", zone: "zone", weight: 1, state, label: id };
  });
  return { clusterId: CLUSTER, disks: placed, width: 3, groupCount: 1 };
}

function repairJob(
  keeper: KeeperBench,
  metadata: MetadataStore = keeper.bench.metadata,
): RepairJob {
  const { stores, map, classes } = keeper.bench;
  const { references } = keeper;
  const parts = { stores, map, metadata, classes, references, clusterId: CLUSTER };
  return new RepairJob({ ...parts, clock: systemClock, log: silentLog, bytesPerSecond: 2 ** 40 });
}

function scrubJob(keeper: KeeperBench, roundMs = 60_000): ScrubJob {
  const { stores, metadata } = keeper.bench;
  return new ScrubJob({ stores, metadata, clock: systemClock, log: silentLog, roundMs });
}

/** The first data shard, which a reader of the whole asks for; of copies each, as it may ask for any. */
function flipOneOfEach(keeper: KeeperBench): readonly (readonly [MemoryDisk, ShardId])[] {
  const [stored] = keeper.stored.values();
  const turn = (stored?.extents[0]?.writeId[15] ?? 0) % 3;
  const wanted = stored?.extents[0]?.codec === "replica-3" ? turn : 0;
  const found = keeper.bench.disks.flatMap((disk) =>
    disk
      .ids()
      .map((id) => [disk, id] as const)
      .filter(([, id]) => id.index === wanted),
  );
  for (const [disk, id] of found) disk.corrupt(id);
  return found;
}

async function verdicts(shards: readonly (readonly [MemoryDisk, ShardId])[]) {
  return Promise.all(shards.map(([disk, id]) => disk.verify(id, soon())));
}

async function noted(keeper: KeeperBench): Promise<void> {
  while ((await entries(keeper, SUSPICIONS)) === 0) await systemClock.sleep(5, soon());
}

async function entries(
  keeper: KeeperBench,
  range: { readonly from: Uint8Array; readonly to: Uint8Array },
): Promise<number> {
  return (await keeper.bench.metadata.range({ ...range, limit: 1000 })).entries.length;
}

/** How many of the stored small writes the disk should have a copy of. */
function copiesOn({ bench, stored }: KeeperBench, disk: MemoryDisk): number {
  const writes = [...stored.values()];
  return writes.filter(({ extents }) => {
    const [extent] = extents;
    return extent && bench.map.group(extent.group).members.slice(0, 3).includes(disk.diskId);
  }).length;
}

function soon(): AbortSignal {
  return AbortSignal.timeout(10_000);
}
