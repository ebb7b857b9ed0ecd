import { describe, expect, test } from "vitest";
import { NodeStores } from "#cluster/node-stores.ts";
import { systemClock } from "#lib/clock.ts";
import { silentLog } from "#lib/log.ts";
import { MemoryMetadata } from "#metadata/memory.ts";
import type { NodeRecord } from "#placement/node-record.ts";
import { changeNode, registerNode } from "#placement/nodes.ts";
import type { NodeConnection } from "#shards/client.ts";
import { MemoryShardStore } from "#shards/memory-shard-store.ts";

describe("the disks of a cluster's nodes", () => {
  test("are those of the records, as they come, move and go", async () => {
    const metadata = new MemoryMetadata();
    const { connect, open } = connections();
    await register(metadata, "n1", [1]);
    await using nodes = await opened(metadata, connect);
    const { stores } = nodes;
    expect([...stores.keys()]).toEqual([diskId(1)]);
    await register(metadata, "n2", [2, 3]);
    await changed(nodes, 3);
    expect(open).toEqual(["n1 n1:9002", "n2 n2:9002"]);
    await register(metadata, "n1", [1], "elsewhere:9002");
    await nodes.refresh();
    expect(open).toEqual(["n2 n2:9002", "n1 elsewhere:9002"]);
    expect(stores.size).toBe(3);
    await changeNode(metadata, "n2", () => undefined);
    await changed(nodes, 1);
    expect(open).toEqual(["n1 elsewhere:9002"]);
    // The data plane holds this very map.
    expect(nodes.stores).toBe(stores);
  });

  test("a change of state alone breaks no connection", async () => {
    const metadata = new MemoryMetadata();
    const { connect, open } = connections();
    await register(metadata, "n1", [1]);
    await using nodes = await opened(metadata, connect);
    const before = nodes.stores.get(diskId(1));
    await changeNode(metadata, "n1", (node) => ({ ...node, state: "draining" }));
    await nodes.refresh();
    expect(nodes.nodes[0]?.record.state).toBe("draining");
    expect(nodes.stores.get(diskId(1))).toBe(before);
    expect(open).toEqual(["n1 n1:9002"]);
  });

  test("disks of this process are reached without the network", async () => {
    const metadata = new MemoryMetadata();
    const { connect, open } = connections();
    const own = new MemoryShardStore({ diskId: diskId(1) });
    await register(metadata, "n1", [1]);
    await register(metadata, "n2", [2]);
    await using nodes = await opened(metadata, connect, new Map([[own.diskId, own]]));
    expect(nodes.stores.get(own.diskId)).toBe(own);
    expect(open).toEqual(["n2 n2:9002"]);
  });
});

async function opened(
  metadata: MemoryMetadata,
  connect: (node: NodeRecord) => NodeConnection,
  own = new Map<string, MemoryShardStore>(),
): Promise<NodeStores> {
  return NodeStores.open({ metadata, connect, own, clock: systemClock, log: silentLog });
}

/** By the watch alone. */
async function changed(nodes: NodeStores, disks: number): Promise<void> {
  await expect.poll(() => nodes.stores.size, { timeout: 5000 }).toBe(disks);
}

/** `open` names those that are not closed. */
function connections() {
  const open: string[] = [];
  const connect = ({ id, address }: NodeRecord): NodeConnection => {
    const name = `${id} ${address}`;
    open.push(name);
    const stores = new Map<string, MemoryShardStore>();
    return {
      nodeId: id,
      address,
      state: { kind: "idle", sinceMs: 0 },
      control: undefined as never,
      store: (disk) => {
        const store = stores.get(disk) ?? new MemoryShardStore({ diskId: disk });
        stores.set(disk, store);
        return store;
      },
      [Symbol.asyncDispose]: async () => {
        open.splice(open.indexOf(name), 1);
      },
    };
  };
  return { connect, open };
}

async function register(
  metadata: MemoryMetadata,
  id: string,
  disks: readonly number[],
  address = `${id}:9002`,
): Promise<void> {
  await registerNode(metadata, {
    id,
    zone: "z",
    address,
    weight: 1,
    disks: disks.map((at) => ({ id: diskId(at), label: `/data${at}`, capacity: 1 })),
    replaced: [],
  });
}

function diskId(at: number): string {
  return at.toString(16).padStart(32, "0");
}
