/** The simulated cluster: index, nodes, gateways, keepers, and the operator who changes the placement map. */
import { SeededRandom } from "#lib/random.ts";
import { MemoryMetadata } from "#metadata/memory.ts";
import type { MetadataStore } from "#metadata/metadata-store.ts";
import { changeMap } from "#placement/change-map.ts";
import type { DiskState, PlacedDisk } from "#placement/placement-map.ts";
import { Machine, type MachineParts } from "./gateway.ts";
import { IndexLink, IndexServer } from "./metadata-link.ts";
import { Network } from "./network.ts";
import { CLUSTER_ID, DiskNode, MemoryNode, type Node } from "./node.ts";
import { Process, type World } from "./world.ts";

export interface Shape {
  readonly codec: string;
  /** n of the codec. */
  readonly width: number;
  readonly nodes: number;
  /** Of them with volumes on a disk; the others keep shards in memory. */
  readonly diskNodes: number;
  /** Further nodes, empty until a map change takes them in. */
  readonly spares: number;
  readonly gateways: number;
  readonly smallBytes: number;
  readonly groupCount: number;
  readonly trashRetentionMs: number;
  readonly scrubRoundMs: number;
}

const KEEPERS = 2;

export class Cluster {
  readonly world: World;
  readonly shape: Shape;
  readonly network: Network;
  readonly index: IndexServer;
  readonly store: MemoryMetadata;
  /** By disk id. */
  readonly nodes = new Map<string, Node>();
  readonly gateways: readonly Machine[];
  readonly keepers: readonly Machine[];
  /** Disks of the map as the operator wants it. */
  readonly wanted = new Map<string, DiskState>();
  readonly #operator: Process;

  constructor(world: World, shape: Shape) {
    this.world = world;
    this.shape = shape;
    this.network = new Network(world);
    this.store = new MemoryMetadata({ random: world.random });
    this.index = new IndexServer(world, this.store);
    this.#operator = new Process(world, "operator");
    const parts: MachineParts = {
      world,
      network: this.network,
      index: this.index,
      nodes: this.nodes,
      codec: shape.codec,
      smallBytes: shape.smallBytes,
    };
    this.gateways = numbered(shape.gateways, (at) => new Machine(`gateway-${at}`, parts));
    this.keepers = numbered(KEEPERS, (at) => new Machine(`keeper-${at}`, parts, shape));
  }

  async start(): Promise<void> {
    const { shape, world } = this;
    for (let at = 1; at <= shape.nodes + shape.spares; at++) {
      const isDisk = at <= shape.diskNodes;
      const node = await this.addNode(isDisk ? DiskNode : MemoryNode, `node-${at}`);
      if (at <= shape.nodes) this.wanted.set(node.diskId, "active");
    }
    await this.applyMap(this.store);
    this.index.keepLeases();
    for (const machine of this.machines) machine.start();
    while (this.machines.some(({ layer }) => layer === undefined)) {
      await world.sleep(10, "start");
    }
  }

  get machines(): readonly Machine[] {
    return [...this.gateways, ...this.keepers];
  }

  async addNode(
    kind: typeof DiskNode | typeof MemoryNode,
    name: string,
  ): Promise<DiskNode | MemoryNode> {
    const node = new kind(this.world, name);
    await node.start();
    this.nodes.set(node.diskId, node);
    return node;
  }

  /** Makes the map what the operator wants; through the network, unless the index itself is given. */
  async applyMap(metadata: MetadataStore = this.#link()): Promise<void> {
    const disks: PlacedDisk[] = [...this.wanted].map(([id, state]) => {
      const name = this.nodes.get(id)?.name ?? "lost";
      return { id, node: name, zone: name, weight: 1, state, label: name };
    });
    const { width, groupCount } = this.shape;
    await changeMap(metadata, { clusterId: CLUSTER_ID, disks, width, groupCount });
  }

  #link(): MetadataStore {
    return new IndexLink({ network: this.network, from: this.#operator, server: this.index });
  }
}

/** Shapes differ in what is cheap to vary and changes what can go wrong. */
export function shapeOf(seed: number): Shape {
  const random = new SeededRandom(seed ^ 0x2545f491);
  const isCoded = random.fraction() < 0.4;
  const pick = <T>(items: readonly [T, ...T[]]): T =>
    items[Math.floor(random.fraction() * items.length)] ?? items[0];
  const width = isCoded ? 6 : 3;
  return {
    codec: isCoded ? "ec-4+2" : "replica-3",
    width,
    nodes: width + pick([0, 1]),
    diskNodes: pick([0, 1, 2, 3]),
    spares: 2,
    gateways: pick([2, 3]),
    smallBytes: pick([1024, 4096]),
    groupCount: pick([2, 4, 8]),
    trashRetentionMs: pick([0, 5000, 30_000]),
    scrubRoundMs: pick([20_000, 60_000]),
  };
}

function numbered<T>(count: number, make: (at: number) => T): readonly T[] {
  return Array.from({ length: count }, (_, at) => make(at + 1));
}
