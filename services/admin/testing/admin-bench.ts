/** Nodes in memory with an admin server over them, for the tests of what operators see and do. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { answerApi } from "#admin/api.ts";
import { type CliOutcome, runAdminCommand } from "#admin/cli.ts";
import { GarbageAdmin } from "#admin/garbage-admin.ts";
import { NodeAdmin } from "#admin/node-admin.ts";
import { systemClock } from "#lib/clock.ts";
import { silentLog } from "#lib/log.ts";
import { MemoryMetadata } from "#metadata/memory.ts";
import { changeMap } from "#placement/change-map.ts";
import { changeNode, readNodes, registerNode } from "#placement/nodes.ts";
import { placedDisks } from "#placement/placed-disks.ts";
import { MemoryShardStore } from "#shards/memory-shard-store.ts";
import type { StoreHealth } from "#shards/shard-store.ts";

export const CLUSTER = "c".repeat(32);
export const TOKEN = "a token of some length";
export const MIB = 1024 * 1024;

/** So many bytes, without the bytes. */
class FilledStore extends MemoryShardStore {
  live = 0;

  override async health(): Promise<StoreHealth> {
    const health = await super.health();
    return { ...health, live: this.live };
  }
}

export class AdminBench implements AsyncDisposable {
  readonly metadata = new MemoryMetadata();
  readonly stores = new Map<string, FilledStore>();
  readonly admin: NodeAdmin;
  changes = 0;
  readonly #token: string | undefined;
  readonly #closing = new AsyncDisposableStack();
  #url = "";

  private constructor(token: string | undefined) {
    this.#token = token;
    this.admin = new NodeAdmin({
      metadata: this.metadata,
      clusterId: CLUSTER,
      stores: this.stores,
      clock: systemClock,
      onChange: () => {
        this.changes += 1;
      },
    });
  }

  /** Active nodes n1, n2, … in groups of `width`, each of which holds 30 MiB. */
  static async open({
    nodes,
    width = 3,
    token = TOKEN,
  }: {
    nodes: number;
    width?: number;
    token?: string | undefined;
  }): Promise<AdminBench> {
    const bench = new AdminBench(token === "" ? undefined : token);
    for (let at = 1; at <= nodes; at++) {
      await bench.register(at);
      await changeNode(bench.metadata, `n${at}`, (node) => ({ ...node, state: "active" }));
    }
    await bench.place(width);
    await bench.#listen();
    return bench;
  }

  async register(at: number): Promise<void> {
    const id = at.toString(16).padStart(32, "0");
    const store = new FilledStore({ diskId: id });
    store.live = 30 * MIB;
    this.stores.set(id, store);
    await registerNode(this.metadata, {
      id: `n${at}`,
      zone: "z",
      address: `n${at}:9002`,
      weight: 1,
      disks: [{ id, label: "/data", capacity: 100 * MIB }],
      replaced: [],
    });
  }

  /** What the keeper does. */
  async place(width = 3): Promise<void> {
    const { nodes } = await readNodes(this.metadata);
    const disks = placedDisks(nodes);
    await changeMap(this.metadata, { clusterId: CLUSTER, disks, width, groupCount: 60 });
  }

  store(at: number): FilledStore {
    const store = this.stores.get(at.toString(16).padStart(32, "0"));
    if (!store) throw new Error(`There is no node ${at}`);
    return store;
  }

  async states(): Promise<readonly string[]> {
    return (await readNodes(this.metadata)).nodes.map(({ id, state }) => `${id} ${state}`);
  }

  /** `anybucket node …`. */
  async node(...argv: readonly string[]): Promise<CliOutcome> {
    return this.nodeWith({ ANYBUCKET_ADMIN_TOKEN: TOKEN }, ...argv);
  }

  /** `anybucket garbage …`. */
  async garbage(...argv: readonly string[]): Promise<CliOutcome> {
    return this.#run({ ANYBUCKET_ADMIN_TOKEN: TOKEN }, ["garbage", ...argv]);
  }

  async nodeWith(
    environment: Readonly<Record<string, string>>,
    ...argv: readonly string[]
  ): Promise<CliOutcome> {
    return this.#run(environment, ["node", ...argv]);
  }

  async fetch(path: string, init?: RequestInit): Promise<Response> {
    return fetch(`${this.#url}${path}`, init);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#closing.disposeAsync();
  }

  #run(
    environment: Readonly<Record<string, string>>,
    argv: readonly string[],
  ): Promise<CliOutcome> {
    return runAdminCommand({
      argv,
      environment: { ANYBUCKET_ADMIN_ADDRESS: this.#url, ...environment },
    });
  }

  async #listen(): Promise<void> {
    const onChange = () => {
      this.changes += 1;
    };
    const { metadata } = this;
    const garbage = new GarbageAdmin({ metadata, clusterId: CLUSTER, onChange });
    const parts = { nodes: this.admin, garbage, token: this.#token, log: silentLog };
    const server = createServer((request, response) => {
      const answering = answerApi(parts, request);
      if (!answering) {
        response.writeHead(404).end();
        return;
      }
      void answering.then(({ status, type, body }) =>
        response.writeHead(status, { "content-type": type }).end(body),
      );
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    this.#url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    this.#closing.defer(() => {
      server.close();
      server.closeAllConnections();
    });
  }
}
