/** Role `all`: one machine from its settings to the first screen, and back down in good order. */

import { join, resolve } from "node:path";
import { isatty } from "node:tty";
import { createLog, type Logger } from "#lib/log.ts";
import { systemRandom } from "#lib/random.ts";
import { parseAddress, reachableUrl } from "#local/address.ts";
import { banner } from "#local/banner.ts";
import { createBuckets } from "#local/create-buckets.ts";
import { CREDENTIALS_FILE, firstUser, loadCredentials } from "#local/credentials.ts";
import { type ChosenCodec, chooseCodec } from "#local/default-codec.ts";
import { type FoundFolder, findFolders, joinFolder } from "#local/machine.ts";
import type { FolderPlan, WorkerPlan } from "#local/messages.ts";
import { EXIT_CONFIGURATION, listenFault, OperatorFault } from "#local/operator-fault.ts";
import { Supervisor } from "#local/supervisor.ts";
import type { IndexLayout } from "#metadata/index-layout.ts";
import { type LocalIndex, openIndex } from "#metadata/index-log.ts";
import { recoverIndex } from "#metadata/index-recovery.ts";
import type { MetadataStore } from "#metadata/metadata-store.ts";
import { changeMap } from "#placement/change-map.ts";
import type { PlacedDisk, PlacementMap } from "#placement/placement-map.ts";
import { GROUP_COUNT_DEFAULT } from "#placement/placement-map.ts";
import { DIRTY_MARKS, decodeMap, MAP_KEY } from "#placement/placement-record.ts";
import type { Settings } from "#settings.ts";

const MARKS_COUNTED = 1000;

export async function runMachine(settings: Settings, version: string): Promise<void> {
  const log = createLog({ level: settings.logLevel, format: settings.logFormat });
  await using closing = new AsyncDisposableStack();
  const address = parseAddress(settings.address);
  const admin = parseAddress(settings.adminAddress);
  const found = await findFolders(settings.folders, closing);
  const clusterId =
    found.find((folder) => folder.clusterId)?.clusterId ?? systemRandom.bytes(16).toString("hex");
  const index = await openMachineIndex(found, settings, log);
  closing.use(index.local);
  const metadata = index.local.store;
  // No process of an earlier start is left: the folders' locks are ours.
  await metadata.endAllSessions();
  const { folders, map, notes, codec } = await placeFolders({
    found,
    settings,
    clusterId,
    metadata,
    closing,
  });
  const credentials = await loadCredentials(
    settings,
    found
      .filter(({ path }) => folders.some((folder) => folder.path === path))
      .map(({ disk }) => disk),
    systemRandom,
  );
  notes.push(
    ...(await createBuckets({ settings, metadata, ownerId: firstUser(credentials).ownerId })),
  );
  const plan = (worker: string): WorkerPlan => ({
    worker,
    settings,
    clusterId,
    folders,
    indexLayout: index.layout,
    credentials,
    codec: codec.name,
  });
  const supervisor = new Supervisor({
    plan,
    workers: settings.workers,
    bootId: systemRandom.bytes(4).toString("hex"),
    admin,
    drainMs: settings.drain,
    notes: async () => [...notes, ...(await repairNotes(metadata))],
    endSession: (session) => metadata.endSession(session),
    log,
  });
  const stopSignal = nextStopSignal();
  await starting(supervisor, settings);
  const scheme = settings.tlsCertFile === undefined ? "http" : "https";
  process.stdout.write(
    banner({
      version,
      s3: reachableUrl(address, scheme),
      admin: reachableUrl(admin, "http"),
      folders: folders.map(({ path }) => path),
      codec: codec.name,
      mayLose: codec.mayLose,
      disks: map.disks.length,
      workers: settings.workers,
      region: settings.region,
      credentials,
      credentialsPath: join(folders[0]?.path ?? "", CREDENTIALS_FILE),
      buckets: settings.buckets,
      notes,
      isTerminal: isatty(1),
    }),
  );
  log.info({ folders: map.disks.length, codec: codec.name, address: settings.address }, "Ready");
  process.on("SIGHUP", () => supervisor.reloadUsers());
  log.info({ signal: await stopSignal }, "Stopping");
  await supervisor.stop();
  log.flush();
}

/**
 * The index survives the loss of as many folders as the objects do. An empty folder beside known ones may be a
 * disk that is not mounted: it holds no copy of the index before it has its place, or the operator says so.
 */
async function openMachineIndex(
  found: readonly FoundFolder[],
  settings: Settings,
  log: Logger,
): Promise<{ layout: IndexLayout; local: LocalIndex }> {
  const known = found.filter(
    ({ diskId, path }) => diskId !== undefined || isReplaced(path, settings),
  );
  const folders = (known.length === 0 ? found : known).map(({ path }) => path);
  const { mayLose } = chooseCodec(settings.storageClass, found.length);
  const layout = await recoverIndex({
    folders,
    copies: Math.min(folders.length, mayLose + 1),
    log,
  });
  return { layout, local: await openIndex({ layout, log }) };
}

function isReplaced(path: string, settings: Settings): boolean {
  return settings.replace.some((replaced) => resolve(replaced) === path);
}

interface Placed {
  readonly folders: readonly FolderPlan[];
  readonly map: PlacementMap;
  readonly notes: string[];
  readonly codec: ChosenCodec;
}

/** Which folder is which disk of the map: known ones keep their place, new ones get one, missing ones keep theirs until replaced. */
async function placeFolders({
  found,
  settings,
  clusterId,
  metadata,
  closing,
}: {
  found: readonly FoundFolder[];
  settings: Settings;
  clusterId: string;
  metadata: MetadataStore;
  closing: AsyncDisposableStack;
}): Promise<Placed> {
  const stored = await metadata.get(MAP_KEY);
  const old = stored && decodeMap(stored.value);
  const folders: FolderPlan[] = [];
  const notes: string[] = [];
  let disks: PlacedDisk[] = [...(old?.disks ?? [])];
  for (const folder of found) {
    if (folder.diskId === undefined) {
      const lost = disks.find(({ label }) => label === folder.path);
      if (lost !== undefined && !isReplaced(folder.path, settings)) {
        notes.push(
          `degraded: the disk of ${folder.path} is missing; mount it, or start with --replace ${folder.path} to have an empty one filled`,
        );
        continue;
      }
      disks = disks.filter((disk) => disk !== lost);
    }
    const plan = await joinFolder(folder, { clusterId, random: systemRandom, closing });
    folders.push(plan);
    disks = disks.filter(({ id }) => id !== plan.diskId);
    disks.push(placedDisk(plan));
  }
  const codec = chooseCodec(settings.storageClass, disks.length);
  const map = await changeMap(metadata, {
    clusterId,
    disks,
    width: Math.min(disks.length, codec.width),
    groupCount: GROUP_COUNT_DEFAULT,
  });
  return { folders, map, notes, codec };
}

/** Marks are there from the moment a disk is replaced, or misses a write, until repair has seen to it. */
async function repairNotes(metadata: MetadataStore): Promise<readonly string[]> {
  const { entries } = await metadata.range({ ...DIRTY_MARKS, limit: MARKS_COUNTED });
  if (entries.length === 0) return [];
  const most = entries.length === MARKS_COUNTED ? "at least " : "";
  return [`degraded: repair has ${most}${entries.length} places to look at; see /jobs`];
}

function placedDisk({ diskId, path }: FolderPlan): PlacedDisk {
  return { id: diskId, node: "local", zone: "local", weight: 1, state: "active", label: path };
}

async function starting(supervisor: Supervisor, settings: Settings): Promise<void> {
  try {
    await supervisor.start();
  } catch (error) {
    const { syscall } = error as NodeJS.ErrnoException;
    if (
      syscall === "listen" ||
      (error as NodeJS.ErrnoException).code?.startsWith("EADDR") === true
    ) {
      const { port } = error as { port?: number };
      const isAdmin = port === parseAddress(settings.adminAddress).port;
      throw listenFault(
        error as NodeJS.ErrnoException,
        isAdmin ? settings.adminAddress : settings.address,
      );
    }
    throw new OperatorFault((error as Error).message, EXIT_CONFIGURATION, error);
  }
}

/** Asked for before the start, so that a signal during it is not lost and does not leave the workers behind. */
async function nextStopSignal(): Promise<string> {
  const stopped = Promise.withResolvers<string>();
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => stopped.resolve(signal));
  return await stopped.promise;
}
