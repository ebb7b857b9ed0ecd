import { describe, expect, test } from "vitest";
import { FaultyDisk, systemError } from "#lib/faulty-disk.ts";
import { SeededRandom } from "#lib/random.ts";
import { everyPlace, rounds } from "#lib/testing/rounds.ts";
import { Workload } from "#storage/testing/workload.ts";

const SEEDS = rounds(1);

/** Stops the workload at the disk's nth call from now. */
function stopAt(disk: FaultyDisk, workload: Workload, call: number, how: "crash" | "kill"): void {
  const last = disk.calls + call;
  disk.fault = (kind, path) => {
    if (disk.calls !== last) return undefined;
    workload.stop(how);
    return { error: systemError("EIO", kind, path) };
  };
}

async function faultsOf(workload: Workload): Promise<string[]> {
  return [...(await workload.check()), ...(await workload.checkFigures())];
}

describe.each([
  ["the power is cut", "crash", "the index falls back", true],
  ["the power is cut", "crash", "the index is lost", false],
  ["the processes are killed", "kill", "the index stays", true],
] as const)("when %s (%s) and %s", (_what, how, _index, keepsIndex) => {
  /** Answers how many disk calls the seed's workload makes when nothing stops it. */
  async function stopped(seed: number, call: number): Promise<{ calls: number; faults: string[] }> {
    const disk = new FaultyDisk({ random: new SeededRandom(seed * 7919 + call) });
    const workload = new Workload(disk, new SeededRandom(seed), { keepsIndex });
    await workload.open();
    const first = disk.calls;
    stopAt(disk, workload, call, how);
    await workload.run(40);
    const calls = disk.calls - first;
    disk.fault = undefined;
    if (calls < call) workload.stop(how);
    await workload.open();
    const faults = await faultsOf(workload);
    await workload.close();
    return { calls, faults };
  }

  test("at any disk call, every acknowledged shard is there, no removed one, none by half", async () => {
    const found: string[] = [];
    for (let seed = 1; seed <= SEEDS; seed++) {
      const { calls } = await stopped(seed, Number.POSITIVE_INFINITY);
      expect(calls).toBeGreaterThan(50);
      for (const call of everyPlace({ last: calls, seed })) {
        const { faults } = await stopped(seed, call);
        found.push(...faults.map((fault) => `seed ${seed}, call ${call}: ${fault}`));
      }
    }
    expect(found).toEqual([]);
  });
});

test.each([true, false])(
  "crash after crash, also while recovering, nothing acknowledged is lost or comes back (index kept: %s)",
  async (keepsIndex) => {
    const found: string[] = [];
    for (let seed = 1; seed <= rounds(3); seed++) {
      const random = new SeededRandom(seed + 5_000);
      const disk = new FaultyDisk({ random });
      const workload = new Workload(disk, random, { keepsIndex });
      await workload.open();
      for (let round = 0; round < 12; round++) {
        const how = random.fraction() < 0.7 ? "crash" : "kill";
        stopAt(disk, workload, Math.floor(random.fraction() * 200), how);
        await workload.run(30);
        disk.fault = undefined;
        workload.stop(how);
        // Recovery itself is cut off now and then.
        stopAt(disk, workload, Math.floor(random.fraction() * 60), "crash");
        await workload.open().catch(() => undefined);
        disk.fault = undefined;
        workload.stop("crash");
        await workload.open();
        const faults = await faultsOf(workload);
        found.push(...faults.map((fault) => `seed ${seed}, round ${round}: ${fault}`));
      }
      await workload.close();
    }
    expect(found).toEqual([]);
  },
);
