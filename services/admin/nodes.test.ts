import { describe, expect, test } from "vitest";
import { AdminBench, TOKEN } from "#admin/testing/admin-bench.ts";
import { changeNode } from "#placement/nodes.ts";

describe("anybucket node", () => {
  test("list shows each node, what it holds, and whether it answers", async () => {
    await using bench = await AdminBench.open({ nodes: 3 });
    bench.store(2).health = () => Promise.reject(new Error("gone"));
    const { out, err, exitCode } = await bench.node("list");
    expect({ err, exitCode }).toEqual({ err: "", exitCode: 0 });
    const [head, titles, ...rows] = out.trimEnd().split("\n");
    expect(head).toBe(`cluster ${"c".repeat(32)}: placement map 1, 3 disks a group`);
    expect(titles).toMatch(/^NODE +ZONE +STATE +ANSWERS +DISKS +HOLDS +CAPACITY +MOVING$/);
    expect(rows[0]).toMatch(/^n1 +z +active +yes +1 +30\.0 MiB +1\.0 TiB +-$/);
    expect(rows[1]).toMatch(/^n2 +z +active +NO +0 of 1 +0 B +100\.0 MiB +-$/);
  });

  test("a dry run says what would move and changes nothing", async () => {
    await using bench = await AdminBench.open({ nodes: 3 });
    await bench.register(4);
    const { out } = await bench.node("add", "n4", "--dry-run");
    // Each of three gives a quarter of its 30 MiB.
    expect(out).toMatch(
      /^n4 would be active; about 22\.5 MiB would move \(45 places of shards\)\n/,
    );
    expect(out).toMatch(/^ {2}to n4 {2}22\.5 MiB {2}45 places$/m);
    expect(await bench.states()).toContain("n4 new");
    expect(bench.changes).toBe(0);
  });

  test("a node that is added is active, and shows how far it is", async () => {
    await using bench = await AdminBench.open({ nodes: 3 });
    await bench.register(4);
    bench.store(4).live = 0;
    expect((await bench.node("add", "n4")).out).toMatch(/^n4 is active; about 22\.5 MiB moves/);
    expect(bench.changes).toBe(1);
    await bench.place();
    bench.store(4).live = 10 * 2 ** 20;
    expect((await bench.node("list")).out).toMatch(/^n4 .* 12\.5 MiB of 22\.5 MiB left, about/m);
  });

  test("a node that is drained may be removed once it is empty, and is kept when that is taken back", async () => {
    await using bench = await AdminBench.open({ nodes: 4 });
    const preview = await bench.node("drain", "n2", "--dry-run");
    expect(preview.out).toMatch(/^n2 would be draining; about 30\.0 MiB would move/);
    expect((await bench.node("drain", "n2")).exitCode).toBe(0);
    await bench.place();
    expect((await bench.node("list")).out).toMatch(
      /^n2 .*draining.* 30\.0 MiB of 30\.0 MiB left$/m,
    );
    expect((await bench.node("remove", "n2")).err).toMatch(
      /it holds \d+ places of shards; drain it/,
    );
    const kept = await bench.node("drain", "n2", "--cancel");
    expect(kept.out).toMatch(/^n2 is active; nothing moves$/m);
    await bench.place();
    expect((await bench.admin.list(AbortSignal.timeout(1000))).nodes[1]?.places).toBe(45);
  });

  test.each<[name: string, argv: string[], line: RegExp]>([
    ["a node that there is not", ["drain", "n9"], /no node of that name/],
    ["one too many to leave", ["drain", "n1"], /kept on 3 disks each.*add another node first/],
    ["removing what is at work", ["remove", "n1"], /it holds 60 places of shards; drain it first/],
    ["calling lost what answers", ["remove", "n1", "--lost"], /it answers, so it is not lost/],
  ])("refuses %s", async (_, argv, line) => {
    await using bench = await AdminBench.open({ nodes: 3 });
    const before = await bench.states();
    const { err, exitCode } = await bench.node(...argv);
    expect(err).toMatch(/^anybucket: Cannot \w+ n\d: [^\n]+\n$/);
    expect(err).toMatch(line);
    expect(exitCode).toBe(1);
    expect(await bench.states()).toEqual(before);
  });

  test("a lost node's record stays until its data is elsewhere; an empty one's goes at once", async () => {
    await using bench = await AdminBench.open({ nodes: 4 });
    bench.store(2).health = () => Promise.reject(new Error("gone"));
    expect((await bench.node("remove", "n2", "--lost")).out).toMatch(/^n2 is removed; about/);
    expect(await bench.states()).toContain("n2 removed");
    await bench.register(5);
    expect((await bench.node("remove", "n5")).out).toMatch(/^n5 is removed; nothing moves$/m);
    expect((await bench.states()).join()).not.toContain("n5");
  });

  test("a node that was given data while its removal was decided is not removed", async () => {
    await using bench = await AdminBench.open({ nodes: 4 });
    await bench.register(5);
    const store = bench.store(1);
    const health = store.health.bind(store);
    let isDone = false;
    // Asked between the decision's look at the map and its commit.
    store.health = async () => {
      if (!isDone) {
        isDone = true;
        await changeNode(bench.metadata, "n5", (node) => ({ ...node, state: "active" }));
        await bench.place();
        await changeNode(bench.metadata, "n5", (node) => ({ ...node, state: "draining" }));
      }
      return health();
    };
    expect((await bench.node("remove", "n5")).err).toMatch(/it holds \d+ places of shards/);
    expect(await bench.states()).toContain("n5 draining");
  });

  test.each<[argv: string[], line: string]>([
    [["lst"], "unknown command 'lst'"],
    [["drain"], "missing required argument 'node'"],
    [["drain", "n1", "--lost"], "unknown option '--lost'"],
  ])("wrong use: %j", async (argv, line) => {
    await using bench = await AdminBench.open({ nodes: 3 });
    const { err, exitCode } = await bench.node(...argv);
    expect(err).toMatch(/^anybucket: [^\n]+\n$/);
    expect(err).toContain(line);
    expect(exitCode).toBe(2);
  });

  test("asks nothing without a token, and says where none answers", async () => {
    await using bench = await AdminBench.open({ nodes: 3 });
    expect(await bench.nodeWith({}, "list")).toMatchObject({
      exitCode: 78,
      err: expect.stringContaining("ANYBUCKET_ADMIN_TOKEN") as string,
    });
    const nowhere = { ANYBUCKET_ADMIN_TOKEN: TOKEN, ANYBUCKET_ADMIN_ADDRESS: "127.0.0.1:1" };
    expect((await bench.nodeWith(nowhere, "list")).err).toMatch(
      /^anybucket: Cannot reach http:\/\/127\.0\.0\.1:1: /,
    );
  });
});

describe("the admin API", () => {
  const authorization = `Bearer ${TOKEN}`;

  test.each<[name: string, path: string, init: RequestInit, status: number]>([
    ["no token", "nodes", {}, 401],
    ["another token", "nodes", { headers: { authorization: "Bearer x" } }, 401],
    ["the token in other words", "nodes", { headers: { authorization: TOKEN } }, 401],
    ["an unknown noun", "disks", { headers: { authorization } }, 404],
    ["an unknown verb", "nodes/n1/paint", { method: "POST", headers: { authorization } }, 404],
    ["a change by GET", "nodes/n1/drain", { headers: { authorization } }, 405],
    ["a list by POST", "nodes", { method: "POST", headers: { authorization } }, 405],
    ["no JSON", "nodes/n1/drain", post("{"), 400],
    ["another flag", "nodes/n1/drain", post('{"force":true}'), 400],
    ["a flag that is none", "nodes/n1/drain", post('{"dryRun":"yes"}'), 400],
    ["a body without end", "nodes/n1/drain", post(`"${"x".repeat(100_000)}"`), 400],
    ["a name that is no UTF-8", "nodes/%ff/drain", post("{}"), 400],
  ])("answers %s with a JSON error and changes nothing", async (_, path, init, status) => {
    await using bench = await AdminBench.open({ nodes: 4 });
    const before = await bench.states();
    const answer = await bench.fetch(`/api/v1/${path}`, init);
    expect(answer.status).toBe(status);
    expect(await answer.json()).toEqual({ error: expect.any(String) as string });
    expect(await bench.states()).toEqual(before);
  });

  test("is closed while there is no token", async () => {
    await using bench = await AdminBench.open({ nodes: 3, token: "" });
    const answer = await bench.fetch("/api/v1/nodes", { headers: { authorization: "Bearer " } });
    expect(answer.status).toBe(403);
  });

  function post(body: string): RequestInit {
    return { method: "POST", headers: { authorization }, body };
  }
});
