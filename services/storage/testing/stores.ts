/** Stores to test with: on a folder that is removed afterwards, or on a disk in memory. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "#lib/clock.ts";
import type { Disk } from "#lib/disk.ts";
import { FaultyDisk } from "#lib/faulty-disk.ts";
import { silentLog } from "#lib/log.ts";
import { SeededRandom, systemRandom } from "#lib/random.ts";
import { systemDisk } from "#lib/system-disk.ts";
import { prepareDisk } from "#storage/disk-identity.ts";
import { type DiskStore, openDiskStore } from "#storage/disk-store.ts";
import type { StorageOptions } from "#storage/options.ts";

/** Volumes so short that tests see them fill. */
export const SMALL: Partial<StorageOptions> = {
  volumeBytes: 256 * 1024,
  reserveBytes: 0,
  openVolumesMax: 4,
};

export const CLUSTER = "cluster-a";

export async function openStore(
  disk: Disk,
  options: Partial<StorageOptions> = SMALL,
): Promise<DiskStore> {
  await prepareDisk(disk, { clusterId: CLUSTER, random: systemRandom });
  return openDiskStore({ disk, clusterId: CLUSTER, clock: systemClock, log: silentLog, options });
}

export function memoryDisk(seed = 1, capacity?: number): FaultyDisk {
  const random = new SeededRandom(seed);
  return new FaultyDisk({ random, ...(capacity === undefined ? {} : { capacity }) });
}

/** A folder of its own, gone when disposed of. */
export async function temporaryDisk(): Promise<AsyncDisposable & { readonly disk: Disk }> {
  const root = await mkdtemp(join(tmpdir(), "anybucket-storage-"));
  return {
    disk: systemDisk(root),
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }),
  };
}
