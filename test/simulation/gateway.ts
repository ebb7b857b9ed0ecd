/** A gateway or keeper of the simulated cluster: the program's own object layer over simulated links. */
import { CodecByName } from "#codec/codec-by-name.ts";
import { RemovalTerms } from "#keeper/removal-terms.ts";
import { type Keeper, startKeeper } from "#keeper/start-keeper.ts";
import { silentLog } from "#lib/log.ts";
import type { Session } from "#metadata/metadata-store.ts";
import { createDataPlane, type RunningDataPlane } from "#objects/create-data-plane.ts";
import { createObjectLayer, type IndexLayer } from "#objects/layer.ts";
import { StorageClasses } from "#objects/storage-classes.ts";
import { CurrentMap } from "#placement/current-map.ts";
import type { ShardStore } from "#shards/shard-store.ts";
import { IndexLink, type IndexServer } from "./metadata-link.ts";
import type { Network } from "./network.ts";
import { CLUSTER_ID, type Node } from "./node.ts";
import { ShardLink } from "./shard-link.ts";
import { Process, type World } from "./world.ts";

export interface MachineParts {
  readonly world: World;
  readonly network: Network;
  readonly index: IndexServer;
  /** By disk id, those of now; disks come and go. */
  readonly nodes: ReadonlyMap<string, Node>;
  readonly codec: string;
  readonly smallBytes: number;
}

export interface KeeperTimes {
  readonly trashRetentionMs: number;
  readonly scrubRoundMs: number;
}

const JOBS = ["repair", "trash", "garbage", "scrub", "uploads"] as const;
const KEEP_ALIVE_MS = 3000;
const OPEN_AGAIN_MS = 1000;

/** What a running process has. */
interface Running {
  readonly layer: IndexLayer;
  readonly data: RunningDataPlane;
  readonly map: CurrentMap;
  readonly session: Session;
  readonly keeper: Keeper | undefined;
}

export class Machine {
  readonly name: string;
  readonly #parts: MachineParts;
  readonly #times: KeeperTimes | undefined;
  process: Process;
  #running: Running | undefined;
  #skewMs = 0;

  /** With `times` it does background work as well. */
  constructor(name: string, parts: MachineParts, times?: KeeperTimes) {
    this.name = name;
    this.#parts = parts;
    this.#times = times;
    this.process = new Process(parts.world, name);
  }

  /** undefined: it is down, or not open yet. */
  get layer(): IndexLayer | undefined {
    return this.#running?.layer;
  }

  get keeper(): Keeper | undefined {
    return this.#running?.keeper;
  }

  get map(): CurrentMap | undefined {
    return this.#running?.map;
  }

  /** Publishes the low-water mark, and does at once what the keeper does now and then. */
  hurry(): void {
    const { data, keeper } = this.#running ?? {};
    data?.quiesce().catch(() => undefined);
    for (const job of JOBS) keeper?.runNow(job);
  }

  set skewMs(ms: number) {
    this.#skewMs = ms;
    this.process.skewMs = ms;
  }

  /** Begins to open, and tries until it is open or killed. */
  start(): void {
    if (!this.process.isAlive) this.process = new Process(this.#parts.world, this.name);
    const { process } = this;
    process.skewMs = this.#skewMs;
    const attempt = async () => {
      try {
        this.#running = await this.#open(process);
        this.#keepAlive(process, this.#running);
      } catch {
        process.after(OPEN_AGAIN_MS, "open again", () => void attempt());
      }
    };
    process.after(0, "open", () => void attempt());
  }

  kill(): void {
    this.#running = undefined;
    this.process.kill();
  }

  async #open(process: Process): Promise<Running> {
    const { world, network, index, nodes, codec, smallBytes } = this.#parts;
    const { clock } = process;
    const { random } = world;
    const log = silentLog;
    const metadata = new IndexLink({ network, from: process, server: index });
    const session = await metadata.session();
    const map = await CurrentMap.open({ metadata, clock, log });
    const codecs = new CodecByName({ stripeMemoryBytes: 0 });
    const classes = new StorageClasses({ codecs, names: { STANDARD: codec }, smallBytes });
    const stores = new LinkedStores(nodes, (diskId) => {
      return new ShardLink({ network, from: process, diskId, server: () => nodes.get(diskId) });
    });
    const lifetime = new AbortController();
    process.onDeath(() => lifetime.abort());
    const shared = { stores, map, metadata, session, classes, clock, random, log };
    const data = createDataPlane({ ...shared, clusterId: CLUSTER_ID, readBytesMax: 1 << 26 });
    const layer = createObjectLayer({
      store: metadata,
      data,
      session,
      clock,
      random,
      lifetime: new AbortController().signal,
    });
    const removals = new RemovalTerms({ metadata, log });
    const times = this.#times;
    const keeper =
      times && startKeeper({ ...shared, clusterId: CLUSTER_ID, layer, removals, ...times });
    return { layer, data, map, session, keeper };
  }

  /** A process whose session is gone can commit nothing any more: it is started again. */
  #keepAlive(process: Process, running: Running): void {
    const { network, index } = this.#parts;
    const link = new IndexLink({ network, from: process, server: index });
    const look = async () => {
      const isThere = await link.keepAlive(running.session.id).catch(() => true);
      if (isThere) {
        again();
        return;
      }
      this.#parts.world.count("process started again without a session");
      this.kill();
      this.start();
    };
    const again = () => process.after(KEEP_ALIVE_MS, "keep alive", () => void look());
    again();
  }
}

/** A link for each disk that there is now. */
class LinkedStores implements ReadonlyMap<string, ShardStore> {
  readonly #nodes: ReadonlyMap<string, Node>;
  readonly #make: (diskId: string) => ShardStore;
  readonly #links = new Map<string, ShardStore>();

  constructor(nodes: ReadonlyMap<string, Node>, make: (diskId: string) => ShardStore) {
    this.#nodes = nodes;
    this.#make = make;
  }

  get size(): number {
    return this.#nodes.size;
  }

  get(diskId: string): ShardStore | undefined {
    if (!this.#nodes.has(diskId)) return undefined;
    const known = this.#links.get(diskId);
    if (known !== undefined) return known;
    const link = this.#make(diskId);
    this.#links.set(diskId, link);
    return link;
  }

  has(diskId: string): boolean {
    return this.#nodes.has(diskId);
  }

  forEach(each: (store: ShardStore, diskId: string, all: LinkedStores) => void): void {
    for (const [diskId, store] of this) each(store, diskId, this);
  }

  *entries(): MapIterator<[string, ShardStore]> {
    for (const diskId of this.#nodes.keys()) {
      const store = this.get(diskId);
      if (store !== undefined) yield [diskId, store];
    }
  }

  keys(): MapIterator<string> {
    return this.#nodes.keys();
  }

  *values(): MapIterator<ShardStore> {
    for (const [, store] of this.entries()) yield store;
  }

  [Symbol.iterator](): MapIterator<[string, ShardStore]> {
    return this.entries();
  }
}
