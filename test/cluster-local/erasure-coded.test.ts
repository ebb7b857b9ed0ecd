/** 4+2 over six nodes as an operator lives through it: one lost, two lost, both replaced by empty ones, two others lost. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually, RunningCluster } from "./running-cluster.ts";

/** The first two are kept as copies. */
const SIZES = [0, 5000, 200_000, 3_000_000, 9_000_000];
const ERASURE_CODED = 1_000_000;
const REFUSED_MS_MAX = 5000;

let cluster: RunningCluster;

beforeAll(async () => {
  cluster = await RunningCluster.start({
    nodes: 6,
    gateways: 2,
    env: { ANYBUCKET_STORAGE_CLASS: "ec-4+2" },
  });
});

afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
});

async function store(under: string): Promise<void> {
  for (const gateway of ["gateway1", "gateway2"]) {
    for (const size of SIZES) await cluster.put(gateway, `${under}/${gateway}/${size}`, size);
  }
}

/** Through either gateway. */
async function unreadable(): Promise<readonly string[]> {
  return [...(await cluster.unreadable("gateway1")), ...(await cluster.unreadable("gateway2"))];
}

describe("4+2 over six nodes", () => {
  test("one killed: writes and reads succeed", async () => {
    await store("whole");
    await cluster.processes.kill("node1");
    await store("without-one");
    expect(await unreadable()).toEqual([]);
  });

  test("a second killed: every read is right, and a write of an erasure-coded object is refused within five seconds", async () => {
    await cluster.processes.kill("node2");
    expect(await unreadable()).toEqual([]);
    for (const gateway of ["gateway1", "gateway2"]) {
      const began = performance.now();
      await expect(cluster.put(gateway, "too-few", ERASURE_CODED)).rejects.toMatchObject({
        $metadata: { httpStatusCode: 503 },
      });
      expect(performance.now() - began).toBeLessThan(REFUSED_MS_MAX);
    }
    expect(await cluster.list("gateway1")).not.toContain("too-few");
    expect(await unreadable()).toEqual([]);
  });

  test("both replaced by empty nodes: repair makes again what they held, and writes are taken again", async () => {
    // The one under its own name, the other under a new one.
    for (const node of ["node1", "node2"]) {
      await rm(join(cluster.folder, node), { recursive: true });
    }
    const replace = { ANYBUCKET_REPLACE: join(cluster.folder, "node1", "disk1") };
    await cluster.processes.add("storage", "node1", { env: replace });
    await cluster.processes.add("storage", "node7");
    expect(await cluster.node("remove", "node2", "--lost")).toMatchObject({ exitCode: 0 });
    expect(await cluster.node("add", "node7")).toMatchObject({ exitCode: 0 });
    await eventually("all is where it should be", async () => {
      const [one, seven] = [await cluster.view("node1"), await cluster.view("node7")];
      const hasMoved = [one, seven].every((node) => (node?.places ?? 0) > 0 && !node?.move);
      return (
        hasMoved &&
        (await cluster.view("node2")) === undefined &&
        (await cluster.dirtyMarks()) === 0
      );
    });
    await store("after-repair");
    expect(await unreadable()).toEqual([]);
  });

  test("two others killed: every object reads right", async () => {
    await cluster.processes.kill("node3");
    await cluster.processes.kill("node4");
    expect(await unreadable()).toEqual([]);
  });
});
