import { expect, test } from "vitest";
import { MISSED } from "#keeper/missed.ts";
import { KeeperBench } from "#keeper/testing/keeper-bench.ts";
import { TrashJob } from "#keeper/trash.ts";
import { type Clock, systemClock } from "#lib/clock.ts";
import { silentLog } from "#lib/log.ts";
import { TRASH, trashKey } from "#metadata/keys.ts";
import { encodeTrash } from "#metadata/records.ts";
import { ExtentGone } from "#objects/data-plane.ts";
import { OWNER } from "#objects/testing/data-plane-bench.ts";

const HOUR = 60 * 60_000;

test("bytes go when their retention has passed, and not before", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3 });
  const now = systemClock.now();
  for (const hours of [1, 23, 25, 300]) await trashed(keeper, now - hours * HOUR);
  await keeper.run(trashJob(keeper));
  expect(await keys(keeper)).toBe(2);
  expect(keeper.bench.shards).toBe(6);
});

test("while a disk is nearly full the oldest go before their time, until it is no longer", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-1", disks: 1 });
  const [disk] = keeper.bench.disks;
  if (!disk) throw new Error("no disk");
  const now = systemClock.now();
  for (const hours of [1, 2, 7, 8, 13]) await trashed(keeper, now - hours * HOUR);
  disk.free = 0.05;
  disk.before = (step) => {
    if (step === "remove" && disk.size <= 4) disk.free = 0.5;
  };
  await keeper.run(trashJob(keeper));
  // Half the retention takes the first, a quarter the next two, in one turn.
  expect(await keys(keeper)).toBe(2);
});

test("while more of the index is used than should be all trash goes, whatever its age (R20)", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-1", disks: 1 });
  const now = systemClock.now();
  for (const hours of [0, 7, 13]) await trashed(keeper, now - hours * HOUR);
  const room = { needsRemovals: false };
  const job = trashJob(keeper, systemClock, room);
  await keeper.run(job);
  expect(await keys(keeper)).toBe(3);
  room.needsRemovals = true;
  await keeper.run(job);
  expect([await keys(keeper), keeper.bench.shards]).toEqual([0, 0]);
});

test("a clock set forward makes no trash older than an hour more", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-1", disks: 1 });
  let leapMs = 0;
  const clock: Clock = { ...systemClock, now: () => systemClock.now() + leapMs };
  const job = trashJob(keeper, clock);
  await trashed(keeper, systemClock.now());
  leapMs = 10 * 365 * 24 * HOUR;
  await keeper.run(job);
  expect(await keys(keeper)).toBe(1);
});

test("a disk that is away does not hold the trash up: it is noted to have missed removals", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3 });
  await trashed(keeper, 0);
  const [away] = keeper.bench.disks;
  keeper.bench.stores.delete(away?.diskId ?? "");
  await keeper.run(trashJob(keeper));
  expect(await keys(keeper)).toBe(0);
  expect(keeper.bench.shards).toBe(1);
  const missed = await keeper.bench.metadata.range({ ...MISSED, limit: 9 });
  expect(missed.entries.length).toBe(1);
});

test("a list of parts that went in a turn cut short does not stop the next one; an unreadable one keeps everything", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-1", disks: 1 });
  const list = await keeper.store(100);
  const [manifest] = list.extents;
  const value = encodeTrash({ trashedMs: 0, extents: [], manifest });
  const { bucketId, key } = OWNER;
  const name = trashKey({ bucketId, trashedMs: 0, key, nonce: Buffer.alloc(14) });
  await keeper.bench.metadata.commit({ expect: [], put: [{ key: name, value }], remove: [] });
  keeper.manifests.extentsOfTrash = () => Promise.reject(new Error("damaged"));
  const { progress } = await keeper.run(trashJob(keeper));
  expect(progress.now().problems.join()).toContain("damaged");
  expect([await keys(keeper), keeper.bench.shards]).toEqual([1, 1]);
  keeper.manifests.extentsOfTrash = () => Promise.reject(new ExtentGone("gone"));
  await keeper.run(trashJob(keeper));
  expect([await keys(keeper), keeper.bench.shards]).toEqual([0, 0]);
});

test("buckets are gone through one after another, page by page", async () => {
  await using keeper = await KeeperBench.open({ codec: "replica-1", disks: 1 });
  const { metadata } = keeper.bench;
  const value = encodeTrash({ trashedMs: 0, extents: [], manifest: undefined });
  for (let count = 0; count < 200; count++) {
    const nonce = Buffer.alloc(14, count);
    const bucketId = (count % 3).toString(16).repeat(32);
    const put = [{ key: trashKey({ bucketId, trashedMs: 0, key: `k${count}`, nonce }), value }];
    await metadata.commit({ expect: [], put, remove: [] });
  }
  await keeper.run(trashJob(keeper));
  expect(await keys(keeper)).toBe(0);
});

async function trashed(keeper: KeeperBench, trashedMs: number): Promise<void> {
  const { extents } = await keeper.store(1000);
  await keeper.trash(Buffer.from(extents[0]?.writeId ?? []).toString("hex"), trashedMs);
}

async function keys(keeper: KeeperBench): Promise<number> {
  return (await keeper.bench.metadata.range({ ...TRASH, limit: 1000 })).entries.length;
}

function trashJob(
  keeper: KeeperBench,
  clock: Clock = systemClock,
  room?: { needsRemovals: boolean },
): TrashJob {
  const { stores, map, metadata, classes } = keeper.bench;
  const { manifests } = keeper;
  const parts = { stores, map, metadata, classes, manifests, clock, log: silentLog };
  return new TrashJob({ ...parts, room, retentionMs: 24 * HOUR });
}
