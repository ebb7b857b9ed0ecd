/**
 * Whose disk this is: `disk.json` in its root. A folder that lost it is an unmounted disk, not a new
 * one, and a disk of another cluster holds somebody else's data: both are refused (R29).
 */
import type { Disk, DiskLock } from "#lib/disk.ts";
import type { Random } from "#lib/random.ts";

export interface DiskIdentity {
  readonly formatVersion: number;
  readonly clusterId: string;
  /** 32 hex digits. */
  readonly diskId: string;
  /** Random; makes the checksums of this disk's records its own. */
  readonly secret: Buffer;
}

const FORMAT_VERSION = 1;
const PATH = "disk.json";

export type IdentityFault =
  /** No `disk.json`: an empty folder to be prepared, or a disk that is not mounted. */
  | "missing"
  | "foreign-cluster"
  | "newer-format"
  | "unreadable"
  /** There are volumes, but no `disk.json` that says whose. */
  | "incomplete"
  | "in-use";

/** Why a folder cannot be used as a disk; `reason` lets the caller word it for the operator. */
export class DiskRefused extends Error {
  override readonly name = "DiskRefused";
  readonly reason: IdentityFault;

  constructor(reason: IdentityFault, message: string, cause?: unknown) {
    super(message, { cause });
    this.reason = reason;
  }
}

/** Undefined when the folder holds no `disk.json` and no volumes either. */
export async function readIdentity(disk: Disk): Promise<DiskIdentity | undefined> {
  const bytes = await disk.readFile(PATH);
  if (bytes === undefined) {
    if ((await disk.list("volumes")).length === 0) return undefined;
    throw new DiskRefused(
      "incomplete",
      `Cannot open ${nameOf(disk)}: it has volumes but no disk.json`,
    );
  }
  return parseIdentity(bytes, nameOf(disk));
}

/** Makes the folder a disk of the cluster, or answers what it is already. Nothing in it is touched. */
export async function prepareDisk(
  disk: Disk,
  { clusterId, random }: { clusterId: string; random: Random },
): Promise<DiskIdentity> {
  const known = await readIdentity(disk);
  if (known !== undefined) return checkCluster(known, { disk, clusterId });
  const identity: DiskIdentity = {
    formatVersion: FORMAT_VERSION,
    clusterId,
    diskId: random.bytes(16).toString("hex"),
    secret: random.bytes(16),
  };
  await disk.makeFolder("");
  const text = JSON.stringify({ ...identity, secret: identity.secret.toString("hex") }, null, 2);
  await disk.writeFile(PATH, Buffer.from(`${text}\n`));
  return identity;
}

/** The identity of a disk that must be there already. */
export async function requireIdentity(disk: Disk, clusterId: string): Promise<DiskIdentity> {
  const identity = await readIdentity(disk);
  if (identity === undefined) {
    throw new DiskRefused(
      "missing",
      `Cannot open ${nameOf(disk)}: disk.json is missing; is the disk mounted?`,
    );
  }
  return checkCluster(identity, { disk, clusterId });
}

/**
 * To be held as long as a server uses the folder, by the process that supervises it; its workers share
 * it. The kernel gives it back when that process is gone, however it went.
 */
export async function lockFolder(disk: Disk): Promise<DiskLock> {
  const lock = await disk.lock("lock");
  if (lock !== undefined) return lock;
  throw new DiskRefused("in-use", `Cannot open ${nameOf(disk)}: another server is using it`);
}

function checkCluster(
  identity: DiskIdentity,
  { disk, clusterId }: { disk: Disk; clusterId: string },
): DiskIdentity {
  if (identity.clusterId === clusterId) return identity;
  throw new DiskRefused(
    "foreign-cluster",
    `Cannot open ${nameOf(disk)}: it belongs to cluster ${identity.clusterId}, not to ${clusterId}`,
  );
}

function parseIdentity(bytes: Buffer, name: string): DiskIdentity {
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(bytes.toString("utf8")) as Record<string, unknown>;
  } catch (cause) {
    throw new DiskRefused("unreadable", `Cannot open ${name}: disk.json is not JSON`, cause);
  }
  const { formatVersion, clusterId, diskId, secret } = fields;
  if (typeof formatVersion === "number" && formatVersion > FORMAT_VERSION) {
    throw new DiskRefused(
      "newer-format",
      `Cannot open ${name}: its format is ${formatVersion}, newest known is ${FORMAT_VERSION}`,
    );
  }
  if (formatVersion !== FORMAT_VERSION || typeof clusterId !== "string") {
    throw new DiskRefused("unreadable", `Cannot open ${name}: disk.json lacks its fields`);
  }
  if (!isHex(diskId) || !isHex(secret)) {
    throw new DiskRefused("unreadable", `Cannot open ${name}: disk.json has no valid ids`);
  }
  return { formatVersion, clusterId, diskId, secret: Buffer.from(secret, "hex") };
}

function isHex(value: unknown): value is string {
  return typeof value === "string" && /^[0-9a-f]{32}$/.test(value);
}

function nameOf(disk: Disk): string {
  return disk.root ?? "disk in memory";
}
