/**
 * Prepares the folders of one machine before any worker opens them: each is locked, known as a disk of one
 * cluster, and has its place in the placement map. Runs once at each start, in the supervising process.
 */

import { existsSync } from "node:fs";
import { access, constants, mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Disk, DiskLock } from "#lib/disk.ts";
import type { Random } from "#lib/random.ts";
import { systemDisk } from "#lib/system-disk.ts";
import type { FolderPlan } from "#local/messages.ts";
import { EXIT_CONFIGURATION, EXIT_IO, folderFault, OperatorFault } from "#local/operator-fault.ts";
import { DiskRefused, prepareDisk, readIdentity } from "#storage/disk-identity.ts";

export interface FoundFolder {
  readonly path: string;
  readonly disk: Disk;
  /** undefined: empty, or gone. */
  readonly diskId: string | undefined;
  readonly clusterId: string | undefined;
}

const LOCK_FILE = "in-use.lock";

/** Takes the folders' locks and reads whose they are. One that is missing beside known ones may be a disk that is not mounted: it is not made here. */
export async function findFolders(
  paths: readonly string[],
  closing: AsyncDisposableStack,
): Promise<readonly FoundFolder[]> {
  const absolute = paths.map((path) => resolve(path));
  const twice = absolute.find((path, index) => absolute.indexOf(path) !== index);
  if (twice !== undefined) {
    throw new OperatorFault(
      `Cannot use ${twice} twice: give one folder for each disk`,
      EXIT_CONFIGURATION,
    );
  }
  const isFirstStart = !absolute.some((path) => existsSync(join(path, "disk.json")));
  const found: FoundFolder[] = [];
  for (const path of absolute) {
    const disk = systemDisk(path);
    if (!isFirstStart && !existsSync(path)) {
      found.push({ path, disk, diskId: undefined, clusterId: undefined });
      continue;
    }
    closing.use(await takeFolder(path, disk));
    const identity = await refusing(path, () => readIdentity(disk));
    found.push({ path, disk, diskId: identity?.diskId, clusterId: identity?.clusterId });
  }
  checkOneCluster(found);
  return found;
}

/** Makes an empty folder a disk of the cluster. */
export async function joinFolder(
  folder: FoundFolder,
  {
    clusterId,
    random,
    closing,
  }: { clusterId: string; random: Random; closing: AsyncDisposableStack },
): Promise<FolderPlan> {
  if (!existsSync(folder.path)) closing.use(await takeFolder(folder.path, folder.disk));
  const identity = await refusing(folder.path, () =>
    prepareDisk(folder.disk, { clusterId, random }),
  );
  return { path: folder.path, diskId: identity.diskId };
}

/** Makes the folder where there is none, and sees to it that nobody else runs on it. */
async function takeFolder(path: string, disk: Disk): Promise<DiskLock> {
  await makeWritable(path);
  const lock = await refusing(path, () => disk.lock(LOCK_FILE));
  if (lock !== undefined) return lock;
  throw new OperatorFault(
    `Cannot use ${path}: another Anybucket is running on it`,
    EXIT_CONFIGURATION,
  );
}

async function makeWritable(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
    await access(path, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw folderFault(error as NodeJS.ErrnoException, path);
  }
}

async function refusing<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof DiskRefused) throw new OperatorFault(error.message, EXIT_IO, error);
    throw folderFault(error as NodeJS.ErrnoException, path);
  }
}

function checkOneCluster(folders: readonly FoundFolder[]): void {
  const known = folders.filter(({ clusterId }) => clusterId !== undefined);
  const [first] = known;
  const other = known.find(({ clusterId }) => clusterId !== first?.clusterId);
  if (first === undefined || other === undefined) return;
  throw new OperatorFault(
    `Cannot use ${other.path} with ${first.path}: it holds the data of another Anybucket (cluster ${other.clusterId}, not ${first.clusterId})`,
    EXIT_CONFIGURATION,
  );
}
