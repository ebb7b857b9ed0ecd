/** The background work of a process that was elected for it. */
import { GarbageJob } from "#keeper/garbage.ts";
import type { IndexHistory } from "#keeper/index-history.ts";
import { type Job, periodicJob } from "#keeper/job.ts";
import type { Removals } from "#keeper/removals.ts";
import { REPAIR_BYTES_PER_SECOND, RepairJob } from "#keeper/repair.ts";
import { JobRunner, type JobStatus } from "#keeper/runner.ts";
import { SCRUB_ROUND_MS, ScrubJob } from "#keeper/scrub.ts";
import { TRASH_RETENTION_MS, TrashJob } from "#keeper/trash.ts";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { MetadataStore, Session } from "#metadata/metadata-store.ts";
import type { IndexLayer } from "#objects/layer.ts";
import type { StorageClasses } from "#objects/storage-classes.ts";
import type { CurrentMap } from "#placement/current-map.ts";
import type { ShardStore } from "#shards/shard-store.ts";

const UPLOADS_EVERY_MS = 10 * 60_000;
/** It only looks whether a copy is due. */
const SNAPSHOT_EVERY_MS = 60_000;

export interface KeeperOptions {
  readonly metadata: MetadataStore;
  readonly session: Session;
  readonly stores: ReadonlyMap<string, ShardStore>;
  readonly map: CurrentMap;
  readonly classes: StorageClasses;
  readonly clusterId: string;
  readonly layer: Pick<IndexLayer, "references" | "manifests" | "endings">;
  readonly clock: Clock;
  readonly log: Logger;
  /** Copies the index to the folders of its logs; undefined: there is nothing to copy. */
  readonly snapshot?: ((signal: AbortSignal) => Promise<void>) | undefined;
  /** Of an index that may be put back to a copy while this runs. */
  readonly history?: IndexHistory | undefined;
  /** How shards are taken away; undefined: the disks are of this machine. */
  readonly removals?: Removals | undefined;
  /** Of the index; undefined: it has no bounds of its own. */
  readonly room?: { readonly needsRemovals: boolean } | undefined;
  /** Those of a cluster. */
  readonly further?: readonly Job[];
  readonly trashRetentionMs?: number;
  readonly repairBytesPerSecond?: number;
  readonly scrubRoundMs?: number;
}

export interface Keeper extends AsyncDisposable {
  status(): readonly JobStatus[];
  pause(job: string): void;
  resume(job: string): void;
  /** Does not wait for the next round's time. */
  runNow(job: string): void;
}

export function startKeeper(options: KeeperOptions): Keeper {
  const { layer, snapshot } = options;
  const garbage = new GarbageJob({ ...options, references: layer.references });
  const jobs: Job[] = [
    new RepairJob({
      ...options,
      references: layer.references,
      bytesPerSecond: options.repairBytesPerSecond ?? REPAIR_BYTES_PER_SECOND,
    }),
    new TrashJob({
      ...options,
      manifests: layer.manifests,
      retentionMs: options.trashRetentionMs ?? TRASH_RETENTION_MS,
    }),
    garbage,
    new ScrubJob({ ...options, roundMs: options.scrubRoundMs ?? SCRUB_ROUND_MS }),
    periodicJob("uploads", UPLOADS_EVERY_MS, (signal) => layer.endings.sweep(signal)),
  ];
  if (snapshot) jobs.push(periodicJob("index-snapshot", SNAPSHOT_EVERY_MS, snapshot));
  jobs.push(...(options.further ?? []));
  const runners = new Map(jobs.map((job) => [job.name, new JobRunner(job, options)]));
  const runner = (name: string) => {
    const found = runners.get(name);
    if (!found)
      throw new Error(`Cannot find job ${name}: there are ${[...runners.keys()].join(", ")}`);
    return found;
  };
  return {
    status: () => [...runners.values()].map((one) => one.status()),
    pause: (job) => runner(job).pause(),
    resume: (job) => runner(job).resume(),
    runNow: (job) => {
      // Asked for by name, a sweep looks at everything.
      if (job === garbage.name) garbage.sweepFully();
      runner(job).runNow();
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all([...runners.values()].map((one) => one[Symbol.asyncDispose]()));
    },
  };
}
