/** A short run of the fault matrix: every fault once, mostly in pairs. */
import { describe, expect, inject, test } from "vitest";
import { canMakeDisks } from "./disk.ts";
import { runMatrix } from "./matrix.ts";
import { canCut } from "./network.ts";

const images = inject("images");
const OPERATIONS_MIN = 20_000;
/** The rest are reads once all is mended. */
const UNDER_FAULTS_MIN = 16_000;
const seed = Number(process.env["CLUSTER_SEED"] ?? Date.now() % 1_000_000);

describe.skipIf(images === null || !canMakeDisks() || !canCut())("a cluster of containers", () => {
  test("under every fault it loses nothing, gives nothing wrong, and is whole again in the end", async () => {
    if (images === null) return;
    const { tally } = await runMatrix({
      images,
      seed,
      untilMs: 0,
      operationsMin: UNDER_FAULTS_MIN,
      together: [2],
      log: (line) => process.stdout.write(`${line}\n`),
    });
    expect(tally.violations).toEqual([]);
    expect(tally.operations).toBeGreaterThanOrEqual(OPERATIONS_MIN);
    expect(tally.undecided).toBeLessThanOrEqual(tally.keys / 100);
    const { writes, failed } = tally.oneDead;
    expect(failed / writes).toBeLessThanOrEqual(0.001);
  });
});
