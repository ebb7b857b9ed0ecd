import { describe, expect, test } from "vitest";
import { acquireLease } from "#keeper/lease.ts";
import { MembershipJob } from "#keeper/membership.ts";
import { Progress } from "#keeper/progress.ts";
import { Standings } from "#keeper/standings.ts";
import type { Clock } from "#lib/clock.ts";
import { silentLog } from "#lib/log.ts";
import { MemoryMetadata } from "#metadata/memory.ts";
import type { Session } from "#metadata/metadata-store.ts";
import type { NodeState } from "#placement/node-record.ts";
import { changeNode, readNodes, registerNode } from "#placement/nodes.ts";
import { placesOn } from "#placement/placed-disks.ts";
import type { PlacementMap } from "#placement/placement-map.ts";
import { decodeMap, MAP_KEY } from "#placement/placement-record.ts";

const MINUTE_MS = 60_000;

describe("the first placement map", () => {
  test("waits for as many nodes as the operator said, and is then made of all that are there", async () => {
    const bench = await Bench.open();
    await bench.register(1, 2);
    const { problems } = await bench.turn();
    expect(problems.join()).toMatch(/2 of 3 storage nodes have registered/);
    expect(await bench.map()).toBe(undefined);
    await bench.register(3, 4);
    await bench.turn();
    expect(nodesOf(await bench.map())).toEqual(["n1", "n2", "n3", "n4"]);
    expect(await bench.states()).toEqual(["active", "active", "active", "active"]);
  });

  test("a node that comes later is left alone until it is added", async () => {
    const bench = await Bench.open();
    await bench.register(1, 2, 3);
    await bench.turn();
    await bench.register(4);
    await bench.turn();
    expect(nodesOf(await bench.map())).toEqual(["n1", "n2", "n3"]);
    await bench.set("n4", "active");
    await bench.turn();
    expect(nodesOf(await bench.map())).toEqual(["n1", "n2", "n3", "n4"]);
    expect(bench.changes).toBe(2);
  });
});

describe("a node that leaves", () => {
  test("gives up its places and is asked as long as it may hold what was there", async () => {
    const bench = await Bench.of(4);
    await bench.set("n2", "draining");
    await bench.turn();
    const map = await bench.map();
    expect(members(map)).not.toContain(diskOf(2));
    expect(map?.groups.flatMap(({ earlier }) => earlier)).not.toEqual([]);
  });

  test("is forgotten once it was removed and nothing names its disks", async () => {
    const bench = await Bench.of(4);
    await bench.set("n2", "removed");
    await bench.turn();
    expect(nodesOf(await bench.map())).toEqual(["n1", "n3", "n4"]);
    await bench.turn();
    expect(await bench.ids()).toEqual(["n1", "n3", "n4"]);
  });

  test("keeps its record while there is nobody to take its places", async () => {
    const bench = await Bench.of(3);
    await bench.set("n2", "removed");
    await bench.turn();
    await bench.turn();
    expect(await bench.ids()).toEqual(["n1", "n2", "n3"]);
    await bench.register(5);
    await bench.set("n5", "active");
    await bench.turn();
    expect(await bench.ids()).toEqual(["n1", "n3", "n5"]);
    expect(nodesOf(await bench.map())).toEqual(["n1", "n3", "n5"]);
  });
});

describe("a node that is away (R30)", () => {
  test("is left alone for a quarter of an hour, then its shards are made again elsewhere, and it takes them back when it returns", async () => {
    const bench = await Bench.of(5);
    const before = await bench.map();
    await bench.silence(["n2"], 14 * MINUTE_MS);
    expect(await bench.states()).not.toContain("out");
    await bench.silence(["n2"], 2 * MINUTE_MS);
    expect((await bench.states())[1]).toBe("out");
    expect(members(await bench.map())).not.toContain(diskOf(2));
    bench.answer("n2");
    await bench.turn();
    expect((await bench.states())[1]).toBe("out");
    bench.answer("n2");
    bench.answer("n2");
    await bench.turn();
    expect((await bench.states())[1]).toBe("active");
    expect(members(await bench.map())).toEqual(members(before));
  });

  test("stays out until a new keeper has heard of it", async () => {
    const bench = await Bench.of(5);
    await bench.silence(["n2"], 16 * MINUTE_MS);
    expect((await bench.states())[1]).toBe("out");
    bench.standings = new Standings(bench.clock);
    await bench.turn();
    expect((await bench.states())[1]).toBe("out");
    bench.answer("n2");
    await bench.turn();
    expect((await bench.states())[1]).toBe("active");
  });

  test("is not out for the time in which nobody asked: the keeper itself was paused", async () => {
    const bench = await Bench.of(5);
    bench.standings.observe("n2", false);
    bench.nowMs += 20 * MINUTE_MS;
    await bench.turn();
    expect(await bench.states()).not.toContain("out");
    bench.standings.observe("n2", false);
    await bench.turn();
    expect(await bench.states()).not.toContain("out");
    await bench.silence(["n2"], 16 * MINUTE_MS);
    expect((await bench.states())[1]).toBe("out");
  });

  test("does not take others with it: at most a tenth are out, and one", async () => {
    const bench = await Bench.of(8);
    await bench.silence(["n1", "n2", "n3", "n4"], 20 * MINUTE_MS);
    expect((await bench.states()).filter((state) => state === "out").length).toBe(1);
    const { problems } = await bench.turn();
    expect(problems.join()).toMatch(/1 of 8 nodes are out already/);
  });

  test("stays when two shards of an object would have to share a node", async () => {
    const bench = await Bench.of(3);
    await bench.silence(["n2"], 20 * MINUTE_MS);
    expect(await bench.states()).not.toContain("out");
  });

  test("that comes and goes every half minute moves nothing", async () => {
    const bench = await Bench.of(5);
    const before = await bench.map();
    for (let round = 0; round < 60; round++) {
      await bench.silence(["n2"], 30_000);
      for (let answers = 0; answers < 6; answers++) bench.answer("n2", 5000);
    }
    expect(await bench.map()).toEqual(before);
  });
});

describe("a disk that fails on a node that answers (R30)", () => {
  test("is emptied after a quarter of an hour, over the other disks of its node too, and takes its places back when it works again", async () => {
    const bench = await Bench.of(4, 2);
    const before = await bench.map();
    await bench.fail([diskOf(2)], 14 * MINUTE_MS);
    expect(await bench.disksOut()).toEqual([]);
    await bench.fail([diskOf(2)], 2 * MINUTE_MS);
    expect(await bench.disksOut()).toEqual([diskOf(2)]);
    expect(await bench.states()).not.toContain("out");
    const without = await bench.map();
    expect(members(without)).not.toContain(diskOf(2));
    expect(members(without)).toContain(diskOf(2, 1));
    for (let answers = 0; answers < 3; answers++) bench.disks.observe(diskOf(2), true);
    await bench.turn();
    expect(await bench.disksOut()).toEqual([]);
    expect(members(await bench.map())).toEqual(members(before));
  });

  test("stays out when its node is started again, and when the node is away as well", async () => {
    const bench = await Bench.of(5, 2);
    await bench.fail([diskOf(2)], 16 * MINUTE_MS);
    await bench.register(2);
    expect(await bench.disksOut()).toEqual([diskOf(2)]);
    await bench.silence(["n2"], 16 * MINUTE_MS);
    expect((await bench.states())[1]).toBe("out");
    expect(await bench.disksOut()).toEqual([diskOf(2)]);
  });

  test("counts with the nodes that are out: the second node's disk is left alone, another of the first is not", async () => {
    const bench = await Bench.of(5, 3);
    await bench.fail([diskOf(2)], 16 * MINUTE_MS);
    await bench.fail([diskOf(3), diskOf(2, 1)], 16 * MINUTE_MS);
    expect(await bench.disksOut()).toEqual([diskOf(2), diskOf(2, 1)].toSorted());
    const { problems } = await bench.turn();
    expect(problems.join()).toMatch(/disk \/data0 of node n3 has failed.*1 of 5 nodes are out/);
  });

  test("stays when it is its node's only one and no other node could take its share", async () => {
    const bench = await Bench.of(3);
    await bench.fail([diskOf(2)], 20 * MINUTE_MS);
    expect(await bench.disksOut()).toEqual([]);
  });

  test("is left alone on a node that the operator drains", async () => {
    const bench = await Bench.of(5, 2);
    await bench.set("n2", "draining");
    await bench.fail([diskOf(2)], 20 * MINUTE_MS);
    expect(await bench.disksOut()).toEqual([]);
  });
});

test("a keeper that lost its lease between reading and writing changes nothing", async () => {
  const bench = await Bench.of(4);
  await bench.set("n2", "draining");
  await bench.turn();
  const drained = await bench.map();
  const zombie = await bench.context();
  await bench.takeLease();
  await bench.set("n2", "active");
  const job = bench.job();
  await expect(job.step(zombie)).resolves.toBe("more");
  expect(await bench.map()).toEqual(drained);
});

class Bench {
  readonly metadata = new MemoryMetadata();
  nowMs = 1_000_000;
  changes = 0;
  disksEach = 1;
  readonly clock: Clock = {
    now: () => this.nowMs,
    monotonic: () => this.nowMs,
    sleep: () => Promise.resolve(),
  };
  standings = new Standings(this.clock);
  readonly disks = new Standings(this.clock);
  session: Session;

  private constructor(session: Session) {
    this.session = session;
  }

  static async open(): Promise<Bench> {
    const bench = new Bench(undefined as never);
    bench.session = await bench.metadata.session();
    return bench;
  }

  static async of(nodes: number, disksEach = 1): Promise<Bench> {
    const bench = await Bench.open();
    bench.disksEach = disksEach;
    await bench.register(...Array.from({ length: nodes }, (_, at) => at + 1));
    await bench.turn();
    return bench;
  }

  async register(...numbers: readonly number[]): Promise<void> {
    for (const at of numbers) {
      await registerNode(this.metadata, {
        id: `n${at}`,
        zone: "z",
        address: `n${at}:9002`,
        weight: 1,
        disks: Array.from({ length: this.disksEach }, (_, disk) => {
          return { id: diskOf(at, disk), label: `/data${disk}`, capacity: 1 };
        }),
        replaced: [],
      });
    }
  }

  job(): MembershipJob {
    return new MembershipJob({
      metadata: this.metadata,
      clusterId: "c".repeat(32),
      seen: { nodes: this.standings, disks: this.disks },
      initialNodes: 3,
      groupCount: 64,
      width: () => 3,
      onChange: () => {
        this.changes += 1;
      },
      log: silentLog,
    });
  }

  async context() {
    const lease = await acquireLease(this, "membership");
    if (!lease) throw new Error("no lease");
    const signal = AbortSignal.timeout(20_000);
    return { signal, progress: new Progress(this.clock), fence: lease.fence };
  }

  /** As another process does, once this one is taken for dead. */
  async takeLease(): Promise<void> {
    await this.session[Symbol.asyncDispose]();
    this.session = await this.metadata.session();
    await this.context();
  }

  /** A whole round; answers what it could not do. */
  async turn(): Promise<{ problems: readonly string[] }> {
    const job = this.job();
    const context = await this.context();
    for (let turns = 0; (await job.step(context)) === "more"; turns++) {
      if (turns > 50) throw new Error("the round does not end");
    }
    return context.progress.now();
  }

  async set(id: string, state: NodeState): Promise<void> {
    await changeNode(this.metadata, id, (node) => ({ ...node, state }));
  }

  answer(id: string, passMs = 5000): void {
    this.nowMs += passMs;
    this.standings.observe(id, true);
  }

  /** Nothing is heard of them for so long. */
  async silence(ids: readonly string[], ms: number): Promise<void> {
    for (let passed = 0; passed <= ms; passed += 5000) {
      for (const id of ids) this.standings.observe(id, false);
      if (passed % MINUTE_MS === 0) await this.turn();
      this.nowMs += 5000;
    }
    await this.turn();
  }

  /** Their nodes answer, and say so. */
  async fail(disks: readonly string[], ms: number): Promise<void> {
    for (let passed = 0; passed <= ms; passed += 5000) {
      for (const id of disks) this.disks.observe(id, false);
      if (passed % MINUTE_MS === 0) await this.turn();
      this.nowMs += 5000;
    }
    await this.turn();
  }

  async disksOut(): Promise<readonly string[]> {
    const { nodes } = await readNodes(this.metadata);
    return nodes.flatMap(({ disks }) => disks.flatMap(({ id, isOut }) => (isOut ? [id] : [])));
  }

  async states(): Promise<readonly NodeState[]> {
    return (await readNodes(this.metadata)).nodes.map(({ state }) => state);
  }

  async ids(): Promise<readonly string[]> {
    return (await readNodes(this.metadata)).nodes.map(({ id }) => id);
  }

  async map(): Promise<PlacementMap | undefined> {
    const stored = await this.metadata.get(MAP_KEY);
    return stored && decodeMap(stored.value);
  }
}

function nodesOf(map: PlacementMap | undefined): readonly string[] {
  const used = map?.disks.filter(({ id }) => placesOn(map, new Set([id])) > 0) ?? [];
  return [...new Set(used.map(({ node }) => node))].toSorted();
}

function members(map: PlacementMap | undefined): readonly string[] {
  return map?.groups.flatMap((group) => group.members) ?? [];
}

function diskOf(at: number, disk = 0): string {
  return (at + disk * 16).toString(16).padStart(32, "0");
}
