/** Index, disks and object layer of one process, opened in order and closed in the reverse one. */
import { CodecByName } from "#codec/codec-by-name.ts";
import { type Keeper, startKeeper } from "#keeper/start-keeper.ts";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { Metrics } from "#lib/metrics.ts";
import type { Random } from "#lib/random.ts";
import { systemDisk } from "#lib/system-disk.ts";
import type { WorkerPlan } from "#local/messages.ts";
import { openIndex } from "#metadata/index-log.ts";
import type { Session } from "#metadata/metadata-store.ts";
import { createDataPlane } from "#objects/create-data-plane.ts";
import { createObjectLayer } from "#objects/layer.ts";
import type { ObjectLayer } from "#objects/object-layer.ts";
import { StorageClasses } from "#objects/storage-classes.ts";
import { CurrentMap } from "#placement/current-map.ts";
import { type DiskStore, openDiskStore } from "#storage/disk-store.ts";
import { keepCompacted } from "#storage/keep-compacted.ts";

export interface LocalNode extends AsyncDisposable {
  readonly objects: ObjectLayer;
  readonly session: Session;
  /** Begins the background work of the machine; only in the elected process. */
  startKeeper(): void;
  /** Closes the volumes of processes that have ended. */
  takeOver(): Promise<void>;
  jobs(): readonly unknown[];
  /** Why this process can write no more and must be started again; undefined while all is well. */
  fault(): Error | undefined;
  measure(metrics: Metrics): Promise<void>;
}

export interface NodeParts {
  readonly plan: WorkerPlan;
  readonly log: Logger;
  readonly clock: Clock;
  readonly random: Random;
}

export async function openNode({ plan, log, clock, random }: NodeParts): Promise<LocalNode> {
  const { settings, clusterId } = plan;
  const closing = new AsyncDisposableStack();
  const lifetime = new AbortController();
  const index = closing.use(await openIndex({ layout: plan.indexLayout, log }));
  const metadata = index.store;
  const stores = new Map<string, DiskStore>();
  for (const { path, diskId } of plan.folders) {
    const store = closing.use(
      await openDiskStore({ disk: systemDisk(path), clusterId, clock, log, random }),
    );
    stores.set(diskId, store);
  }
  const session = closing.use(await metadata.session());
  const map = closing.use(await CurrentMap.open({ metadata, clock, log }));
  const classes = new StorageClasses({
    codecs: new CodecByName(),
    names: { STANDARD: plan.codec },
    smallBytes: settings.smallObject,
  });
  const data = closing.use(
    createDataPlane({ stores, map, metadata, session, clusterId, classes, clock, random, log }),
  );
  const objects = createObjectLayer({
    store: metadata,
    data,
    session,
    clock,
    random,
    lifetime: lifetime.signal,
  });
  closing.defer(() => lifetime.abort());
  let keeper: Keeper | undefined;
  return {
    objects,
    session,
    startKeeper: () => {
      if (keeper !== undefined) return;
      closing.use(keepCompacted(stores.values(), { clock, log }));
      keeper = closing.use(
        startKeeper({
          metadata,
          session,
          stores,
          map,
          classes,
          clusterId,
          layer: objects,
          snapshot: async () => index.maintain(),
          clock,
          log,
          trashRetentionMs: settings.trashRetention,
          repairBytesPerSecond: settings.repairRate,
          scrubRoundMs: settings.scrubInterval,
        }),
      );
    },
    takeOver: async () => {
      for (const store of stores.values()) await store.recover();
    },
    fault: () => metadata.fault,
    jobs: () => keeper?.status() ?? [],
    measure: async (metrics) => {
      for (const [disk, store] of stores) {
        const health = await store.health();
        for (const kind of ["capacity", "free", "live", "used"] as const) {
          metrics.diskBytes.set({ disk, kind }, health[kind]);
        }
        metrics.diskState.set({ disk }, health.state === "writable" ? 1 : 0);
      }
    },
    [Symbol.asyncDispose]: () => closing.disposeAsync(),
  };
}
