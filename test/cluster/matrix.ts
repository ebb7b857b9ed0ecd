/**
 * The fault matrix: a cluster of containers under load and faults, campaign after campaign. Each campaign inflicts every fault, then
 * mends all, waits until every byte is as redundant as it should be, reads everything, and has its history judged.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "#lib/clock.ts";
import { silentLog } from "#lib/log.ts";
import { SeededRandom, systemRandom } from "#lib/random.ts";
import { type EtcdMetadata, openEtcd } from "#metadata/etcd.ts";
import { LoadClient } from "../bench/load.ts";
import { judge } from "../support/checker.ts";
import { History } from "../support/history.ts";
import type { Images } from "../support/images.ts";
import { makeBuckets, removeBuckets } from "./buckets.ts";
import { ACCESS_KEY, ContainerCluster, SECRET_KEY } from "./container-cluster.ts";
import { Contents } from "./contents.ts";
import { inflict, type Scene } from "./faults.ts";
import { planOf, type Step } from "./plan.ts";
import { confirmGarbage, heal, readAll, readFromFewest, untilRedundant } from "./settle.ts";
import { Standstill } from "./standstill.ts";
import { Tally } from "./tally.ts";
import { CLIENTS, type Stage, Workload } from "./workload.ts";

export interface MatrixOptions {
  readonly images: Images;
  readonly seed: number;
  /** Campaigns begin until then; one there is in any case. */
  readonly untilMs: number;
  /** A campaign goes on inflicting until it has so many, its reads in the end not counted. */
  readonly operationsMin: number;
  /** How many faults come at a time: one of these. */
  readonly together: readonly number[];
  readonly log: (line: string) => void;
}

/** What is erasure-coded may lose two of its four shards, what is copied two of its four copies; the fifth node takes their place. */
const SHAPE = { nodes: 5, storageClass: "ec-2+2" };
const MAY_LOSE = 2;
/** Between a step's end and the next one's beginning. */
const CALM_MS = 1500;
const ONE_DEAD_MS = 20_000;
const ONE_DEAD_TURNS = 5;
/** The first seconds do not count: so long it takes to find that a node is dead. */
const FOUND_OUT_MS = 3000;
/** Steps beyond the plan, where it took too few operations. */
const FURTHER_STEPS_MAX = 12;

export interface MatrixReport {
  readonly tally: Tally;
  /** Where the logs of all containers and the histories are; undefined: nothing was found. */
  readonly kept: string | undefined;
}

export async function runMatrix(options: MatrixOptions): Promise<MatrixReport> {
  const { images, seed, untilMs, log } = options;
  log(`seed ${seed}`);
  const tally = new Tally();
  const kept = join(tmpdir(), `anybucket-fault-matrix-${seed}`);
  await using cluster = await ContainerCluster.start(images, SHAPE);
  log(`${cluster.members.length} containers are ready, ${CLIENTS} clients begin`);
  await using metadata = await openEtcd({
    endpoints: cluster.etcdEndpoints,
    namespace: "anybucket/",
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
  });
  using standstill = new Standstill();
  const random = new SeededRandom(seed);
  try {
    do {
      const campaign = new Campaign({ options, cluster, metadata, random, standstill, tally });
      await campaign.run();
      if (tally.violations.length > 0) campaign.keepHistory(kept);
    } while (Date.now() < untilMs && tally.violations.length === 0);
  } catch (error) {
    await cluster.keepLogs(kept);
    log(`It broke off; the logs of all containers are in ${kept}`);
    throw error;
  }
  log(tally.summary());
  if (standstill.times > 0) {
    log(
      `the machine stood still ${standstill.times} times, ${standstill.seconds.toFixed(0)} s in all`,
    );
  }
  for (const [name, count] of await cluster.restarts()) {
    if (count > 0) log(`${name} ended by itself, and was started again, ${count} times`);
  }
  if (tally.violations.length === 0) return { tally, kept: undefined };
  await cluster.keepLogs(kept);
  for (const { verdict, text } of tally.violations) log(`${verdict}: ${text}`);
  log(`The logs of all containers and the history are in ${kept}`);
  return { tally, kept };
}

interface CampaignParts {
  readonly options: MatrixOptions;
  readonly cluster: ContainerCluster;
  readonly metadata: EtcdMetadata;
  readonly random: SeededRandom;
  readonly standstill: Standstill;
  readonly tally: Tally;
}

class Campaign {
  readonly #parts: CampaignParts;
  readonly #history = new History();
  readonly #workload: Workload;
  readonly #links: ReadonlyMap<string, LoadClient>;
  readonly #scene: Scene;
  readonly #number: number;
  #stages = 0;

  constructor(parts: CampaignParts) {
    const { cluster, random, tally, options } = parts;
    this.#parts = parts;
    tally.campaigns += 1;
    this.#number = tally.campaigns;
    this.#links = new Map(
      cluster.of("gateway").map((gateway) => [gateway, linkTo(cluster.endpoint(gateway))]),
    );
    const { requests: counts } = tally;
    const contents = new Contents();
    // How fast answers come must not change which faults follow: the clients have a generator of their own.
    const clientsRandom = new SeededRandom(options.seed ^ (this.#number * 0x9e37));
    const given = { history: this.#history, contents, links: this.#links, counts };
    this.#workload = new Workload(given, clientsRandom);
    const nodes = cluster.of("storage");
    const victim = nodes[Math.floor(random.fraction() * nodes.length)] ?? "node1";
    this.#scene = { cluster, random, taken: new Set(), victim };
  }

  async run(): Promise<void> {
    const { options, random, tally } = this.#parts;
    const { operationsMin, log, together } = options;
    const plan = planOf(random, together);
    // While all is well; and one for the writes with one node dead.
    const made = Array.from({ length: 1 + plan.length + FURTHER_STEPS_MAX }, (_, at) =>
      this.#stage(at),
    );
    for (const stage of made) await makeBuckets(this.#link, stage);
    await this.#withOneDead();
    const running = this.#workload.run();
    for (const step of plan) await this.#step(step);
    for (let more = 0; more < FURTHER_STEPS_MAX; more++) {
      if (this.#history.operations.length >= operationsMin) break;
      await this.#step(random.fraction() < 0.5 ? ["node killed"] : ["gateway killed"]);
    }
    this.#workload.stop();
    await running;
    await this.#settle();
    if (tally.violations.length === 0) {
      for (const stage of made) await removeBuckets(this.#link, stage);
    }
    for (const link of this.#links.values()) link.close();
    log(
      `campaign ${this.#number}: ${tally.operations} operations, ${tally.violations.length} found`,
    );
  }

  keepHistory(folder: string): void {
    mkdirSync(folder, { recursive: true });
    const lines = this.#history.operations.map((operation) => JSON.stringify(operation));
    writeFileSync(join(folder, `history-${this.#number}.jsonl`), `${lines.join("\n")}\n`);
  }

  /** Measured again when the machine stood still meanwhile. */
  async #withOneDead(): Promise<void> {
    const { cluster, tally, standstill, options } = this.#parts;
    this.#begin();
    const [node = ""] = cluster.of("storage").filter((name) => name !== this.#scene.victim);
    for (let turn = 0; turn < ONE_DEAD_TURNS; turn++) {
      await this.#workload.writeFor(FOUND_OUT_MS);
      const before = standstill.times;
      await cluster.kill(node);
      await this.#workload.writeFor(FOUND_OUT_MS);
      const counted = await this.#workload.writeFor(ONE_DEAD_MS);
      options.log(`with ${node} dead: ${counted.failed} of ${counted.writes} writes failed`);
      await cluster.start(node);
      await cluster.untilReady([node]);
      if (standstill.times > before) continue;
      tally.writtenWithOneDead(counted);
      return;
    }
  }

  async #step(step: Step): Promise<void> {
    const { cluster, tally, options } = this.#parts;
    this.#begin();
    const began = this.#history.operations.length;
    const from = performance.now();
    const lasting: Promise<void>[] = [];
    for (const name of step) {
      const wound = await inflict(name, this.#scene);
      if (!wound) continue;
      tally.fault(name);
      lasting.push(sleep(wound.holdMs).then(async () => wound.heal()));
    }
    await Promise.all(lasting);
    await cluster.untilReady();
    await sleep(CALM_MS);
    const seconds = ((performance.now() - from) / 1000).toFixed(0);
    const operations = this.#history.operations.length - began;
    options.log(`${step.join(" + ")}: ${seconds} s, ${operations} operations`);
  }

  async #settle(): Promise<void> {
    const { cluster, metadata, tally, random, options } = this.#parts;
    const { log } = options;
    await heal(cluster);
    const { seconds, left } = await untilRedundant(cluster, metadata);
    tally.redundantSeconds.push(seconds);
    if (left) tally.violated("not healed", `after ${seconds} s: ${JSON.stringify(left)}`);
    log(`whole again after ${seconds.toFixed(0)} s`);
    const asked = await confirmGarbage(cluster);
    if (asked !== undefined) log(`confirmed: ${asked}`);
    const at = this.#history.now();
    const gateways = cluster.of("gateway");
    const client = this.#workload.newClient();
    await Promise.all(gateways.map(async (one) => readAll(this.#workload, client, one)));
    const { victim } = this.#scene;
    const given = { workload: this.#workload, client, random, victim, mayLose: MAY_LOSE };
    const { killed, unreadable } = await readFromFewest(cluster, given);
    if (unreadable > 0) {
      tally.violated("lost", `${unreadable} reads failed with ${killed.join(" and ")} killed`);
    }
    log(`all was read through ${gateways.join(" and ")}, and without ${killed.join(" and ")}`);
    const { operations } = this.#history;
    const versionedBuckets = new Set(this.#workload.stages.map(({ versioned }) => versioned));
    tally.judged(operations, judge(operations, { versionedBuckets, healed: { at, gateways } }));
  }

  #begin(): void {
    this.#workload.begin(this.#stage(this.#stages));
    this.#stages += 1;
  }

  #stage(number: number): Stage {
    const name = `${this.#number}-${number}`;
    return { plain: `plain-${name}`, versioned: `versioned-${name}` };
  }

  get #link(): LoadClient {
    const [link] = this.#links.values();
    if (!link) throw new Error("Cannot ask for anything: there is no gateway");
    return link;
  }
}

function linkTo(endpoint: string): LoadClient {
  const target = { accessKey: ACCESS_KEY, secretKey: SECRET_KEY, region: "us-east-1" };
  return new LoadClient({ ...target, endpoint: new URL(endpoint) }, 2 * CLIENTS);
}
