import { describe, expect, test } from "vitest";
import { FaultyDisk, systemError } from "#lib/faulty-disk.ts";
import { SeededRandom } from "#lib/random.ts";
import { Workload } from "#storage/testing/workload.ts";

/** More with STORAGE_CRASH_SEEDS, for a long run. */
const SEEDS = Number(process.env["STORAGE_CRASH_SEEDS"] ?? 3);

/** Runs the seed's workload and cuts the power at that disk call; answers how many calls there were. */
async function crashAt(
  seed: number,
  call: number,
  how: "crash" | "kill",
): Promise<{ calls: number; faults: string[] }> {
  const disk = new FaultyDisk({ random: new SeededRandom(seed * 7919 + call) });
  const workload = new Workload(disk, new SeededRandom(seed));
  await workload.open();
  const first = disk.calls;
  disk.fault = (kind, path) => {
    if (disk.calls - first !== call) return undefined;
    disk[how]();
    return { error: systemError("EIO", kind, path) };
  };
  await workload.run(40);
  const calls = disk.calls - first;
  disk.fault = undefined;
  if (calls < call) disk[how]();
  await workload.open();
  const faults = [...(await workload.check()), ...(await workload.checkFigures())];
  await workload.close();
  return { calls, faults };
}

describe.each(["crash", "kill"] as const)("after a %s at any disk call", (how) => {
  test("every acknowledged shard is there, no removed one, none by half", async () => {
    const found: string[] = [];
    for (let seed = 1; seed <= SEEDS; seed++) {
      const { calls } = await crashAt(seed, Number.POSITIVE_INFINITY, how);
      expect(calls).toBeGreaterThan(50);
      for (let call = 1; call <= calls; call++) {
        const { faults } = await crashAt(seed, call, how);
        found.push(...faults.map((fault) => `seed ${seed}, call ${call}: ${fault}`));
      }
    }
    expect(found).toEqual([]);
  });
});

test("crash after crash, also while recovering, nothing acknowledged is lost or comes back", async () => {
  const found: string[] = [];
  for (let seed = 1; seed <= SEEDS * 8; seed++) {
    const random = new SeededRandom(seed + 5_000);
    const disk = new FaultyDisk({ random });
    const workload = new Workload(disk, random);
    await workload.open();
    for (let round = 0; round < 12; round++) {
      const until = disk.calls + Math.floor(random.fraction() * 200);
      const how = random.fraction() < 0.7 ? "crash" : "kill";
      disk.fault = (kind, path) => {
        if (disk.calls !== until) return undefined;
        disk[how]();
        return { error: systemError("EIO", kind, path) };
      };
      await workload.run(30);
      disk.fault = undefined;
      disk[how]();
      // Recovery itself is cut off now and then.
      const recoveryEnd = disk.calls + Math.floor(random.fraction() * 60);
      disk.fault = (kind, path) => {
        if (disk.calls !== recoveryEnd) return undefined;
        disk.crash();
        return { error: systemError("EIO", kind, path) };
      };
      await workload.open().catch(() => undefined);
      disk.fault = undefined;
      disk.crash();
      await workload.open();
      const faults = [...(await workload.check()), ...(await workload.checkFigures())];
      found.push(...faults.map((fault) => `seed ${seed}, round ${round}: ${fault}`));
    }
    await workload.close();
  }
  expect(found).toEqual([]);
});
