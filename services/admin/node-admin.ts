/** What an operator may ask of, and do with, the storage nodes of a cluster. The keeper's membership job makes it true. */
import type {
  DiskView,
  MoveView,
  NodeAction,
  NodeChange,
  NodeChangeAnswer,
  NodeList,
  NodeView,
} from "#admin/node-api.ts";
import type { Clock } from "#lib/clock.ts";
import type { MetadataStore } from "#metadata/metadata-store.ts";
import { nextMap } from "#placement/change-map.ts";
import type { NodeRecord, NodeState } from "#placement/node-record.ts";
import { changeNode, FenceChanged, NodeRefused, readNodes } from "#placement/nodes.ts";
import { keepsSpread, movesBetween, placedDisks, placesOn } from "#placement/placed-disks.ts";
import type { PlacementMap } from "#placement/placement-map.ts";
import { decodeMap, MAP_KEY } from "#placement/placement-record.ts";
import type { ShardStore, StoreHealth } from "#shards/shard-store.ts";

/** A node that is gone must not keep a list waiting. */
const ANSWER_MS = 3000;
/** A change is decided anew when the map changed meanwhile, which it does every few seconds at most. */
const TURNS_MAX = 10;

export interface NodeAdminParts {
  readonly metadata: MetadataStore;
  readonly clusterId: string;
  /** Of all nodes, by disk id. */
  readonly stores: ReadonlyMap<string, ShardStore>;
  readonly clock: Clock;
  /** Called when a node's state was changed. */
  readonly onChange: () => void;
}

type Healths = ReadonlyMap<string, StoreHealth | undefined>;

export class NodeAdmin {
  readonly #parts: NodeAdminParts;

  constructor(parts: NodeAdminParts) {
    this.#parts = parts;
  }

  async list(signal: AbortSignal): Promise<NodeList> {
    const { metadata, clusterId } = this.#parts;
    const { nodes } = await readNodes(metadata, signal);
    const map = await this.#map(signal);
    const healths = await this.#healths(nodes);
    const views = nodes.map((node) => this.#view(node, { map, healths }));
    return { clusterId, epoch: map?.epoch ?? 0, width: map?.width ?? 0, nodes: views };
  }

  /** Throws NodeRefused, saying why it cannot be. */
  async change(
    id: string,
    action: NodeAction,
    change: NodeChange,
    signal: AbortSignal,
  ): Promise<NodeChangeAnswer> {
    for (let turn = 1; ; turn++) {
      try {
        return await this.#change(id, action, change, signal);
      } catch (error) {
        if (!(error instanceof FenceChanged) || turn === TURNS_MAX) throw error;
      }
    }
  }

  /** Throws FenceChanged when the map that it was decided by is no longer in force. */
  async #change(
    id: string,
    action: NodeAction,
    { dryRun = false, cancel = false, lost = false }: NodeChange,
    signal: AbortSignal,
  ): Promise<NodeChangeAnswer> {
    const { metadata, clock, onChange } = this.#parts;
    const { nodes } = await readNodes(metadata, signal);
    const node = nodes.find((one) => one.id === id);
    if (!node) throw new NodeRefused(`Cannot ${action} ${id}: there is no node of that name`);
    const stored = await metadata.get(MAP_KEY, signal);
    const map = stored && decodeMap(stored.value);
    const healths = await this.#healths(nodes);
    const decide = (one: NodeRecord, all: readonly NodeRecord[]): NodeState => {
      const request = { map, cancel, lost, answers: isThere(node, healths) };
      return nextState(action, one, { ...request, nodes: all });
    };
    const state = decide(node, nodes);
    const moved = this.#moved(nodes, { id, state, map, healths });
    if (dryRun) return { id, state, ...moved };
    const move = moved.bytes > 0 ? { bytes: moved.bytes, begunMs: clock.now() } : undefined;
    await changeNode(
      metadata,
      id,
      (one, all) => {
        const next = decide(one, all);
        const isRemoved = next === "removed";
        if (isRemoved && (map === undefined || placesOf(one, map) === 0)) return undefined;
        return { ...one, state: next, move: isRemoved ? undefined : move };
      },
      { signal, fence: [{ key: MAP_KEY, revision: stored?.revision ?? 0 }] },
    );
    onChange();
    return { id, state, ...moved };
  }

  async #map(signal: AbortSignal): Promise<PlacementMap | undefined> {
    const stored = await this.#parts.metadata.get(MAP_KEY, signal);
    return stored && decodeMap(stored.value);
  }

  async #healths(nodes: readonly NodeRecord[]): Promise<Healths> {
    const disks = nodes.flatMap((node) => node.disks);
    const healths = await Promise.all(
      disks.map(async ({ id }) => [id, await this.#health(id)] as const),
    );
    return new Map(healths);
  }

  async #health(diskId: string): Promise<StoreHealth | undefined> {
    const store = this.#parts.stores.get(diskId);
    if (!store) return undefined;
    const late = new AbortController();
    const silence = this.#parts.clock.sleep(ANSWER_MS, late.signal).catch(() => undefined);
    const answer = store.health().catch(() => undefined);
    const health = await Promise.race([answer, silence.then(() => undefined)]);
    late.abort();
    return health;
  }

  #view(
    node: NodeRecord,
    { map, healths }: { map: PlacementMap | undefined; healths: Healths },
  ): NodeView {
    const { id, zone, address, weight, state } = node;
    const disks = node.disks.map((disk): DiskView => {
      const health = healths.get(disk.id);
      const { capacity = disk.capacity, free = 0, live = 0 } = health ?? {};
      return { ...disk, state: health?.state ?? "unreachable", capacity, free, live };
    });
    const places = map === undefined ? 0 : placesOf(node, map);
    const answers = isThere(node, healths);
    const move = map && this.#move(node, { disks, map });
    return { id, zone, address, weight, state, answers, disks, places, move };
  }

  /** undefined: nothing is under way, or no more. */
  #move(
    node: NodeRecord,
    { disks, map }: { disks: readonly DiskView[]; map: PlacementMap },
  ): MoveView | undefined {
    const { move, state } = node;
    if (!move) return undefined;
    const ids = new Set(node.disks.map(({ id }) => id));
    const live = disks.reduce((sum, disk) => sum + disk.live, 0);
    const isLeaving = state === "draining" || state === "out";
    const isOver = isLeaving
      ? placesOn(map, ids) === 0
      : !map.groups.some(({ members, earlier }) => {
          return earlier.some(({ index }) => ids.has(members[index] ?? ""));
        });
    if (isOver) return undefined;
    const left = Math.max(0, isLeaving ? live : move.bytes - live);
    const done = move.bytes - left;
    const elapsedMs = this.#parts.clock.now() - move.begunMs;
    const remainingMs = done > 0 ? Math.round((elapsedMs * left) / done) : undefined;
    return { bytes: move.bytes, left, remainingMs };
  }

  /** What the change moves, by what the disks hold now, evenly over their places. */
  #moved(
    nodes: readonly NodeRecord[],
    {
      id,
      state,
      map,
      healths,
    }: { id: string; state: NodeState; map: PlacementMap | undefined; healths: Healths },
  ): Pick<NodeChangeAnswer, "bytes" | "places" | "receivers"> {
    if (!map) return { bytes: 0, places: 0, receivers: [] };
    const { clusterId } = this.#parts;
    const { width } = map;
    const placed = (old: PlacementMap, all: readonly NodeRecord[]) => {
      const request = { clusterId, disks: placedDisks(all), width, groupCount: map.groups.length };
      return nextMap(old, request);
    };
    // What earlier changes are still to move is not counted again.
    const before = placed(map, nodes);
    const changed = nodes.map((node) => (node.id === id ? { ...node, state } : node));
    const next = placed(before, changed);
    const nodeOf = new Map(next.disks.map((disk) => [disk.id, disk.node]));
    const bytesOf = bytesOfPlace(map, healths);
    const receivers = new Map<string, { node: string; bytes: number; places: number }>();
    for (const { from, to } of movesBetween(before, next)) {
      const node = nodeOf.get(to) ?? to;
      const { bytes, places } = receivers.get(node) ?? { bytes: 0, places: 0 };
      receivers.set(node, { node, bytes: bytes + bytesOf(from), places: places + 1 });
    }
    const all = [...receivers.values()].toSorted((one, other) => (one.node < other.node ? -1 : 1));
    return {
      bytes: Math.round(all.reduce((sum, { bytes }) => sum + bytes, 0)),
      places: all.reduce((sum, { places }) => sum + places, 0),
      receivers: all.map((one) => ({ ...one, bytes: Math.round(one.bytes) })),
    };
  }
}

interface Request {
  readonly nodes: readonly NodeRecord[];
  readonly map: PlacementMap | undefined;
  readonly answers: boolean;
  readonly cancel: boolean;
  readonly lost: boolean;
}

/** Throws NodeRefused. */
function nextState(action: NodeAction, node: NodeRecord, request: Request): NodeState {
  const refuse = (reason: string): never => {
    throw new NodeRefused(`Cannot ${action} ${node.id}: ${reason}`);
  };
  const { state } = node;
  switch (action) {
    case "add":
      if (state === "new" || state === "active") return "active";
      return refuse(
        state === "draining"
          ? `it is being drained; take that back with "anybucket node drain ${node.id} --cancel"`
          : `it is ${state}`,
      );
    case "drain":
      if (request.cancel) {
        return state === "draining" || state === "active" ? "active" : refuse(`it is ${state}`);
      }
      if (state === "draining") return "draining";
      if (state !== "active" && state !== "out") return refuse(`it is ${state}`);
      return canLeave(node, request)
        ? "draining"
        : refuse(
            `objects are kept on ${request.map?.width} disks each, and with one node less two of them would be on one node; add another node first`,
          );
    case "remove":
      return whetherRemoved(node, request, refuse);
  }
}

function whetherRemoved(
  node: NodeRecord,
  { map, lost, answers }: Request,
  refuse: (reason: string) => never,
): NodeState {
  const places = map === undefined ? 0 : placesOf(node, map);
  if (places === 0 || node.state === "removed") {
    // An active node that holds nothing is about to be given something.
    return node.state === "active" ? refuse("it is active; drain it first") : "removed";
  }
  if (!lost) {
    return refuse(
      `it holds ${places} places of shards; drain it first, or, when its disks are lost for good, say --lost`,
    );
  }
  return answers ? refuse("it answers, so it is not lost; drain it") : "removed";
}

function canLeave(node: NodeRecord, { nodes, map }: Request): boolean {
  if (!map) return true;
  const without = nodes.map((one) =>
    one.id === node.id ? { ...one, state: "draining" as const } : one,
  );
  const { width } = map;
  return keepsSpread({ before: placedDisks(nodes), after: placedDisks(without), width });
}

function placesOf({ disks }: NodeRecord, map: PlacementMap): number {
  return placesOn(map, new Set(disks.map(({ id }) => id)));
}

function isThere({ disks }: NodeRecord, healths: Healths): boolean {
  return disks.some(({ id }) => healths.get(id) !== undefined);
}

/** Of a disk that does not answer: as on the others. */
function bytesOfPlace(map: PlacementMap, healths: Healths): (diskId: string) => number {
  const known = new Map<string, number>();
  let bytes = 0;
  let places = 0;
  for (const { id } of map.disks) {
    const health = healths.get(id);
    const held = placesOn(map, new Set([id]));
    if (!health || held === 0) continue;
    known.set(id, health.live / held);
    bytes += health.live;
    places += held;
  }
  const average = places === 0 ? 0 : bytes / places;
  return (diskId) => known.get(diskId) ?? average;
}
