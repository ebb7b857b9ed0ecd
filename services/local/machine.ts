/**
 * Prepares the folders of one machine before any worker opens them: each is locked, known as a disk of one
 * cluster, and has its place in the placement map. Runs once at each start, in the supervising process.
 */
import { access, constants, mkdir } from "node:fs/promises";
import { resolve } from "node:path";
import type { Disk } from "#lib/disk.ts";
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

/** Makes the folders that are missing, takes their locks, and reads whose they are. */
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
  const found: FoundFolder[] = [];
  for (const path of absolute) {
    await makeWritable(path);
    const disk = systemDisk(path);
    const lock = await disk.lock(LOCK_FILE);
    if (lock === undefined) {
      throw new OperatorFault(
        `Cannot use ${path}: another Anybucket is running on it`,
        EXIT_CONFIGURATION,
      );
    }
    closing.use(lock);
    const identity = await refusing(path, () => readIdentity(disk));
    found.push({ path, disk, diskId: identity?.diskId, clusterId: identity?.clusterId });
  }
  checkOneCluster(found);
  return found;
}

/** Makes an empty folder a disk of the cluster. */
export async function joinFolder(
  folder: FoundFolder,
  { clusterId, random }: { clusterId: string; random: Random },
): Promise<FolderPlan> {
  const identity = await refusing(folder.path, () =>
    prepareDisk(folder.disk, { clusterId, random }),
  );
  return { path: folder.path, diskId: identity.diskId };
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
