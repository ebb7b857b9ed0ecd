import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { systemClock } from "#lib/clock.ts";
import type { FaultyDisk } from "#lib/faulty-disk.ts";
import { silentLog } from "#lib/log.ts";
import { systemRandom } from "#lib/random.ts";
import { readAll, type SampleShard, sample, write, written } from "#shards/shard-store.contract.ts";
import { prepareDisk } from "#storage/disk-identity.ts";
import { type DiskStore, openDiskStore } from "#storage/disk-store.ts";
import { MemoryIndexStore } from "#storage/index-store.ts";
import { CLUSTER, memoryDisk, openStore, temporaryDisk } from "#storage/testing/stores.ts";

const { signal } = new AbortController();
const OPTIONS = { volumeBytes: 50_000, reserveBytes: 0, compactBelow: 0.6, openVolumesMax: 8 };

async function compactAll(store: DiskStore): Promise<number> {
  for (let removed = 0; ; removed++) {
    const outcome = await store.compact(signal);
    if (outcome?.kind !== "removed") return removed;
  }
}

async function volumeBytes(disk: FaultyDisk): Promise<number> {
  let total = 0;
  for (const path of disk.files()) {
    if (path.startsWith("volumes/")) total += (await disk.readFile(path))?.length ?? 0;
  }
  return total;
}

/** Opens the disk again with an index made of the volumes alone. */
async function rebuilt(disk: FaultyDisk, store: DiskStore): Promise<DiskStore> {
  await store[Symbol.asyncDispose]();
  return openStore(disk, OPTIONS);
}

async function expectAll(store: DiskStore, shards: readonly SampleShard[]): Promise<void> {
  for (const shard of shards) {
    expect((await readAll(store, shard)).equals(shard.bytes)).toBe(true);
    expect(await store.stat(shard.id, signal)).toMatchObject(shard.seal);
  }
}

test("gives the room of removed shards back and keeps the others, also for a rebuilt index", async () => {
  const disk = memoryDisk();
  const store = await openStore(disk, OPTIONS);
  const shards = [];
  for (let count = 0; count < 60; count++) shards.push(await written(store, [4000, 4000, 100]));
  const kept = shards.filter((_, at) => at % 5 === 0);
  const gone = shards.filter((_, at) => at % 5 !== 0);
  const before = await volumeBytes(disk);
  await store.remove(
    gone.map(({ id }) => id),
    signal,
  );
  expect(await compactAll(store)).toBeGreaterThan(5);
  expect(await volumeBytes(disk)).toBeLessThan(before / 2);
  await expectAll(store, kept);
  const again = await rebuilt(disk, store);
  expect(again.opened.damage).toEqual([]);
  await expectAll(again, kept);
  for (const { id } of gone) expect(await again.stat(id, signal)).toBeUndefined();
});

test("counts the same bytes as live as a rebuilt index does", async () => {
  const disk = memoryDisk();
  const store = await openStore(disk, OPTIONS);
  const shards: SampleShard[] = [];
  for (let count = 0; count < 40; count++) shards.push(await written(store, [6000, 500]));
  for (let at = 0; at < 40; at += 4) {
    const [first, second] = [sample([]).id, sample([]).id];
    const source = shards[at] as SampleShard;
    await store.link({ source: source.id, target: first }, source.seal, signal);
    await store.link({ source: first, target: second }, source.seal, signal);
    await store.remove([source.id, ...(at % 8 === 0 ? [first] : [])], signal);
  }
  await store.remove(
    shards.filter((_, at) => at % 4 === 1).map(({ id }) => id),
    signal,
  );
  await compactAll(store);
  const { live } = await store.health();
  const again = await rebuilt(disk, store);
  expect((await again.health()).live).toBe(live);
});

test("a shard that many names share moves once, and all of them find it", async () => {
  const disk = memoryDisk();
  const store = await openStore(disk, OPTIONS);
  const shard = await written(store, [9000, 3000]);
  const filler = await written(store, [36_000]);
  const names = Array.from({ length: 5 }, () => sample([]).id);
  for (const target of names) {
    await store.link({ source: shard.id, target }, shard.seal, signal);
  }
  await store.remove([filler.id, shard.id], signal);
  for (let count = 0; count < 3; count++) await written(store, [40_000]);
  expect(await compactAll(store)).toBeGreaterThan(0);
  for (const id of names) {
    expect((await readAll(store, { ...shard, id })).equals(shard.bytes)).toBe(true);
  }
  expect((await store.health()).live).toBeLessThan(3 * 40_500 + 14_000);
});

test("what is removed stays removed when its tombstone's volume goes before the volumes with its seals", async () => {
  const disk = memoryDisk();
  const store = await openStore(disk, OPTIONS);
  // The victim's seal stands in a volume that stays full; the tombstone in one that empties.
  const victim = await written(store, [200]);
  const neighbours = [await written(store, [20_000]), await written(store, [25_000])];
  const fillers = [await written(store, [45_000])];
  await store.remove([victim.id], signal);
  fillers.push(await written(store, [45_000]), await written(store, [45_000]));
  await store.remove(
    fillers.map(({ id }) => id),
    signal,
  );
  await compactAll(store);
  const again = await rebuilt(disk, store);
  expect(await again.stat(victim.id, signal)).toBeUndefined();
  await expectAll(again, neighbours);
});

test("a seal left behind when its blocks were moved does not come back after the shard is removed", async () => {
  const disk = memoryDisk();
  const store = await openStore(disk, OPTIONS);
  // Blocks in the first volume, seal in the second.
  const shard = sample([1000, 1000]);
  const writer = store.write(shard.id, { signal });
  for (const block of shard.blocks) await writer.append(block);
  const first = await written(store, [49_000]);
  await writer.seal(shard.seal);
  const second = await written(store, [30_000]);
  await written(store, [45_000]);
  await store.remove([first.id], signal);
  expect(await compactAll(store)).toBe(1);
  await expectAll(store, [shard, second]);
  await store.remove([shard.id], signal);
  await compactAll(store);
  const again = await rebuilt(disk, store);
  expect(await again.stat(shard.id, signal)).toBeUndefined();
  await expectAll(again, [second]);
});

test("tombstones go once nothing is left that they could name", async () => {
  const disk = memoryDisk();
  let store = await openStore(disk, OPTIONS);
  for (let round = 0; round < 5; round++) {
    const shards = [];
    for (let count = 0; count < 40; count++) shards.push(await written(store, [3000]));
    await store.remove(
      shards.map(({ id }) => id),
      signal,
    );
    await compactAll(store);
    store = await rebuilt(disk, store);
  }
  await compactAll(store);
  expect(await volumeBytes(disk)).toBeLessThan(2 * OPTIONS.volumeBytes);
  expect((await store.health()).live).toBe(0);
});

test("an id of a volume is never used again, though all of them empty", async () => {
  const disk = memoryDisk();
  let store = await openStore(disk, OPTIONS);
  let highest = "";
  for (let round = 0; round < 4; round++) {
    const shard = await written(store, [40_000]);
    await store.remove([shard.id], signal);
    await store[Symbol.asyncDispose]();
    const used = disk.files().filter((path) => path.startsWith("volumes/"));
    expect((used.at(-1) ?? "") > highest).toBe(true);
    highest = used.at(-1) ?? "";
    store = await openStore(disk, OPTIONS);
    await compactAll(store);
  }
});

test("leaves a volume alone in which a shard is still being written", async () => {
  const disk = memoryDisk();
  const store = await openStore(disk, OPTIONS);
  const slow = sample([5000, 5000]);
  const writer = store.write(slow.id, { signal });
  await writer.append(slow.blocks[0] as (typeof slow.blocks)[0]);
  const fillers = [];
  for (let count = 0; count < 12; count++) fillers.push(await written(store, [15_000]));
  await store.remove(
    fillers.map(({ id }) => id),
    signal,
  );
  await compactAll(store);
  await writer.append(slow.blocks[1] as (typeof slow.blocks)[0]);
  await writer.seal(slow.seal);
  expect((await readAll(store, slow)).equals(slow.bytes)).toBe(true);
});

test("readers find every shard while volumes are taken away under them", async () => {
  await using folder = await temporaryDisk();
  const store = await openStore(folder.disk, { ...OPTIONS, openVolumesMax: 2 });
  const reader = await openStore(folder.disk, { ...OPTIONS, openVolumesMax: 2 });
  const shards: SampleShard[] = [];
  for (let count = 0; count < 60; count++) shards.push(await written(store, [4000]));
  const kept = shards.filter((_, at) => at % 4 === 0);
  await store.remove(
    shards.filter((_, at) => at % 4 !== 0).map(({ id }) => id),
    signal,
  );
  const compaction = { isDone: false };
  const reading = (async () => {
    let reads = 0;
    while (!compaction.isDone) {
      // Small reads that the page cache answers never leave the microtask queue.
      await setImmediate();
      for (const shard of kept) {
        const bytes = await readAll(reads % 2 === 0 ? reader : store, shard);
        expect(bytes.equals(shard.bytes)).toBe(true);
        reads += 1;
      }
    }
    return reads;
  })();
  expect(await compactAll(store)).toBeGreaterThan(2);
  compaction.isDone = true;
  expect(await reading).toBeGreaterThan(10);
  await reader[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
});

test("keeps a volume with bad bytes, until its shards were written again", async () => {
  const disk = memoryDisk();
  const store = await openStore(disk, OPTIONS);
  const shard = await written(store, [10_000]);
  const filler = await written(store, [39_500]);
  await written(store, [45_000]);
  const seal = (await disk.readFile("volumes/00000001.volume"))?.indexOf("session-a") ?? 0;
  disk.flipBit("volumes/00000001.volume", seal * 8);
  await store.remove([filler.id], signal);
  expect(await store.compact(signal)).toMatchObject({ kind: "kept", reason: "it has bad bytes" });
  expect(await store.verify(shard.id, signal)).toBe("bad");
  await write(store, shard);
  await expectAll(store, [shard]);
});

test("keeps a volume whose bytes a link is about to name, though the source is removed meanwhile", async () => {
  const disk = memoryDisk();
  await prepareDisk(disk, { clusterId: CLUSTER, random: systemRandom });
  const index = new MemoryIndexStore();
  const store = await openDiskStore({
    disk,
    clusterId: CLUSTER,
    clock: systemClock,
    log: silentLog,
    options: OPTIONS,
    index,
  });
  const source = await written(store, [12_000]);
  const filler = await written(store, [38_000]);
  await written(store, [45_000]);
  await store.remove([filler.id], signal);
  // The link is held up behind its pin, until the compaction that began before it is over.
  const pinned = Promise.withResolvers<void>();
  const compacted = Promise.withResolvers<void>();
  const transact = index.transact.bind(index);
  let isPinNext = false;
  index.transact = async (work) => {
    const isPin = isPinNext;
    isPinNext = false;
    const result = await transact(work);
    if (!isPin) return result;
    pinned.resolve();
    await compacted.promise;
    return result;
  };
  const target = sample([]).id;
  let linking: Promise<void> | undefined;
  const open = disk.open.bind(disk);
  disk.open = async (path, mode) => {
    const file = await open(path, mode);
    if (path !== "volumes/00000001.volume" || mode !== "read") return file;
    const read = file.read.bind(file);
    file.read = async (offset, buffers) => {
      if (buffers[0]?.length === 12_000 && linking === undefined) {
        isPinNext = true;
        linking = store.link({ source: source.id, target }, source.seal, signal);
        await pinned.promise;
        await store.remove([source.id], signal);
      }
      return read(offset, buffers);
    };
    return file;
  };
  const outcome = await store.compact(signal);
  compacted.resolve();
  await linking;
  expect(linking).toBeDefined();
  expect((await readAll(store, { ...source, id: target })).equals(source.bytes)).toBe(true);
  expect(outcome).toMatchObject({ kind: "kept", volume: 1 });
});
