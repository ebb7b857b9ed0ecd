import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { GarbageJob } from "#keeper/garbage.ts";
import { confirmGarbage, GARBAGE_QUESTION_KEY } from "#keeper/garbage-question.ts";
import { GARBAGE_KEY } from "#keeper/garbage-state.ts";
import { armGarbage, disarmGarbage } from "#keeper/identity.ts";
import { IndexHistory } from "#keeper/index-history.ts";
import { MISSED, missedPut } from "#keeper/missed.ts";
import { KeeperBench, type StoredWrite } from "#keeper/testing/keeper-bench.ts";
import { TrashJob } from "#keeper/trash.ts";
import { systemClock } from "#lib/clock.ts";
import { silentLog } from "#lib/log.ts";
import { rounds } from "#lib/testing/rounds.ts";
import type { Session } from "#metadata/metadata-store.ts";
import { endSession } from "#metadata/sessions.ts";
import type { RunningDataPlane } from "#objects/create-data-plane.ts";
import type { WrittenExtents } from "#objects/data-plane.ts";
import { CLUSTER } from "#objects/testing/data-plane-bench.ts";
import type { MemoryDisk } from "#objects/testing/memory-disk.ts";
import { DIRTY_MARKS } from "#placement/placement-record.ts";

const SMALL = 500;

describe("garbage collection", () => {
  test("takes what a dead process left behind and nothing else", async () => {
    await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3 });
    const job = garbageJob(keeper);
    await keeper.run(job);
    for (let count = 0; count < 10; count++) await keeper.store(SMALL);
    const dead = await deadProcess(keeper, { abandoned: 3, seenBy: job });
    expect(keeper.bench.shards).toBe(39);
    await keeper.run(job);
    expect(keeper.bench.shards).toBe(30);
    expect(await keeper.unreadable()).toEqual([]);
    await dead[Symbol.asyncDispose]();
  });

  test("leaves writes of a living session alone until its mark has passed them", async () => {
    await using keeper = await KeeperBench.open({ codec: "replica-1", disks: 1 });
    const { bench } = keeper;
    const job = garbageJob(keeper);
    await keeper.run(job);
    const late = await keeper.write(bench.data, SMALL);
    const lost = await keeper.write(bench.data, SMALL);
    const [disk] = bench.disks;
    if (disk) {
      disk.before = (step) => {
        if (step === "remove") throw new Error("EIO");
      };
    }
    lost.written.settle("not-committed");
    await bench.data.quiesce();
    if (disk) disk.before = undefined;
    job.sweepFully();
    await keeper.run(job);
    expect(bench.shards).toBe(2);
    expect(await keeper.commit(late)).toBe(true);
    await bench.data.quiesce();
    job.sweepFully();
    await keeper.run(job);
    expect(bench.shards).toBe(1);
    expect(await keeper.unreadable()).toEqual([]);
  });

  test("asks the index about no shard again that it has asked about after its session's end", async () => {
    await using keeper = await KeeperBench.open({ codec: "replica-1", disks: 1 });
    const job = garbageJob(keeper);
    for (let count = 0; count < 20; count++) await keeper.store(SMALL);
    await keeper.run(job);
    await keeper.bench.data.quiesce();
    await keeper.run(job);
    await endSession(keeper.bench.metadata, keeper.bench.session.id);
    keeper.asked = 0;
    await keeper.run(job);
    const first = keeper.asked;
    (await deadProcess(keeper, { abandoned: 1 })) satisfies AsyncDisposable;
    keeper.asked = 0;
    await keeper.run(garbageJob(keeper));
    // All twenty lay below the mark that was seen while their session lived; then only the stranger's one is asked about.
    expect({ first, second: keeper.asked }).toEqual({ first: 0, second: 1 });
    expect(keeper.bench.shards).toBe(20);
  });

  test("keeps what the index cannot tell about", async () => {
    await using keeper = await KeeperBench.open({ codec: "replica-1", disks: 1 });
    const job = garbageJob(keeper);
    await keeper.run(job);
    await deadProcess(keeper, { abandoned: 2, seenBy: job });
    keeper.onAsk = () => Promise.reject(new Error("the index does not answer"));
    const { progress } = await keeper.run(job);
    expect(progress.problemCount).toBe(2);
    expect(keeper.bench.shards).toBe(2);
    keeper.onAsk = undefined;
    await keeper.run(garbageJob(keeper));
    expect(keeper.bench.shards).toBe(0);
  });

  test("never takes shards of another cluster", async () => {
    await using keeper = await KeeperBench.open({ codec: "replica-1", disks: 1 });
    const job = garbageJob(keeper, "d".repeat(32));
    await deadProcess(keeper, { abandoned: 1 });
    await expect(keeper.run(job)).rejects.toThrow(
      /the index is of cluster c+, the disks are of d+/,
    );
    expect(keeper.bench.shards).toBe(1);
  });

  test("does nothing while it is disarmed", async () => {
    await using keeper = await KeeperBench.open({ codec: "replica-1", disks: 1 });
    const job = garbageJob(keeper);
    await keeper.run(job);
    await deadProcess(keeper, { abandoned: 1, seenBy: job });
    await disarmGarbage(keeper.bench.metadata, "the index was restored");
    await expect(keeper.run(job)).rejects.toThrow("the index was restored");
    await armGarbage(keeper.bench.metadata);
    await keeper.run(job);
    expect(keeper.bench.shards).toBe(0);
  });

  test("an index that goes back to a copy under a running sweep disarms it, for the next session too", async () => {
    await using keeper = await KeeperBench.open({ codec: "replica-1", disks: 1 });
    const { metadata } = keeper.bench;
    let revision = 100;
    const currentRevision = () => Promise.resolve(revision);
    const history = new IndexHistory({ metadata, currentRevision, log: silentLog });
    const job = garbageJob(keeper, CLUSTER, history);
    await keeper.run(job);
    await deadProcess(keeper, { abandoned: 1, seenBy: job });
    // The question is put to the copy, which knows nothing.
    keeper.onAsk = async () => {
      revision = 90;
    };
    await expect(keeper.run(job)).rejects.toThrow(/went back from revision 100 to 90/);
    revision = 95;
    await expect(keeper.run(garbageJob(keeper, CLUSTER, history))).rejects.toThrow(/went back/);
    expect(keeper.bench.shards).toBe(1);
    keeper.onAsk = undefined;
    await armGarbage(metadata);
    await keeper.run(garbageJob(keeper, CLUSTER, history));
    expect(keeper.bench.shards).toBe(0);
  });

  test("with an index that knows none of the shards it stops, asks, and obeys", async () => {
    await using keeper = await KeeperBench.open({ codec: "replica-1", disks: 1 });
    await deadProcess(keeper, { abandoned: 5 });
    const job = garbageJob(keeper);
    await expect(keeper.run(job)).rejects.toThrow(
      /never swept and 5 of 5 writes are named by nothing/,
    );
    await expect(keeper.run(job)).rejects.toThrow(/asks/);
    expect(keeper.bench.shards).toBe(5);
    const { metadata } = keeper.bench;
    expect(await confirmGarbage(metadata)).toMatchObject({ doomed: 5, shards: 5, writes: 5 });
    // The one that asked need not be the one that acts.
    await keeper.run(garbageJob(keeper));
    expect(keeper.bench.shards).toBe(0);
    expect(await confirmGarbage(metadata)).toBeUndefined();
  });

  test("a question stands over a restart of the keeper, and no question is answered by arming", async () => {
    await using keeper = await KeeperBench.open({ codec: "replica-1", disks: 1 });
    await deadProcess(keeper, { abandoned: 5 });
    await expect(keeper.run(garbageJob(keeper))).rejects.toThrow(/asks/);
    keeper.asked = 0;
    await expect(keeper.run(garbageJob(keeper))).rejects.toThrow(/5 of 5 writes/);
    expect(keeper.asked).toBe(0);
    await armGarbage(keeper.bench.metadata);
    await expect(keeper.run(garbageJob(keeper))).rejects.toThrow(/5 of 5 writes/);
    expect({ asked: keeper.asked, shards: keeper.bench.shards }).toEqual({ asked: 5, shards: 5 });
  });

  test("what was confirmed is what was asked: a sweep that finds much more asks again", async () => {
    await using keeper = await KeeperBench.open({ codec: "replica-1", disks: 1 });
    const { metadata } = keeper.bench;
    await deadProcess(keeper, { abandoned: 5 });
    await expect(keeper.run(garbageJob(keeper))).rejects.toThrow(/5 of 5 writes/);
    await confirmGarbage(metadata);
    await deadProcess(keeper, { abandoned: 65 });
    await expect(keeper.run(garbageJob(keeper))).rejects.toThrow(/70 of 70 writes/);
    await expect(keeper.run(garbageJob(keeper))).rejects.toThrow(/70 of 70 writes/);
    expect(keeper.bench.shards).toBe(70);
    await confirmGarbage(metadata);
    await keeper.run(garbageJob(keeper));
    expect(keeper.bench.shards).toBe(0);
  });

  test("disarmed while it removes, it stops at the next hundred", async () => {
    await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3 });
    const { metadata, disks } = keeper.bench;
    const job = garbageJob(keeper);
    await keeper.run(job);
    await deadProcess(keeper, { abandoned: 1, seenBy: job });
    const [first] = disks;
    if (first) {
      first.before = (step) =>
        step === "remove" ? disarmGarbage(metadata, "restored") : undefined;
    }
    await expect(keeper.run(job)).rejects.toThrow("restored");
    expect(keeper.bench.shards).toBe(2);
  });

  test("a sweep that would take more than a hundredth of many stops and asks", async () => {
    await using keeper = await KeeperBench.open({ codec: "replica-1", disks: 1 });
    const job = garbageJob(keeper);
    await keeper.run(job);
    for (let count = 0; count < 200; count++) await keeper.store(SMALL);
    await deadProcess(keeper, { abandoned: 65, seenBy: job });
    await expect(keeper.run(job)).rejects.toThrow(/65 of 265 writes/);
    expect(keeper.bench.shards).toBe(265);
  });

  test("a disk that comes back during a sweep is gone through by another", async () => {
    await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3 });
    const { bench } = keeper;
    const job = garbageJob(keeper);
    await keeper.run(job);
    await deadProcess(keeper, { abandoned: 3, seenBy: job });
    const [away] = bench.disks;
    if (!away) throw new Error("no disk");
    bench.stores.delete(away.diskId);
    keeper.onAsk = async () => {
      bench.stores.set(away.diskId, away);
    };
    await keeper.run(job);
    expect(bench.disks.map(({ size }) => size)).toEqual([3, 0, 0]);
    expect((await bench.metadata.range({ ...DIRTY_MARKS, limit: 10 })).entries).toEqual([]);
    await keeper.run(job);
    expect(away.size).toBe(0);
  });

  test("a disk that was away while shards were removed is gone through when it is back", async () => {
    await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3 });
    const { bench } = keeper;
    const job = garbageJob(keeper);
    await keeper.run(job);
    await keeper.store(SMALL);
    await trashedWithoutDisk(keeper, 1);
    expect(bench.shards).toBe(4);
    await keeper.run(job);
    expect(bench.shards).toBe(3);
    expect((await bench.metadata.range({ ...MISSED, limit: 9 })).entries).toEqual([]);
    expect(await keeper.unreadable()).toEqual([]);
  });

  test("what removals left on a disk that was away goes unasked, however much it is", async () => {
    await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3 });
    const { bench } = keeper;
    const job = garbageJob(keeper);
    await keeper.run(job);
    await keeper.store(SMALL);
    const [away, other] = await trashedWithoutDisk(keeper, 100);
    expect(bench.shards).toBe(103);
    // Others may be on a disk that is not there: then it is more than leftovers.
    bench.stores.delete(other.diskId);
    await expect(keeper.run(job)).rejects.toThrow(/100 of 101 writes/);
    expect(away.size).toBe(101);
    bench.stores.set(other.diskId, other);
    await bench.metadata.commit({ expect: [], put: [], remove: [GARBAGE_QUESTION_KEY] });
    await keeper.run(job);
    expect(bench.shards).toBe(3);
    expect(await keeper.unreadable()).toEqual([]);
    expect((await bench.metadata.range({ ...MISSED, limit: 9 })).entries).toEqual([]);
  });

  test("forgets a missed disk only once its list was read to the end", async () => {
    await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3 });
    const { bench } = keeper;
    const [disk] = bench.disks;
    if (!disk) throw new Error("no disk");
    await bench.metadata.commit({ expect: [], put: [missedPut(disk.diskId)], remove: [] });
    disk.before = (step) => {
      if (step === "list") throw new Error("EIO");
    };
    await keeper.run(garbageJob(keeper));
    expect((await bench.metadata.range({ ...MISSED, limit: 9 })).entries.length).toBe(1);
    expect(await bench.metadata.get(GARBAGE_KEY)).toBeDefined();
  });
});

/** Answers the disk that was away meanwhile and has them all still, and another; the writer is gone. */
async function trashedWithoutDisk(
  keeper: KeeperBench,
  count: number,
): Promise<[MemoryDisk, MemoryDisk]> {
  const { bench } = keeper;
  const gone: StoredWrite[] = [];
  for (let at = 0; at < count; at++) gone.push(await keeper.store(SMALL));
  const [away, other] = bench.disks;
  if (!away || !other) throw new Error("no disk");
  bench.stores.delete(away.diskId);
  for (const { extents } of gone) {
    await keeper.trash(Buffer.from(extents[0]?.writeId ?? []).toString("hex"), 0);
  }
  await keeper.run(trashJob(keeper));
  bench.stores.set(away.diskId, away);
  await endSession(bench.metadata, bench.session.id);
  return [away, other];
}

type Act = "write" | "commit" | "crash" | "delete" | "empty" | "sweep" | "pass";
const ACTS = fc.constantFrom<Act>(
  "write",
  "write",
  "commit",
  "commit",
  "crash",
  "delete",
  "empty",
  "sweep",
  "pass",
);

test("whatever is interleaved with sweeps: nothing named is ever taken, and in the end nothing else is left", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(ACTS, { minLength: 5, maxLength: 40 }),
      fc.array(
        ACTS.filter((act) => act !== "sweep" && act !== "empty"),
        { maxLength: 40 },
      ),
      async (acts, meanwhile) => {
        await using keeper = await KeeperBench.open({ codec: "replica-3", disks: 3 });
        const world = new World(keeper);
        await world.act("sweep");
        const queue = [...meanwhile];
        // Between any listing, question and removal of a sweep something else may happen.
        const between = async () => {
          const act = queue.shift();
          if (act) await world.act(act);
        };
        keeper.onAsk = between;
        for (const disk of keeper.bench.disks) {
          disk.before = (step) => (step === "list" || step === "remove" ? between() : undefined);
        }
        for (const act of acts) {
          await world.act(act);
          expect(await keeper.unreadable()).toEqual([]);
        }
        queue.length = 0;
        await world.act("crash");
        await world.act("empty");
        await world.sweepFully();
        expect(await keeper.unreadable()).toEqual([]);
        expect(keeper.bench.shards).toBe(3 * keeper.stored.size);
      },
    ),
    { numRuns: rounds(60) },
  );
});

class World {
  readonly #keeper: KeeperBench;
  readonly #garbage: GarbageJob;
  #process: Promise<{ session: Session; data: RunningDataPlane }> | undefined;
  /** Written and not committed: of the living process, and of dead ones, which may still try. */
  readonly #open: { written: WrittenExtents; bytes: Buffer }[] = [];
  #isSweeping = false;

  constructor(keeper: KeeperBench) {
    this.#keeper = keeper;
    this.#garbage = garbageJob(keeper);
  }

  async act(act: Act): Promise<void> {
    const { bench } = this.#keeper;
    switch (act) {
      case "write": {
        const data = await this.#living();
        this.#open.push(await this.#keeper.write(data, SMALL));
        return;
      }
      case "commit": {
        const write = this.#open.shift();
        if (write) await this.#keeper.commit(write);
        return;
      }
      case "crash": {
        const starting = this.#process;
        this.#process = undefined;
        const dead = await starting;
        if (dead) await endSession(bench.metadata, dead.session.id);
        return;
      }
      case "delete": {
        const [name] = this.#keeper.stored.keys();
        if (name !== undefined) await this.#keeper.trash(name, 0);
        return;
      }
      case "empty":
        await this.#keeper.run(trashJob(this.#keeper));
        return;
      case "sweep":
        if (this.#isSweeping) return;
        this.#isSweeping = true;
        this.#garbage.sweepFully();
        await this.#keeper.run(this.#garbage);
        this.#isSweeping = false;
        return;
      case "pass":
        await (await this.#process)?.data.quiesce();
    }
  }

  async sweepFully(): Promise<void> {
    this.#garbage.sweepFully();
    await this.#keeper.run(this.#garbage);
  }

  async #living(): Promise<RunningDataPlane> {
    this.#process ??= this.#start();
    return (await this.#process).data;
  }

  async #start(): Promise<{ session: Session; data: RunningDataPlane }> {
    const { bench } = this.#keeper;
    const session = await bench.metadata.session();
    return { session, data: bench.dataPlaneOf(session) };
  }
}

function garbageJob(keeper: KeeperBench, clusterId = CLUSTER, history?: IndexHistory): GarbageJob {
  const { stores, map, metadata, classes } = keeper.bench;
  const { references } = keeper;
  return new GarbageJob({
    stores,
    map,
    metadata,
    classes,
    references,
    clusterId,
    history,
    clock: systemClock,
    log: silentLog,
  });
}

function trashJob(keeper: KeeperBench): TrashJob {
  const { stores, map, metadata, classes } = keeper.bench;
  const { manifests } = keeper;
  const parts = { stores, map, metadata, classes, manifests, clock: systemClock, log: silentLog };
  return new TrashJob({ ...parts, retentionMs: 1000 });
}

/** A process that wrote and ended before it could commit. */
async function deadProcess(
  keeper: KeeperBench,
  { abandoned, seenBy }: { abandoned: number; seenBy?: GarbageJob },
): Promise<RunningDataPlane> {
  const session = await keeper.bench.metadata.session();
  const data = keeper.bench.dataPlaneOf(session);
  for (let count = 0; count < abandoned; count++) await keeper.write(data, SMALL);
  if (seenBy) await keeper.run(seenBy);
  await endSession(keeper.bench.metadata, session.id);
  return data;
}
