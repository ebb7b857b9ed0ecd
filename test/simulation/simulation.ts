/** One run: a cluster on a seed, clients and faults, then peace; and what of it was wrong. */
import type { Bucket } from "#objects/model.ts";
import { judge } from "../support/checker.ts";
import { History, type Operation } from "../support/history.ts";
import { Cluster, type Shape, shapeOf } from "./cluster.ts";
import { FAULTS, type Fault, Nemesis } from "./nemesis.ts";
import { QuorumWatch } from "./quorum-watch.ts";
import { converge, endUploads, heal, unmarked } from "./settle.ts";
import { Workload, type WorkloadOptions } from "./workload.ts";
import { World } from "./world.ts";

export interface RunOptions {
  readonly seed: number;
  readonly faults?: readonly Fault[];
  readonly shape?: Partial<Shape>;
  readonly workload?: Partial<WorkloadOptions>;
  /** Called with each event. */
  readonly onEvent?: (at: number, label: string) => void;
}

export interface Report {
  readonly seed: number;
  readonly shape: Shape;
  readonly violations: readonly string[];
  readonly undecided: readonly string[];
  readonly operations: number;
  readonly unknownShare: number;
  readonly events: number;
  readonly simulatedMs: number;
  readonly trace: string;
  readonly counts: ReadonlyMap<string, number>;
  readonly history: readonly Operation[];
}

const WORKLOAD: WorkloadOptions = { clients: 20, requests: 20, keys: 5 };

export async function simulate(options: RunOptions): Promise<Report> {
  const { seed, onEvent } = options;
  const world = new World(seed);
  world.onEvent = onEvent;
  const shape = { ...shapeOf(seed), ...options.shape };
  const history = new History();
  const broken: string[] = [];
  let undecided: readonly string[] = [];
  let unknownShare = 0;
  try {
    await world.run(async () => {
      const cluster = new Cluster(world, shape);
      await cluster.start();
      const watch = new QuorumWatch(cluster.nodes);
      cluster.index.onCommitted = (commit) => watch.committed(commit);
      const plain = await makeBucket(cluster, "plain", "unversioned");
      const kept = await makeBucket(cluster, "kept", "enabled");
      const buckets = [plain, kept];
      const workload = new Workload(cluster, history, {
        plain,
        kept,
        options: { ...WORKLOAD, ...options.workload },
      });
      const nemesis = new Nemesis(cluster, options.faults ?? FAULTS);
      const havoc = nemesis.run();
      await workload.run();
      nemesis.stop();
      await havoc;
      await heal(cluster);
      const { victimDisk: victim } = nemesis;
      broken.push(...(await unmarked(cluster, { buckets, victim })));
      await endUploads(cluster, buckets);
      broken.push(...(await converge(cluster, buckets)));
      const healed = history.now();
      await readAll(cluster, workload);
      const gateways = cluster.gateways.map(({ name }) => name);
      const judged = judge(history.operations, {
        versionedBuckets: new Set(["kept"]),
        healed: { at: healed, gateways },
      });
      broken.push(...judged.violations, ...watch.violations);
      ({ undecided, unknownShare } = judged);
    });
  } catch (error) {
    broken.push(`the run ended early: ${error instanceof Error ? error.stack : String(error)}`);
  }
  world.end();
  return {
    seed,
    shape,
    violations: broken,
    undecided,
    operations: history.operations.length,
    unknownShare,
    events: world.events,
    simulatedMs: world.now,
    trace: world.trace,
    counts: world.counts,
    history: history.operations,
  };
}

async function makeBucket(
  cluster: Cluster,
  name: string,
  versioning: "enabled" | "unversioned",
): Promise<Bucket> {
  const { layer } = cluster.gateways[0] ?? {};
  if (layer === undefined) throw new Error("No gateway is open");
  const made = await layer.buckets.create({
    name,
    ownerId: "owner",
    region: "",
    ownership: "BucketOwnerEnforced",
    acl: "private",
    versioning,
    signal: new AbortController().signal,
  });
  return made.bucket;
}

/** Every key, and every version that anybody was told of, through every gateway. */
async function readAll(cluster: Cluster, workload: Workload): Promise<void> {
  const client = workload.newClient();
  for (const gateway of cluster.gateways) {
    for (const bucket of [workload.plain, workload.kept]) {
      for (const key of workload.keys) {
        await client.read({ gateway, bucket, key }, { part: "whole" });
      }
      await client.list({ gateway, bucket }, { after: "", limit: 1000 });
    }
    const bucket = workload.kept;
    await client.listVersions({ gateway, bucket });
    for (const { key, versionId } of workload.keptVersions) {
      await client.read({ gateway, bucket, key }, { versionId, part: "whole" });
    }
  }
}
