import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../../deploy/process-cluster.ts";
import { launch } from "../local/process.ts";
import { eventually, RunningCluster } from "./running-cluster.ts";

const SIZES = [100, 5000, 200_000, 3_000_000];
/** Longer than a session outlives its process. */
const PAUSE_MS = 25_000;
const WRONG_SETTINGS = 78;

let cluster: RunningCluster;

beforeAll(async () => {
  cluster = await RunningCluster.start({ nodes: 3, gateways: 2 });
  for (const size of SIZES) await cluster.put("gateway1", `kept/${size}`, size);
});

afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
});

describe("a storage node that is not what it says", () => {
  test("is refused with full disks behind an empty index, and nothing of them is touched", async () => {
    await cluster.processes.end("node1");
    const { stderr, code } = await started("node1", { ANYBUCKET_CLUSTER: "another" });
    expect(stderr).toMatch(
      /^anybucket: Cannot use .*node1\/disk1: it holds data of cluster \w{32}, and etcd at .* under "another" knows no cluster; is ANYBUCKET_ETCD right\?\n$/,
    );
    expect(code).toBe(WRONG_SETTINGS);
  });

  test("is refused in a cluster that is not its disks'", async () => {
    // A keeper is the first there, and makes the other cluster.
    const port = await freePort();
    const keeper = launch({
      args: ["keeper"],
      env: {
        ...cluster.processes.environment("keeper1"),
        ANYBUCKET_CLUSTER: "another",
        ANYBUCKET_ADMIN_ADDRESS: `127.0.0.1:${port}`,
      },
    });
    await eventually("the other keeper is ready", async () => {
      return (await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined))?.ok === true;
    });
    const { stderr, code } = await started("node1", { ANYBUCKET_CLUSTER: "another" });
    await keeper.stop();
    expect(stderr).toMatch(
      /it holds data of cluster \w{32}, .* is of cluster \w{32}; is ANYBUCKET_ETCD right/,
    );
    expect(code).toBe(WRONG_SETTINGS);
  });

  test("is refused with another's name and disks of its own", async () => {
    const empty = join(cluster.folder, "empty");
    const { stderr, code } = await started("node1", {}, empty);
    expect(stderr).toMatch(
      /^anybucket: Cannot register as node1: that node has other disks \(.*node1\/disk1\); choose another ANYBUCKET_NODE, or remove it first/,
    );
    expect(code).toBe(WRONG_SETTINGS);
    expect(existsSync(join(empty, "disk.json"))).toBe(false);
  });

  test("has lost nothing by all that", async () => {
    await cluster.processes.start("node1");
    await alone("node1", ["node2", "node3"]);
    expect(await cluster.unreadable("gateway2")).toEqual([]);
  });
});

test("a gateway that was paused for longer than its session goes on with a new one", async () => {
  cluster.processes.signal("gateway1", "SIGSTOP");
  await sleep(PAUSE_MS);
  cluster.processes.signal("gateway1", "SIGCONT");
  await eventually("it takes writes", async () => {
    return cluster.put("gateway1", "after-the-pause", 5000).then(
      () => true,
      () => false,
    );
  });
  await eventually("its log tells", async () => {
    return /session lost: a new one goes on/.test(cluster.processes.member("gateway1").output);
  });
  expect(await cluster.unreadable("gateway1")).toEqual([]);
});

test("a lost node is replaced by an empty one, which alone has everything in the end", async () => {
  await cluster.processes.kill("node2");
  await rm(join(cluster.folder, "node2"), { recursive: true });
  expect((await cluster.node("remove", "node2")).err).toMatch(
    /drain it first, or, when its disks are lost/,
  );
  expect((await cluster.node("remove", "node2", "--lost")).exitCode).toBe(0);
  await cluster.processes.add("storage", "node4");
  expect((await cluster.node("add", "node4")).exitCode).toBe(0);
  await eventually("node4 has all and node2 is forgotten", async () => {
    const [replacing, lost] = [await cluster.view("node4"), await cluster.view("node2")];
    return (
      lost === undefined && replacing?.move === undefined && (await cluster.dirtyMarks()) === 0
    );
  });
  await alone("node4", ["node1", "node3"]);
});

test("a storage node that serves S3 as well is a gateway like the others", async () => {
  const port = await freePort();
  await cluster.processes.add("storage", "both", {
    env: {
      ANYBUCKET_GATEWAY: "true",
      ANYBUCKET_ADDRESS: `127.0.0.1:${port}`,
      ANYBUCKET_ACCESS_KEY: "anybucket",
      ANYBUCKET_SECRET_KEY: "anybucket-secret",
    },
  });
  expect(await cluster.unreadable(`http://127.0.0.1:${port}`)).toEqual([]);
  expect((await cluster.node("add", "both")).exitCode).toBe(0);
  await eventually("it has its share", async () => {
    const node = await cluster.view("both");
    return (node?.places ?? 0) > 0 && node?.move === undefined;
  });
  await cluster.put(`http://127.0.0.1:${port}`, "beside-its-disk", 200_000);
  expect(await cluster.unreadable(`http://127.0.0.1:${port}`)).toEqual([]);
  expect(await cluster.unreadable("gateway2")).toEqual([]);
});

/** All is read from the one node, and again once the others are back. Gateways need a moment to find who has just come. */
async function alone(node: string, others: readonly string[]): Promise<void> {
  for (const other of others) await cluster.processes.kill(other);
  await readable(`${node} alone gives all`, "gateway1");
  for (const other of others) await cluster.processes.start(other);
  await readable("all three give all", "gateway2");
}

async function readable(what: string, gateway: string): Promise<void> {
  await eventually(what, async () => (await cluster.unreadable(gateway)).length === 0);
}

/** As the member is started, but for these; waits until it has ended. */
async function started(
  member: string,
  env: Readonly<Record<string, string>>,
  folder = join(cluster.folder, member, "disk1"),
): Promise<{ stderr: string; code: number | null }> {
  const launched = launch({
    args: ["storage", folder],
    env: { ...cluster.processes.environment(member), ...env },
  });
  const code = await launched.exited;
  return { stderr: launched.stderr(), code };
}
