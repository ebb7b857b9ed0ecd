import { fileURLToPath } from "node:url";
import protobuf from "protobufjs";
import { describe, expect, test } from "vitest";
import { SeededRandom } from "#lib/random.ts";
import { MemoryMetadata } from "#metadata/memory.ts";
import { createCluster, findCluster } from "#placement/cluster-identity.ts";
import {
  decodeNode,
  encodeCluster,
  encodeNode,
  type MountedDisk,
  type NodeRecord,
} from "#placement/node-record.ts";
import { changeNode, type Registration, readNodes, registerNode } from "#placement/nodes.ts";

const schema = protobuf.loadSync(
  fileURLToPath(new URL("../../proto/placement.proto", import.meta.url)),
);

test("the cluster's id is made once, whoever comes first", async () => {
  const metadata = new MemoryMetadata();
  expect(await findCluster(metadata)).toBe(undefined);
  const made = await Promise.all(
    [1, 2, 3].map((seed) => createCluster(metadata, new SeededRandom(seed))),
  );
  expect(new Set(made).size).toBe(1);
  expect(await findCluster(metadata)).toBe(made[0]);
});

test("records are what the schema says, and read back", () => {
  const node: NodeRecord = {
    ...registration("n1", []),
    disks: [
      { ...diskOf(1), isOut: false },
      { ...diskOf(2), isOut: true },
    ],
    state: "draining",
    move: { bytes: 2 ** 40, begunMs: 1_700_000_000_000 },
  };
  const { replaced: _, ...expected } = node as NodeRecord & Registration;
  const bytes = encodeNode(node);
  expect(decodeNode(bytes)).toEqual(expected);
  for (const [name, value] of [
    ["Node", bytes],
    ["Cluster", encodeCluster("ab".repeat(16))],
  ] as const) {
    const type = schema.lookupType(`anybucket.placement.${name}`);
    expect(Buffer.from(type.encode(type.decode(value)).finish()).equals(value)).toBe(true);
  }
});

describe("registering a node", () => {
  test("a first one is new, and keeps over a restart what was made of it", async () => {
    const metadata = new MemoryMetadata();
    expect((await registerNode(metadata, registration("n1", [diskOf(1)]))).state).toBe("new");
    await changeNode(metadata, "n1", (node) => ({ ...node, state: "active" }));
    const moved = { ...registration("n1", [diskOf(1)]), address: "elsewhere:9002" };
    expect(await registerNode(metadata, moved)).toMatchObject({
      state: "active",
      address: "elsewhere:9002",
    });
  });

  test("many at once all find their place", async () => {
    const metadata = new MemoryMetadata();
    const ids = Array.from({ length: 20 }, (_, at) => at + 1);
    await Promise.all(
      ids.map((at) => registerNode(metadata, registration(`n${at}`, [diskOf(at)]))),
    );
    expect((await readNodes(metadata)).nodes.length).toBe(20);
  });

  test("a restart that changes nothing writes nothing", async () => {
    const metadata = new MemoryMetadata();
    await registerNode(metadata, registration("n1", [diskOf(1)]));
    const { expectation } = await readNodes(metadata);
    await registerNode(metadata, registration("n1", [diskOf(1)]));
    expect((await readNodes(metadata)).expectation).toEqual(expectation);
  });

  test("a name is not given to a machine with other disks", async () => {
    const metadata = new MemoryMetadata();
    await registerNode(metadata, registration("n1", [diskOf(1)]));
    await expect(registerNode(metadata, registration("n1", [diskOf(9)]))).rejects.toThrow(
      /other disks \(\/disk1\)/,
    );
  });

  test("a disk is not taken away from another node", async () => {
    const metadata = new MemoryMetadata();
    await registerNode(metadata, registration("n1", [diskOf(1)]));
    await expect(
      registerNode(metadata, registration("n2", [diskOf(1), diskOf(2)])),
    ).rejects.toThrow(/ANYBUCKET_NODE=n1/);
  });

  test("a disk that is away keeps its place, unless one takes it", async () => {
    const metadata = new MemoryMetadata();
    await registerNode(metadata, registration("n1", [diskOf(1), diskOf(2)]));
    const without = await registerNode(metadata, registration("n1", [diskOf(1)]));
    expect(without.disks).toMatchObject([diskOf(1), diskOf(2)]);
    const fresh = { ...registration("n1", [diskOf(1), diskOf(3)]), replaced: [diskOf(2).id] };
    expect((await registerNode(metadata, fresh)).disks).toMatchObject([diskOf(1), diskOf(3)]);
  });

  test("the only disk is replaced when the operator says so", async () => {
    const metadata = new MemoryMetadata();
    await registerNode(metadata, registration("n1", [diskOf(1)]));
    const fresh = { ...registration("n1", [diskOf(3)]), replaced: [diskOf(1).id] };
    expect((await registerNode(metadata, fresh)).disks).toMatchObject([diskOf(3)]);
  });

  test("one that was removed is refused as long as its data is missed", async () => {
    const metadata = new MemoryMetadata();
    await registerNode(metadata, registration("n1", [diskOf(1)]));
    await changeNode(metadata, "n1", (node) => ({ ...node, state: "removed" }));
    await expect(registerNode(metadata, registration("n1", [diskOf(1)]))).rejects.toThrow(
      /was removed/,
    );
    await changeNode(metadata, "n1", () => undefined);
    expect((await registerNode(metadata, registration("n1", [diskOf(1)]))).state).toBe("new");
  });
});

test("a change of any node is noticed by who compares", async () => {
  const metadata = new MemoryMetadata();
  await registerNode(metadata, registration("n1", [diskOf(1)]));
  const { expectation } = await readNodes(metadata);
  await registerNode(metadata, registration("n2", [diskOf(2)]));
  const outcome = await metadata.commit({ expect: [expectation], put: [], remove: [] });
  expect(outcome.kind).toBe("conflict");
});

function registration(id: string, disks: readonly MountedDisk[]): Registration {
  return { id, zone: "z1", address: `${id}:9002`, weight: 1, disks, replaced: [] };
}

function diskOf(at: number): MountedDisk {
  return { id: at.toString(16).padStart(32, "0"), label: `/disk${at}`, capacity: at * 1000 };
}
