/**
 * Everything that is done to the cluster, and how each is mended. They may come in pairs, on different members. None destroys more
 * than the codecs promise to bear: bits flip on one node's disk only between two times that all was seen to be whole.
 */
import type { SeededRandom } from "#lib/random.ts";
import type { ContainerCluster, MemberKind } from "./container-cluster.ts";
import { between } from "./network.ts";

export interface Wound {
  /** For how long it should last. */
  readonly holdMs: number;
  heal(): Promise<void>;
}

export interface Scene {
  readonly cluster: ContainerCluster;
  readonly random: SeededRandom;
  /** Members that another fault has hold of; those that this one has are added. */
  readonly taken: Set<string>;
  /** The node whose bits flip. */
  readonly victim: string;
}

/** Answers undefined where all that it could be done to is taken. */
type Inflict = (scene: Scene) => Promise<Wound | undefined>;

const SHORT_MS = [3000, 9000] as const;
/** Longer than a session lives without its process. */
const LONG_MS = [18_000, 24_000] as const;
/** Of a member that ends in good order: how long it stays away. */
const AWAY_MS = [1000, 4000] as const;
const FLIPS = 24;

type Span = readonly [low: number, high: number];

const ROLLING = "all restarted, one by one";

const FAULTS: Readonly<Record<string, Inflict>> = {
  "node killed": async (scene) => killed(scene, "storage", 1),
  "two nodes killed": async (scene) => killed(scene, "storage", 2),
  "all nodes killed": async (scene) => killed(scene, "storage", "all"),
  "gateway killed": async (scene) => killed(scene, "gateway", 1),
  "keeper killed": async (scene) => killed(scene, "keeper", 1),
  "etcd leader killed": async (scene) => etcdLeader(scene, "kill"),
  "node stopped": async (scene) => stopped(scene, "storage"),
  "gateway stopped": async (scene) => stopped(scene, "gateway"),
  "keeper stopped": async (scene) => stopped(scene, "keeper"),
  "etcd member stopped": async (scene) => stopped(scene, "etcd"),
  "node paused": async (scene) => paused(scene, "storage", SHORT_MS),
  "gateway paused": async (scene) => paused(scene, "gateway", LONG_MS),
  "keeper paused": async (scene) => paused(scene, "keeper", LONG_MS),
  "etcd leader paused": async (scene) => etcdLeader(scene, "pause"),
  "node without a network": async (scene) => disconnected(scene, "storage"),
  "gateway without a network": async (scene) => disconnected(scene, "gateway"),
  "etcd member without a network": async (scene) => disconnected(scene, "etcd"),
  "etcd without a majority": async (scene) => {
    const { cluster } = scene;
    const members = grab(scene, cluster.of("etcd"), 3);
    return members && cutOff(scene, members, { pairs: [members, members], hold: SHORT_MS });
  },
  "etcd minority with one gateway": async (scene) => {
    const { cluster } = scene;
    const [member, gateway] = [
      grab(scene, cluster.of("etcd"), 1),
      grab(scene, cluster.of("gateway"), 1),
    ];
    if (!member || !gateway) return undefined;
    const others = cluster.of("etcd").filter((name) => !member.includes(name));
    return cutOff(scene, [...member, ...gateway], {
      pairs: [[...member, ...gateway], others],
      hold: SHORT_MS,
    });
  },
  "gateway cut from etcd": async (scene) => cutBetween(scene, "gateway", "etcd", LONG_MS),
  "keeper cut from etcd": async (scene) => cutBetween(scene, "keeper", "etcd", LONG_MS),
  "node cut from etcd": async (scene) => cutBetween(scene, "storage", "etcd", SHORT_MS),
  "gateway cut from a node": async (scene) => cutFromNode(scene, "gateway"),
  "keeper cut from a node": async (scene) => cutFromNode(scene, "keeper"),
  "answers of a node lost": async (scene) => {
    const node = grab(scene, scene.cluster.of("storage"), 1);
    if (!node) return undefined;
    const cuts = node.flatMap((from) => scene.cluster.of("gateway").map((to) => ({ from, to })));
    return cut(scene, node, { cuts, hold: SHORT_MS });
  },
  "node cut from nodes": async (scene) => {
    const node = grab(scene, scene.cluster.of("storage"), 1);
    if (!node) return undefined;
    const others = scene.cluster.of("storage").filter((name) => !node.includes(name));
    return cutOff(scene, node, { pairs: [node, others], hold: SHORT_MS });
  },
  "disk full": async (scene) => {
    const { cluster } = scene;
    const node = grab(scene, cluster.of("storage"), 1);
    if (!node) return undefined;
    for (const name of node) await cluster.disk(name).fill();
    return wound(scene, node, {
      hold: SHORT_MS,
      heal: async () => {
        for (const name of node) await cluster.disk(name).empty();
      },
    });
  },
  "bits flipped": async (scene) => {
    const { cluster, random, victim } = scene;
    if (scene.taken.has(victim)) return undefined;
    await cluster.disk(victim).flipBits(FLIPS, random);
    return wound(scene, [], { hold: SHORT_MS, heal: async () => undefined });
  },
  [ROLLING]: async (scene) => {
    const { cluster } = scene;
    const names = cluster.members.map(({ name }) => name);
    if (!grab(scene, names, names.length)) return undefined;
    for (const name of names) {
      await cluster.stop(name);
      await cluster.start(name);
      await cluster.untilReady([name]);
    }
    return wound(scene, names, { hold: [0, 0], heal: async () => undefined });
  },
};

export const FAULT_NAMES: readonly string[] = Object.keys(FAULTS);

/** Takes hold of every member, so that no other fault goes with it. */
export function isOfAll(name: string): boolean {
  return name === ROLLING;
}

/** Answers undefined where it cannot be: what it would be done to is in another fault's hold. */
export async function inflict(name: string, scene: Scene): Promise<Wound | undefined> {
  const fault = FAULTS[name];
  if (!fault) throw new Error(`Cannot inflict ${name}: there is no such fault`);
  const before = [...scene.taken];
  const inflicted = await fault(scene);
  if (inflicted === undefined) {
    scene.taken.clear();
    for (const member of before) scene.taken.add(member);
  }
  return inflicted;
}

async function killed(
  scene: Scene,
  kind: MemberKind,
  count: number | "all",
): Promise<Wound | undefined> {
  const { cluster } = scene;
  const all = cluster.of(kind);
  const names = grab(scene, all, count === "all" ? all.length : count);
  if (!names) return undefined;
  await Promise.all(names.map(async (name) => cluster.kill(name)));
  return wound(scene, names, { hold: SHORT_MS, heal: async () => startAll(scene, names) });
}

async function stopped(scene: Scene, kind: MemberKind): Promise<Wound | undefined> {
  const { cluster } = scene;
  const names = grab(scene, cluster.of(kind), 1);
  if (!names) return undefined;
  for (const name of names) await cluster.stop(name);
  return wound(scene, names, { hold: AWAY_MS, heal: async () => startAll(scene, names) });
}

async function paused(scene: Scene, kind: MemberKind, hold: Span): Promise<Wound | undefined> {
  const { cluster } = scene;
  const names = grab(scene, cluster.of(kind), 1);
  if (!names) return undefined;
  for (const name of names) await cluster.pause(name);
  const heal = async () => {
    for (const name of names) await cluster.resume(name);
  };
  return wound(scene, names, { hold, heal });
}

async function etcdLeader(scene: Scene, how: "kill" | "pause"): Promise<Wound | undefined> {
  const { cluster } = scene;
  const leader = await cluster.etcdLeader();
  const names = leader === undefined ? undefined : grab(scene, [leader], 1);
  if (!names || leader === undefined) return undefined;
  await cluster[how](leader);
  const heal = async () => (how === "kill" ? cluster.start(leader) : cluster.resume(leader));
  return wound(scene, names, { hold: SHORT_MS, heal });
}

async function disconnected(scene: Scene, kind: MemberKind): Promise<Wound | undefined> {
  const { cluster } = scene;
  const names = grab(scene, cluster.of(kind), 1);
  if (!names) return undefined;
  for (const name of names) await cluster.disconnect(name);
  const heal = async () => {
    for (const name of names) await cluster.connect(name);
  };
  return wound(scene, names, { hold: SHORT_MS, heal });
}

async function cutBetween(
  scene: Scene,
  kind: "gateway" | "keeper" | "storage",
  other: "etcd",
  hold: Span,
): Promise<Wound | undefined> {
  const names = grab(scene, scene.cluster.of(kind), 1);
  return names && cutOff(scene, names, { pairs: [names, scene.cluster.of(other)], hold });
}

async function cutFromNode(scene: Scene, kind: "gateway" | "keeper"): Promise<Wound | undefined> {
  const { cluster } = scene;
  const [names, nodes] = [grab(scene, cluster.of(kind), 1), grab(scene, cluster.of("storage"), 1)];
  if (!names || !nodes) return undefined;
  return cutOff(scene, [...names, ...nodes], { pairs: [names, nodes], hold: SHORT_MS });
}

async function cutOff(
  scene: Scene,
  names: readonly string[],
  { pairs, hold }: { pairs: readonly [readonly string[], readonly string[]]; hold: Span },
): Promise<Wound> {
  const cuts = between(...pairs).filter(({ from, to }) => from !== to);
  return cut(scene, names, { cuts, hold });
}

async function cut(
  scene: Scene,
  names: readonly string[],
  { cuts, hold }: { cuts: ReturnType<typeof between>; hold: Span },
): Promise<Wound> {
  const { network } = scene.cluster;
  await network.cut(cuts);
  return wound(scene, names, { hold, heal: async () => network.mend(cuts) });
}

async function startAll({ cluster }: Scene, names: readonly string[]): Promise<void> {
  await Promise.all(names.map(async (name) => cluster.start(name)));
}

/** The span's random length belongs to the seed, and what is done as well; how fast the cluster answers does not. */
function wound(
  { random, taken }: Scene,
  names: readonly string[],
  { hold: [low, high], heal }: { hold: Span; heal: () => Promise<void> },
): Wound {
  const holdMs = low + random.fraction() * (high - low);
  return {
    holdMs,
    heal: async () => {
      await heal();
      for (const name of names) taken.delete(name);
    },
  };
}

/** So many that no other fault has hold of, which now are this one's. */
function grab(
  { random, taken }: Scene,
  from: readonly string[],
  count: number,
): readonly string[] | undefined {
  const free = from.filter((name) => !taken.has(name));
  if (free.length < count) return undefined;
  const grabbed = free
    .map((name) => ({ name, at: random.fraction() }))
    .toSorted((one, other) => one.at - other.at)
    .slice(0, count)
    .map(({ name }) => name);
  for (const name of grabbed) taken.add(name);
  return grabbed;
}
