import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually, RunningCluster } from "./running-cluster.ts";

const SIZES = [0, 100, 5000, 200_000, 3_000_000];

let cluster: RunningCluster;

beforeAll(async () => {
  cluster = await RunningCluster.start({ nodes: 3, gateways: 2, keepers: 2 });
});

afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
});

describe("three storage nodes, two gateways and two keepers", () => {
  test("what one gateway took, the other gives and lists", async () => {
    for (const size of SIZES) await cluster.put("gateway1", `first/${size}`, size);
    for (const gateway of ["gateway1", "gateway2"]) {
      expect(await cluster.unreadable(gateway)).toEqual([]);
      expect(await cluster.list(gateway)).toEqual([...cluster.stored.keys()].toSorted());
    }
  });

  test("a storage node is killed: reads and writes go on, and what it missed it has once it is back", async () => {
    await cluster.processes.kill("node2");
    for (const size of SIZES) await cluster.put("gateway1", `without-node2/${size}`, size);
    expect(await cluster.unreadable("gateway2")).toEqual([]);
    expect(await cluster.dirtyMarks()).toBeGreaterThan(0);
    await cluster.processes.start("node2");
    await eventually("all dirty marks are gone", async () => (await cluster.dirtyMarks()) === 0);
    // It alone has everything.
    await cluster.processes.kill("node1");
    await cluster.processes.kill("node3");
    expect(await cluster.unreadable("gateway1")).toEqual([]);
    await expect(cluster.put("gateway1", "too-few", 100)).rejects.toMatchObject({
      $metadata: { httpStatusCode: 503 },
    });
    await Promise.all([cluster.processes.start("node1"), cluster.processes.start("node3")]);
    await eventually("writes are taken again", async () => {
      return cluster.put("gateway2", "enough", 100).then(
        () => true,
        () => false,
      );
    });
  });

  test("a gateway is killed: the others serve, and one that is started again does", async () => {
    await cluster.processes.kill("gateway1");
    await cluster.put("gateway2", "without-gateway1", 5000);
    expect(await cluster.unreadable("gateway2")).toEqual([]);
    await cluster.processes.start("gateway1");
    expect(await cluster.unreadable("gateway1")).toEqual([]);
  });

  test("a node cannot leave when the objects need it", async () => {
    const { exitCode, err } = await cluster.node("drain", "node1");
    expect(exitCode).toBe(1);
    expect(err).toMatch(/^anybucket: Cannot drain node1: .*add another node first\n$/);
  });

  test("a fourth node is new, until it is added and takes its share", async () => {
    await cluster.processes.add("storage", "node4");
    expect(await cluster.view("node4")).toMatchObject({ state: "new", answers: true, places: 0 });
    const preview = await cluster.node("add", "node4", "--dry-run");
    expect(preview.out).toMatch(/^node4 would be active; about [\d.]+ [KM]iB would move/);
    expect((await cluster.view("node4"))?.state).toBe("new");
    expect((await cluster.node("add", "node4")).exitCode).toBe(0);
    await eventually("node4 has its share", async () => {
      expect(await cluster.unreadable("gateway1")).toEqual([]);
      const node = await cluster.view("node4");
      return (node?.places ?? 0) > 0 && (await isSettled());
    });
    expect(await cluster.holds("node4")).toBeGreaterThan(0);
  });

  test("a node is drained, by the other keeper when one is killed: every object stays readable, and it ends empty", async () => {
    expect(await cluster.holds("node1")).toBeGreaterThan(0);
    await cluster.processes.kill("keeper1");
    const { out, err } = await cluster.node("drain", "node1");
    expect(err).toBe("");
    expect(out).toMatch(/^node1 is draining; about [\d.]+ [KM]iB moves/);
    await eventually("node1 is empty", async () => {
      expect(await cluster.unreadable("gateway2")).toEqual([]);
      return (await cluster.view("node1"))?.places === 0;
    });
    expect(await cluster.holds("node1")).toBe(0);
    expect((await cluster.node("remove", "node1")).out).toMatch(/^node1 is removed/);
    await cluster.processes.kill("node1");
    expect(await cluster.unreadable("gateway1")).toEqual([]);
    await cluster.put("gateway1", "on-three-others", 5000);
    expect(await cluster.dirtyMarks()).toBe(0);
  });

  test("the admin API tells nothing to who has no token", async () => {
    const [keeper] = cluster.processes.of("gateway");
    const url = `http://127.0.0.1:${keeper?.adminPort}/api/v1/nodes`;
    expect((await fetch(url)).status).toBe(401);
    expect((await fetch(url, { headers: { authorization: "Bearer wrong" } })).status).toBe(401);
    const authorization = `Bearer ${cluster.processes.adminToken}`;
    expect((await fetch(url, { headers: { authorization } })).status).toBe(200);
  });
});

/** Nothing lies where it lay before a move. */
async function isSettled(): Promise<boolean> {
  const { out } = await cluster.node("list", "--json");
  const { nodes } = JSON.parse(out) as { nodes: { move?: unknown }[] };
  return nodes.every(({ move }) => move === undefined) && (await cluster.dirtyMarks()) === 0;
}
