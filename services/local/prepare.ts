/**
 * The machine before any worker serves: its folders locked and known, its index in order, its disks in the placement
 * map, the first user's keys and the operator's buckets there.
 */
import { join, resolve } from "node:path";
import type { Logger } from "#lib/log.ts";
import { systemRandom } from "#lib/random.ts";
import { createBuckets } from "#local/create-buckets.ts";
import {
  CREDENTIALS_FILE,
  type Credentials,
  firstUser,
  loadCredentials,
} from "#local/credentials.ts";
import { type ChosenCodec, chooseCodec } from "#local/default-codec.ts";
import { type FoundFolder, findFolders, joinFolder } from "#local/machine.ts";
import type { FolderPlan } from "#local/messages.ts";
import { asOperatorFault, EXIT_IO, fullFault, OperatorFault } from "#local/operator-fault.ts";
import type { IndexLayout } from "#metadata/index-layout.ts";
import { type LocalIndex, openIndex } from "#metadata/index-log.ts";
import { recoverIndex } from "#metadata/index-recovery.ts";
import { MetadataFull, type MetadataStore } from "#metadata/metadata-store.ts";
import { changeMap } from "#placement/change-map.ts";
import type { PlacedDisk, PlacementMap } from "#placement/placement-map.ts";
import { GROUP_COUNT_DEFAULT } from "#placement/placement-map.ts";
import { decodeMap, MAP_KEY } from "#placement/placement-record.ts";
import type { Settings } from "#settings.ts";

export interface Prepared {
  readonly clusterId: string;
  readonly folders: readonly FolderPlan[];
  readonly map: PlacementMap;
  readonly codec: ChosenCodec;
  readonly indexLayout: IndexLayout;
  readonly metadata: LocalIndex["store"];
  readonly credentials: Credentials;
  /** Where the keys are kept. */
  readonly credentialsPath: string;
  /** What the operator should know, a line each. */
  readonly notes: readonly string[];
}

/** With no more than this free nothing can be opened. */
const NO_ROOM_BYTES = 2 ** 20;
/** Twice what the index wants to be free for new records. */
const INDEX_ROOM_BYTES = 128 * 2 ** 20;

/** What was opened stays so until `closing` is disposed of. */
export async function prepareMachine(
  settings: Settings,
  { log, closing }: { log: Logger; closing: AsyncDisposableStack },
): Promise<Prepared> {
  const found = await findFolders(settings.folders, {
    closing,
    isReplaced: (path) => isReplaced(path, settings),
  });
  try {
    return await prepareFolders(found, { settings, log, closing });
  } catch (error) {
    throw await fullOr(error, found);
  }
}

async function prepareFolders(
  found: readonly FoundFolder[],
  { settings, log, closing }: { settings: Settings; log: Logger; closing: AsyncDisposableStack },
): Promise<Prepared> {
  const clusterId =
    found.find((folder) => folder.clusterId)?.clusterId ?? systemRandom.bytes(16).toString("hex");
  const index = await openMachineIndex(found, settings, log);
  closing.use(index.local);
  const metadata = index.local.store;
  // No process of an earlier start is left: the folders' locks are ours.
  await metadata.endAllSessions();
  const placed = await placeFolders({ found, settings, clusterId, metadata, closing });
  const { folders } = placed;
  const disks = found.filter(({ path }) => folders.some((folder) => folder.path === path));
  const credentials = await loadCredentials(
    settings,
    disks.map(({ disk }) => disk),
    systemRandom,
  );
  const { ownerId } = firstUser(credentials);
  const notes = [...placed.notes, ...(await createBuckets({ settings, metadata, ownerId }))];
  return {
    ...placed,
    clusterId,
    indexLayout: index.layout,
    metadata,
    credentials,
    credentialsPath: join(folders[0]?.path ?? "", CREDENTIALS_FILE),
    notes,
  };
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
  const copies = Math.min(folders.length, mayLose + 1);
  try {
    const layout = await recoverIndex({ folders, copies, log });
    return { layout, local: await openIndex({ layout, log }) };
  } catch (error) {
    throw asOperatorFault(error, EXIT_IO);
  }
}

/** A disk without room is behind faults of many kinds; then only that is said. */
async function fullOr(error: unknown, found: readonly FoundFolder[]): Promise<unknown> {
  const isFull = [error, (error as Error).cause].some((each) => each instanceof MetadataFull);
  for (const { path, disk, isLocked } of found) {
    if (!isLocked) continue;
    const { free } = await disk.space();
    if (free < (isFull ? INDEX_ROOM_BYTES : NO_ROOM_BYTES)) return fullFault(path, error);
  }
  return error;
}

function isReplaced(path: string, settings: Settings): boolean {
  return settings.replace.some((replaced) => resolve(replaced) === path);
}

interface Placed {
  readonly folders: readonly FolderPlan[];
  readonly map: PlacementMap;
  readonly notes: readonly string[];
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
  if (old !== undefined && found.every(({ diskId }) => diskId === undefined)) {
    throw new OperatorFault(
      `Cannot use ${found[0]?.path}: it holds an index but no disk.json that says whose; put that file back`,
      EXIT_IO,
    );
  }
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

function placedDisk({ diskId, path }: FolderPlan): PlacedDisk {
  return { id: diskId, node: "local", zone: "local", weight: 1, state: "active", label: path };
}
