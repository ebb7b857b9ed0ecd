/** A data plane over memory disks, for the tests of the object layer and of the keeper. */
import { CodecByName } from "#codec/codec-by-name.ts";
import { systemClock } from "#lib/clock.ts";
import { silentLog } from "#lib/log.ts";
import { type Random, SeededRandom } from "#lib/random.ts";
import { MemoryMetadata } from "#metadata/memory.ts";
import type { Session } from "#metadata/metadata-store.ts";
import { createDataPlane, type RunningDataPlane } from "#objects/create-data-plane.ts";
import type { ExtentOwner } from "#objects/data-plane.ts";
import type { Extent, ObjectBody } from "#objects/model.ts";
import type { QuorumTimes } from "#objects/quorum.ts";
import { StorageClasses } from "#objects/storage-classes.ts";
import { MemoryDisk } from "#objects/testing/memory-disk.ts";
import { changeMap } from "#placement/change-map.ts";
import { CurrentMap } from "#placement/current-map.ts";
import type { PlacedDisk } from "#placement/placement-map.ts";

export const CLUSTER = "c".repeat(32);
export const OWNER: ExtentOwner = { bucketId: "b".repeat(32), bucketName: "bucket", key: "key" };

/** Those of all tests: making one takes megabytes. */
const CODECS = new CodecByName();

export interface BenchOptions {
  readonly disks: number;
  readonly codec: string;
  readonly groupCount?: number;
  readonly times?: QuorumTimes;
  readonly readBytesMax?: number;
  readonly random?: Random;
  readonly metadata?: MemoryMetadata;
}

export class DataPlaneBench implements AsyncDisposable {
  readonly metadata: MemoryMetadata;
  readonly disks: MemoryDisk[];
  readonly stores: Map<string, MemoryDisk>;
  readonly classes: StorageClasses;
  readonly map: CurrentMap;
  readonly session: Session;
  readonly data: RunningDataPlane;
  readonly #options: BenchOptions;
  readonly #random: Random;

  private constructor(
    options: BenchOptions,
    parts: Pick<DataPlaneBench, "metadata" | "disks" | "stores" | "classes" | "map" | "session">,
  ) {
    this.#options = options;
    this.#random = options.random ?? new SeededRandom(1);
    this.metadata = parts.metadata;
    this.disks = parts.disks;
    this.stores = parts.stores;
    this.classes = parts.classes;
    this.map = parts.map;
    this.session = parts.session;
    this.data = this.dataPlaneOf(parts.session);
  }

  static async open(options: BenchOptions): Promise<DataPlaneBench> {
    const metadata = options.metadata ?? new MemoryMetadata();
    const disks = Array.from({ length: options.disks }, (_, at) => new MemoryDisk(diskId(at)));
    const stores = new Map(disks.map((disk) => [disk.diskId, disk]));
    const classes = new StorageClasses({ codecs: CODECS, names: { STANDARD: options.codec } });
    const { groupCount = 8 } = options;
    const placement = { clusterId: CLUSTER, width: classes.width, groupCount };
    await changeMap(metadata, { ...placement, disks: disks.map(placed) });
    const map = await CurrentMap.open({ metadata, clock: systemClock, log: silentLog });
    const session = await metadata.session();
    return new DataPlaneBench(options, { metadata, disks, stores, classes, map, session });
  }

  /** As another process would have it. */
  dataPlaneOf(session: Session): RunningDataPlane {
    const { stores, map, metadata, classes } = this;
    const { times = {}, readBytesMax = 1 << 26 } = this.#options;
    const random = this.#random;
    const clusterId = CLUSTER;
    const parts = { stores, map, metadata, session, clusterId, classes, random };
    return createDataPlane({ ...parts, clock: systemClock, log: silentLog, times, readBytesMax });
  }

  /** A disk lost for good and an empty one in its place. */
  async replace(at: number): Promise<MemoryDisk> {
    const fresh = new MemoryDisk(diskId(this.stores.size + at + 100));
    this.stores.delete(this.disks[at]?.diskId ?? "");
    this.stores.set(fresh.diskId, fresh);
    this.disks[at] = fresh;
    const { classes, metadata } = this;
    const disks = this.disks.map(placed);
    await changeMap(metadata, { clusterId: CLUSTER, disks, width: classes.width, groupCount: 1 });
    await this.map.refresh();
    return fresh;
  }

  /** One more disk; groups move onto it. This process's map stays behind until it is refreshed. */
  async add(): Promise<MemoryDisk> {
    const fresh = new MemoryDisk(diskId(this.disks.length + 50));
    this.disks.push(fresh);
    this.stores.set(fresh.diskId, fresh);
    const disks = this.disks.map(placed);
    const { classes, metadata } = this;
    await changeMap(metadata, { clusterId: CLUSTER, disks, width: classes.width, groupCount: 1 });
    return fresh;
  }

  async write(bytes: Uint8Array, piece = 64 * 1024): Promise<readonly Extent[]> {
    const written = await this.data.write(request(new TestBody(bytes, { piece })));
    const { expect, put } = written;
    const outcome = await this.metadata.commit({ expect, put, remove: [] });
    written.settle(outcome.kind === "committed" ? "committed" : "not-committed");
    return written.extents;
  }

  async read(extents: readonly Extent[], start: number, end: number): Promise<Buffer> {
    const pieces: Uint8Array[] = [];
    const signal = AbortSignal.timeout(10_000);
    for await (const piece of this.data.read({ extents, start, end, signal })) pieces.push(piece);
    return Buffer.concat(pieces);
  }

  /** Shards on all disks. */
  get shards(): number {
    return this.disks.reduce((sum, disk) => sum + disk.size, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.data[Symbol.asyncDispose]();
    await this.map[Symbol.asyncDispose]();
  }
}

export function request(body: ObjectBody, owner = OWNER) {
  const signal = AbortSignal.timeout(20_000);
  return { body, owner, storageClass: "STANDARD", describe: described, signal };
}

function described(): Uint8Array {
  return Buffer.from("described");
}

/** Bytes in pieces, of announced or unknown size; may fail at its end. */
export class TestBody implements ObjectBody {
  readonly size: number | undefined;
  readonly #bytes: Uint8Array;
  readonly #piece: number;
  readonly #failure: Error | undefined;
  isClosed = false;

  constructor(
    bytes: Uint8Array,
    options: { piece?: number; isSizeKnown?: boolean; failure?: Error } = {},
  ) {
    this.#bytes = bytes;
    this.#piece = options.piece ?? 64 * 1024;
    this.#failure = options.failure;
    this.size = options.isSizeKnown === false ? undefined : bytes.length;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, void> {
    try {
      for (let at = 0; at < this.#bytes.length; at += this.#piece) {
        yield this.#bytes.subarray(at, at + this.#piece);
      }
      if (this.#failure) throw this.#failure;
    } finally {
      this.isClosed = true;
    }
  }

  digests() {
    return { md5: new Uint8Array(16), checksum: undefined };
  }
}

export function pattern(length: number, seed = 1): Buffer {
  const block = new SeededRandom(seed).bytes(Math.min(length, 65_537));
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at += block.length) block.copy(bytes, at);
  return bytes;
}

function diskId(at: number): string {
  return at.toString(16).padStart(32, "0");
}

function placed(disk: MemoryDisk): PlacedDisk {
  const { diskId: id } = disk;
  return { id, node: "node", zone: "zone", weight: 1, state: "active", label: `/disk/${id}` };
}
