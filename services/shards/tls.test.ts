import { X509Certificate } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";
import { Server } from "@grpc/grpc-js";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Renewable } from "#lib/renewable.ts";
import { type ClusterTls, serverCredentials } from "#shards/cluster-tls.ts";
import { NODE_SERVICE } from "#shards/control.ts";
import { Denied } from "#shards/faults.ts";
import { MemoryShardStore } from "#shards/memory-shard-store.ts";
import { type RoleName, roleNamesOf } from "#shards/role-names.ts";
import { METHODS, type Method, mayCall, ROLES, type Role } from "#shards/roles.ts";
import { SHARDS_SERVICE } from "#shards/service.ts";
import { type SampleShard, sample, written } from "#shards/shard-store.contract.ts";
import { ShardStoreUnavailable } from "#shards/shard-store.ts";
import { Authority, CERTIFIED } from "#shards/testing/certificates.ts";
import {
  connectTo,
  type FarNode,
  IDENTITY,
  openFarNode,
  serveStore,
} from "#shards/testing/far-node.ts";

const { nodeId } = IDENTITY;
const { signal } = new AbortController();
const uri = (cluster: string, role: string, name: string) =>
  `URI:anybucket://${cluster}/${role}/${name}`;
const host = (cluster: string, role: string, name: string) =>
  `DNS:${name}.${role}.${cluster}.anybucket.internal`;

let authority: Authority;

beforeAll(async () => {
  authority = await Authority.make();
});
afterAll(() => authority[Symbol.asyncDispose]());

describe.each([
  { form: "URIs", named: uri },
  { form: "host names", named: host },
])("with certificates that name roles as $form", ({ named }) => {
  let serverTls: ClusterTls;
  const of = {} as Record<Role, ClusterTls>;

  beforeAll(async () => {
    const names = [named(CERTIFIED, "storage", nodeId), "DNS:elsewhere.example"];
    serverTls = await authority.issue(names);
    for (const role of ROLES)
      of[role] = await authority.issue([named(CERTIFIED, role, `some-${role}`)]);
  });

  test("each role may do what its row says, and nothing else", async () => {
    const outcomes: { role: Role; method: Method; isServed: boolean }[] = [];
    const refusals: string[] = [];
    for (const role of ROLES) {
      await using node = await openFarNode({ serverTls, tls: of[role] });
      for (const method of METHODS) {
        const call = CALLS[method];
        if (!call) continue;
        const outcome = await call(node, await written(node.near, [10])).then(
          () => "served",
          (error: Error) => error.message,
        );
        outcomes.push({ role, method, isServed: outcome === "served" });
        if (outcome !== "served") refusals.push(outcome);
      }
    }
    expect(outcomes).toEqual(
      outcomes.map(({ role, method }) => ({ role, method, isServed: mayCall([role], method) })),
    );
    expect(refusals.filter((why) => !why.includes("may not ask for"))).toEqual([]);
  });

  test("the table gives storage nodes nothing, and only the keeper what destroys or rebuilds by itself", () => {
    expect(METHODS.filter((method) => mayCall(["storage"], method))).toEqual([]);
    const keepers = METHODS.filter((method) => !mayCall(["gateway"], method));
    expect(keepers.toSorted()).toEqual(["drain", "list", "repair", "verify"]);
    expect(METHODS.filter((method) => !mayCall(["keeper"], method))).toEqual([]);
  });

  test("a process of two roles may do what either may", async () => {
    const names = [named(CERTIFIED, "storage", "x"), named(CERTIFIED, "keeper", "y")];
    const tls = await authority.issue(names);
    await using node = await openFarNode({ serverTls, tls });
    expect((await node.far.list({ limit: 1 }, signal)).shards).toEqual([]);
  });

  test("a gateway or another node cannot act as the node that is meant", async () => {
    const others = [
      of.gateway,
      await authority.issue([named(CERTIFIED, "storage", "node-2")]),
      await authority.issue([named("cluster-b", "storage", nodeId)]),
      await authority.issue([`DNS:${nodeId}`]),
    ];
    for (const other of others) {
      // It would refuse to start; so it is made to start as what it is.
      await expect(serveStore(new MemoryShardStore(), { serverTls: other })).rejects.toThrow(
        "Cannot serve shards as node node-1 of cluster the-name",
      );
      await using impostor = await openImpostor(other);
      const node = connectTo(impostor.port, { tls: of.gateway });
      const read = node.store("disk").stat(sample([]).id, signal);
      await expect(read).rejects.toThrow(ShardStoreUnavailable);
      expect(node.state).toMatchObject({
        kind: "down",
        reason: expect.stringContaining("Cannot trust the server as storage node node-1"),
      });
      await expect(node.control.status(signal)).rejects.toThrow("Cannot trust the server");
      await node[Symbol.asyncDispose]();
      expect(impostor.asked).toBe(0);
    }
  });

  test("nobody is served without one, with another authority's, or with one that has expired", async () => {
    await using stranger = await Authority.make();
    const foreign = await stranger.issue([named(CERTIFIED, "gateway", "g")]);
    const callers: (ClusterTls | undefined)[] = [
      undefined,
      // Trusts the server, but is not trusted.
      { ...foreign, ca: of.gateway.ca },
      await authority.issue([named(CERTIFIED, "gateway", "g")], { days: -1 }),
    ];
    for (const tls of callers) {
      await using node = await openFarNode({ serverTls, ...(tls && { tls }) });
      const stat = node.far.stat(sample([]).id, signal);
      await expect(stat).rejects.toThrow(ShardStoreUnavailable);
      await expect(node.node.control.status(signal)).rejects.toThrow("does not answer");
      expect(node.server.load).toEqual({ streams: 0, bytes: 0 });
    }
  });

  test("a certificate that names no role of this cluster opens nothing, and the log says whose it was", async () => {
    const sans = [
      [named("cluster-b", "gateway", "g")],
      ["DNS:gateway"],
      [named(CERTIFIED, "admin", "g")],
      // A name that reads like two.
      [`DNS:a, ${named(CERTIFIED, "keeper", "k")}`],
      [named(CERTIFIED, "gateway", "")],
      [`${named(CERTIFIED, "gateway", "g")}/more`],
      [named(CERTIFIED, "*", "g")],
    ];
    for (const names of sans) {
      const lines: string[] = [];
      const log = pino({}, { write: (line: string) => void lines.push(line) });
      const tls = await authority.issue(names);
      await using server = await serveStore(new MemoryShardStore(), { serverTls, log });
      const node = connectTo(server.port, { tls });
      const stat = node.store("disk").stat(sample([]).id, signal);
      await expect(stat).rejects.toThrow(/none of this cluster$/);
      await expect(node.control.status(signal)).rejects.toThrow(Denied);
      await node[Symbol.asyncDispose]();
      expect(lines.map((line) => JSON.parse(line) as object)).toContainEqual(
        expect.objectContaining({
          msg: "caller refused",
          who: expect.stringContaining("127.0.0.1"),
          why: expect.stringContaining("none of cluster the-name"),
        }),
      );
    }
  });
});

describe("what a certificate says its owner is", () => {
  const gateway = { cluster: CERTIFIED, role: "gateway", name: "g" };

  test("is the same in either form, and in both", async () => {
    const both = [uri(CERTIFIED, "gateway", "g"), host(CERTIFIED, "gateway", "g")];
    for (const names of [...both.map((one) => [one]), both, both.toReversed()]) {
      expect(await namesIn(...names), `of ${names.join()}`).toEqual([gateway]);
    }
  });

  test("is nothing where the two forms differ", async () => {
    const ours = uri(CERTIFIED, "gateway", "g");
    const others = [
      host(CERTIFIED, "gateway", "h"),
      host(CERTIFIED, "keeper", "g"),
      host("cluster-b", "gateway", "g"),
    ];
    for (const other of others) {
      expect(await namesIn(ours, other), `with ${other}`).toEqual([]);
      const also = host(CERTIFIED, "gateway", "g");
      expect(await namesIn(ours, also, other), `with ${other}`).toEqual([]);
    }
  });

  test("is each of several names, of whatever form", async () => {
    const names = [host(CERTIFIED, "gateway", "g"), host(CERTIFIED, "keeper", "k")];
    const keeper = { cluster: CERTIFIED, role: "keeper", name: "k" };
    expect(await namesIn(...names, "DNS:s3.example.com")).toEqual([gateway, keeper]);
  });

  test("is nothing for a host name that could be read in two ways, or stands for many", async () => {
    const hosts = [
      // Of node "a" of cluster "b.storage.c", or of node "a.storage.b" of cluster "c".
      "a.storage.b.storage.c.anybucket.internal",
      "a.b.gateway.the-name.anybucket.internal",
      "g.gateway.the.name.anybucket.internal",
      "*.gateway.the-name.anybucket.internal",
      "g*.gateway.the-name.anybucket.internal",
      "g.gateway.*.anybucket.internal",
      "gateway.the-name.anybucket.internal",
      ".gateway.the-name.anybucket.internal",
      "g.gateway..anybucket.internal",
      "g.gateway.the-name.anybucket.internal.",
      "g.gateway.the-name.anybucket.internal.example.com",
      "g.gateway.the-name.notanybucket.internal",
      "g.gateway.the-name.ANYBUCKET.internal",
      "g.Gateway.the-name.anybucket.internal",
      "g.gateway.the-name",
      "-g.gateway.the-name.anybucket.internal",
      "g/h.gateway.the-name.anybucket.internal",
    ];
    for (const one of hosts) expect(await namesIn(`DNS:${one}`), `of ${one}`).toEqual([]);
  });

  test("keeps the letters of a host name as they are", async () => {
    expect(await namesIn(host("The_Name", "storage", "Node-1"))).toEqual([
      { cluster: "The_Name", role: "storage", name: "Node-1" },
    ]);
  });

  test("is nothing that only the subject, an address or mail says", async () => {
    const name = "g.gateway.the-name.anybucket.internal";
    expect(
      await namesIn(`email:${name}@example.com`, "IP:127.0.0.1", `URI:https://${name}`),
    ).toEqual([]);
  });
});

describe("without certificates", () => {
  test("a caller of another cluster, or that means another node, is refused, is told no more than that, and the log says what and who, once", async () => {
    const lines: string[] = [];
    const log = pino({}, { write: (line: string) => void lines.push(line) });
    await using server = await serveStore(new MemoryShardStore(), { log });
    const mistakes = [
      { wrong: { clusterId: "cluster-b" }, right: "cluster-a" },
      { wrong: { nodeId: "node-2" }, right: "node-1" },
    ];
    for (const { wrong, right } of mistakes) {
      const node = connectTo(server.port, {
        identity: { ...IDENTITY, ...wrong },
        caller: "gateway-7",
      });
      // It learns only that what it said is wrong, not what would be right.
      const calls = [
        () => node.store("disk").stat(sample([]).id, signal),
        () => node.control.status(signal),
      ];
      for (const call of calls) {
        const { message } = await call().then(
          () => new Error("It was answered"),
          (error: unknown) => error as Error,
        );
        expect(message).toMatch(/is for (cluster cluster-b|node node-2), which is not this one/);
        expect(message).not.toContain(right);
      }
      // It tries again meanwhile.
      await pause(300);
      expect(node.state.kind).toBe("down");
      await node[Symbol.asyncDispose]();
    }
    const refusals = lines.map((line) => JSON.parse(line) as { msg: string; who: string });
    expect(refusals).toMatchObject([
      {
        msg: "caller refused",
        who: expect.stringContaining("gateway-7 at 127.0.0.1:"),
        why: "this is cluster cluster-a, not cluster-b",
      },
      {
        msg: "caller refused",
        said: { node: "node-2" },
        why: "this is node node-1, not node-2",
      },
    ]);
    expect(server.load.streams).toBe(0);
  });
});

async function namesIn(...names: readonly string[]): Promise<readonly RoleName[]> {
  const { certificate } = await authority.issue(names);
  return roleNamesOf(new X509Certificate(certificate));
}

type Call = (node: FarNode, shard: SampleShard) => Promise<unknown>;

/** One call each; parts of a write are tried by `open`, which comes first. */
const CALLS: Partial<Record<Method, Call>> = {
  put: ({ far }, shard) =>
    far.put(shard.id, { block: shard.blocks[0], seal: shard.seal }, { signal }),
  open: async ({ far }, shard) => {
    const writer = far.write(shard.id, { signal });
    for (const block of shard.blocks) await writer.append(block);
    await writer.seal(shard.seal);
  },
  read: ({ far }, { id }) => far.read(id, { offset: 0, length: 10 }, { signal }),
  stat: ({ far }, { id }) => far.stat(id, signal),
  verify: ({ far }, { id }) => far.verify(id, signal),
  link: ({ far }, { id, seal }) => far.link({ source: id, target: sample([]).id }, seal, signal),
  remove: ({ far }, { id }) => far.remove([id], signal),
  list: ({ far }) => far.list({ limit: 1 }, signal),
  health: ({ far }) => far.health(),
  repair: ({ far }, { id, blocks, seal }) =>
    far.put(id, { block: blocks[0], seal }, { signal, forRepair: true }),
  status: ({ node }) => node.control.status(signal),
  drain: ({ node }) => node.control.setDraining(true, signal),
};

interface Impostor extends AsyncDisposable {
  readonly port: number;
  /** Calls that got through to it. */
  readonly asked: number;
}

/** A server that takes whatever comes. */
async function openImpostor(tls: ClusterTls): Promise<Impostor> {
  let asked = 0;
  const server = new Server();
  const count = (call: { end?: () => void }) => {
    asked += 1;
    call.end?.();
  };
  server.addService(SHARDS_SERVICE, { exchange: count });
  server.addService(NODE_SERVICE, { status: count, setDraining: count });
  const bind = promisify(server.bindAsync.bind(server));
  const port = await bind("127.0.0.1:0", serverCredentials(new Renewable(tls)));
  return {
    port,
    get asked() {
      return asked;
    },
    [Symbol.asyncDispose]: async () => server.forceShutdown(),
  };
}
