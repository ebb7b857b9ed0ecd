/**
 * After the faults: everything is mended, the clients are done, and the keepers get time. Then nothing may be left to do, every
 * version must read through every gateway, and also from the fewest nodes that must suffice.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { GarbageView } from "#admin/node-api.ts";
import { decodeScrubState, scrubKey } from "#keeper/scrub-state.ts";
import type { SeededRandom } from "#lib/random.ts";
import type { EtcdMetadata } from "#metadata/etcd.ts";
import { SUSPICIONS } from "#objects/suspicions.ts";
import { DIRTY_MARKS, decodeMap, MAP_KEY } from "#placement/placement-record.ts";
import type { Answer } from "../support/history.ts";
import type { Client } from "./client.ts";
import type { ContainerCluster } from "./container-cluster.ts";
import type { Workload } from "./workload.ts";

/** Scrub reads all disks in turn at a few MiB a second, twice when repair was needed; the rest is for a busy machine. */
const REDUNDANT_MS_MAX = 420_000;
const LOOK_MS = 1000;
/** Reads under way at a time. */
const READERS = 16;
/** Gateways need a moment to find who has just come back. */
const TRIES = 8;
const TRY_AGAIN_MS = 1500;

export interface Unrepaired {
  readonly dirtyGroups: number;
  readonly suspects: number;
  /** Disks that scrub has not read from beginning to end since then. */
  readonly unread: number;
}

/** Ends every fault. */
export async function heal(cluster: ContainerCluster): Promise<void> {
  await cluster.network.mendAll();
  for (const node of cluster.of("storage")) await cluster.disk(node).empty();
  for (const { name } of cluster.members) await cluster.restore(name);
  await cluster.untilReady();
}

/** Waits until every shard was read and none is missing or bad; answers how long it took, or what is left when time is up. */
export async function untilRedundant(
  cluster: ContainerCluster,
  metadata: EtcdMetadata,
): Promise<{ readonly seconds: number; readonly left: Unrepaired | undefined }> {
  const began = performance.now();
  const since = Date.now();
  // A keeper begins a round of each job when it starts; else scrub's comes after ten minutes.
  for (const keeper of cluster.of("keeper")) {
    await cluster.stop(keeper);
    await cluster.start(keeper);
  }
  const rounds = new ScrubRounds(metadata, since);
  for (;;) {
    const left = { ...(await unrepaired(metadata)), unread: await rounds.left() };
    const seconds = (performance.now() - began) / 1000;
    if (left.dirtyGroups + left.suspects + left.unread === 0) return { seconds, left: undefined };
    if (seconds * 1000 > REDUNDANT_MS_MAX) return { seconds, left };
    await sleep(LOOK_MS);
  }
}

/**
 * After so many crashes a sweep finds more than it may take without asking. Its operator says yes, so that it does remove; what is read
 * afterwards shows whether that was right. Answers what was asked.
 */
export async function confirmGarbage(cluster: ContainerCluster): Promise<string | undefined> {
  const view = JSON.parse(await cluster.operator("garbage", "status", "--json")) as GarbageView;
  if (view.state !== "asking") return undefined;
  await cluster.operator("garbage", "confirm");
  return view.question?.text;
}

/** Each key and each version that was acknowledged, through the gateway. */
export async function readAll(
  workload: Workload,
  client: Client,
  gateway: string,
): Promise<readonly Answer[]> {
  const wanted: { bucket: string; key: string; versionId?: string }[] = [...workload.keptVersions];
  for (const { plain, versioned } of workload.stages) {
    for (const key of workload.keys) {
      wanted.push({ bucket: plain, key }, { bucket: versioned, key });
    }
  }
  const answers: Answer[] = [];
  const reader = async () => {
    for (let next = wanted.pop(); next !== undefined; next = wanted.pop()) {
      const { bucket, key, versionId } = next;
      const options = versionId === undefined ? {} : { versionId };
      let answer: Answer = { kind: "unknown" };
      for (let turn = 0; turn < TRIES && answer.kind === "unknown"; turn++) {
        if (turn > 0) await sleep(TRY_AGAIN_MS);
        answer = await client.read({ gateway, bucket, key }, options);
      }
      answers.push(answer);
    }
  };
  await Promise.all(Array.from({ length: READERS }, reader));
  return answers;
}

/** All of it once more, with so many nodes killed, and not the one whose bits flipped: it must be whole again. */
export async function readFromFewest(
  cluster: ContainerCluster,
  given: {
    workload: Workload;
    client: Client;
    random: SeededRandom;
    victim: string;
    mayLose: number;
  },
): Promise<{ readonly killed: readonly string[]; readonly unreadable: number }> {
  const { workload, client, random, victim, mayLose } = given;
  const others = cluster.of("storage").filter((name) => name !== victim);
  const first = Math.floor(random.fraction() * others.length);
  const killed = Array.from(
    { length: mayLose },
    (_, at) => others[(first + at) % others.length] ?? victim,
  );
  for (const name of killed) await cluster.kill(name);
  const [gateway = ""] = cluster.of("gateway");
  const answers = await readAll(workload, client, gateway);
  for (const name of killed) await cluster.start(name);
  await cluster.untilReady(killed);
  return { killed, unreadable: answers.filter(({ kind }) => kind === "unknown").length };
}

async function unrepaired(metadata: EtcdMetadata): Promise<Omit<Unrepaired, "unread">> {
  const dirty = await metadata.range({ ...DIRTY_MARKS, limit: 1000 });
  const suspects = await metadata.range({ ...SUSPICIONS, limit: 1000 });
  return { dirtyGroups: dirty.entries.length, suspects: suspects.entries.length };
}

/** Which disks scrub has read from beginning to end since then; it may have begun with them again by now. */
class ScrubRounds {
  readonly #metadata: EtcdMetadata;
  readonly #since: number;
  /** When each disk's first round since then began. */
  readonly #begun = new Map<string, number>();
  readonly #read = new Set<string>();

  constructor(metadata: EtcdMetadata, since: number) {
    this.#metadata = metadata;
    this.#since = since;
  }

  async left(): Promise<number> {
    const map = await this.#metadata.get(MAP_KEY);
    const disks = map ? decodeMap(map.value).disks : [];
    for (const { id } of disks) await this.#look(id);
    return disks.filter(({ id }) => !this.#read.has(id)).length;
  }

  async #look(disk: string): Promise<void> {
    const entry = await this.#metadata.get(scrubKey(disk));
    const state = entry && decodeScrubState(entry.value);
    if (!state || state.begunMs < this.#since) return;
    const first = this.#begun.get(disk) ?? state.begunMs;
    this.#begun.set(disk, first);
    if (state.after === undefined || state.begunMs > first) this.#read.add(disk);
  }
}
