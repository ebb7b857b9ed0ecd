/** Whole clusters on seeds: as many as fit in SIMULATION_MINUTES (default 3), the same ones each time, from the first on. */
import { describe, expect, test } from "vitest";
import { simulate } from "./simulation.ts";
import { Tally } from "./tally.ts";

const MINUTES = Number(process.env["SIMULATION_MINUTES"] ?? 3);
/** The last that was looked at; the long run goes on from here. */
const LAST_SEED = 249;

describe("the simulated cluster", () => {
  test("runs the same way again on the same seed", async () => {
    const first = await simulate({ seed: 7 });
    const again = await simulate({ seed: 7 });
    const other = await simulate({ seed: 8 });
    expect(again).toEqual(first);
    expect(other.trace).not.toBe(first.trace);
  });

  test("without faults answers everything and is settled at once", async () => {
    const report = await simulate({ seed: 3, faults: [] });
    expect(report).toMatchObject({ violations: [], undecided: [], unknownShare: 0 });
    expect(report.operations).toBeGreaterThan(400);
  });

  test("keeps its promises on every seed that there is time for", async () => {
    const tally = new Tally();
    const end = performance.now() + MINUTES * 60_000;
    for (let seed = 1; seed <= LAST_SEED && performance.now() < end; seed++) {
      tally.begin();
      tally.add(await simulate({ seed }));
    }
    process.stdout.write(`${tally.summary()}\n`);
    const failures = tally.failures.map(({ seed, violations }) => ({ seed, violations }));
    expect(failures).toEqual([]);
    expect(tally.seeds).toBeGreaterThan(0);
    // A key whose order nobody can find in reasonable time proves nothing.
    expect(tally.undecided).toBeLessThanOrEqual(tally.operations / 1000);
  });
});
