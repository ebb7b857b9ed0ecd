/**
 * Prepares the folders of one machine before any worker opens them: each is locked, known as a disk of one
 * cluster, and has its place in the placement map. Runs once at each start, in the supervising process.
 */

import { access, constants, mkdir, readdir } from "node:fs/promises";
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
  readonly isLocked: boolean;
}

const LOCK_FILE = "in-use.lock";

/** What a folder may hold that is to become a disk: what file systems and Git put there, and what a start that was cut short leaves. */
const NOT_FOREIGN = new Set([
  "lost+found",
  ".gitignore",
  ".gitkeep",
  LOCK_FILE,
  `${LOCK_FILE}-journal`,
  "disk.json.new",
  "metadata",
]);
/** What is opened for writing, and may be another user's though the folder is ours: an earlier start by root made it. */
const OPENED = [
  "disk.json",
  "credentials.json",
  LOCK_FILE,
  "metadata",
  "metadata/data.mdb",
  "index/data.mdb",
  "locks",
  "volumes",
];

/**
 * Takes the folders' locks and reads whose they are. One without a disk.json beside known ones may be a disk that is
 * not mounted: nothing is written to it here.
 */
export async function findFolders(
  paths: readonly string[],
  { closing, isReplaced }: { closing: AsyncDisposableStack; isReplaced: (path: string) => boolean },
): Promise<readonly FoundFolder[]> {
  const absolute = paths.map((path) => resolve(path));
  const twice = absolute.find((path, index) => absolute.indexOf(path) !== index);
  if (twice !== undefined) {
    throw new OperatorFault(
      `Cannot use ${twice} twice: give one folder for each disk`,
      EXIT_CONFIGURATION,
    );
  }
  const known = await Promise.all(absolute.map((path) => isKnown(path)));
  const isFirstStart = !known.includes(true);
  const found: FoundFolder[] = [];
  for (const [index, path] of absolute.entries()) {
    const disk = systemDisk(path);
    const isLocked = isFirstStart || known[index] === true || isReplaced(path);
    if (isLocked) closing.use(await takeFolder(path, disk));
    const identity = isLocked ? await refusing(path, () => readIdentity(disk)) : undefined;
    const { diskId, clusterId } = identity ?? { diskId: undefined, clusterId: undefined };
    found.push({ path, disk, diskId, clusterId, isLocked });
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
  if (!folder.isLocked) closing.use(await takeFolder(folder.path, folder.disk));
  const identity = await refusing(folder.path, () =>
    prepareDisk(folder.disk, { clusterId, random }),
  );
  return { path: folder.path, diskId: identity.diskId };
}

async function isKnown(path: string): Promise<boolean> {
  try {
    await access(join(path, "disk.json"));
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return false;
    throw folderFault(error as NodeJS.ErrnoException, path);
  }
}

/** Makes the folder where there is none, and sees to it that nobody else runs on it or has files in it. */
async function takeFolder(path: string, disk: Disk): Promise<DiskLock> {
  await makeWritable(path);
  await refuseForeign(path);
  const lock = await refusing(path, () => disk.lock(LOCK_FILE));
  if (lock !== undefined) return lock;
  throw new OperatorFault(
    `Cannot use ${path}: another Anybucket is running on it`,
    EXIT_CONFIGURATION,
  );
}

async function makeWritable(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    await access(path, constants.R_OK | constants.W_OK | constants.X_OK);
    for (const name of OPENED) {
      const inside = join(path, name);
      if (await isThere(inside)) await access(inside, constants.R_OK | constants.W_OK);
    }
  } catch (error) {
    throw folderFault(error as NodeJS.ErrnoException, path);
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

/** A folder that others use is not filled up with ours: most often it is a mistake in a path. */
async function refuseForeign(path: string): Promise<void> {
  const names = await readdir(path);
  if (names.includes("disk.json")) return;
  if (names.includes("volumes") || names.includes("credentials.json")) {
    throw new OperatorFault(
      `Cannot use ${path}: it holds data of an Anybucket but no disk.json that says whose; put that file back`,
      EXIT_IO,
    );
  }
  const foreign = names.filter((name) => !NOT_FOREIGN.has(name)).toSorted();
  const [first] = foreign;
  if (first === undefined) return;
  const others = foreign.length > 1 ? ` and ${foreign.length - 1} more` : "";
  throw new OperatorFault(
    `Cannot use ${path}: it holds other files (${first}${others}); give an empty folder`,
    EXIT_CONFIGURATION,
  );
}

async function refusing<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof DiskRefused) {
      const isForeign = error.reason === "foreign-cluster";
      throw new OperatorFault(error.message, isForeign ? EXIT_CONFIGURATION : EXIT_IO, error);
    }
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
