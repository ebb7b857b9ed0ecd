/** Asks every storage node now and then whether it is there, and keeps the background work to those that are. */
import { type Standing, Standings } from "#keeper/standings.ts";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { ShardStore, StoreHealth } from "#shards/shard-store.ts";

const EVERY_MS = 5000;
const ANSWER_MS = 4000;

export interface ProbedNode {
  readonly id: string;
  readonly stores: readonly ShardStore[];
  /** Health by disk id, of those that the node has. Throws when it does not answer. */
  probe(signal: AbortSignal): Promise<ReadonlyMap<string, StoreHealth>>;
}

export interface NodeProbeParts {
  readonly nodes: () => readonly ProbedNode[];
  readonly clock: Clock;
  readonly log: Logger;
}

export class NodeProbe implements AsyncDisposable {
  readonly standings: Standings;
  /** Of disks, by id, as far as their nodes answered: up is what shards can be read from and written to. */
  readonly disks: Standings;
  /** By disk id: those of nodes that are not down, and not failed. What background work may ask. */
  readonly reachable = new Map<string, ShardStore>();
  readonly #parts: NodeProbeParts;
  /** Cannot even be read. */
  readonly #unreadable = new Set<string>();
  readonly #stop = new AbortController();
  readonly #probing: Promise<void>;

  constructor(parts: NodeProbeParts) {
    this.#parts = parts;
    this.standings = new Standings(parts.clock);
    this.disks = new Standings(parts.clock);
    this.#refill();
    this.#probing = this.#run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error("The keeper is closing"));
    await this.#probing;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await Promise.all(this.#parts.nodes().map((node) => this.#probe(node, signal)));
      this.#refill();
      await this.#parts.clock.sleep(EVERY_MS, signal).catch(() => undefined);
    }
  }

  async #probe(node: ProbedNode, signal: AbortSignal): Promise<void> {
    const before = this.standings.of(node.id);
    let reason: unknown;
    let healths: ReadonlyMap<string, StoreHealth> | undefined;
    const deadline = new AbortController();
    const timer = new AbortController();
    void this.#parts.clock.sleep(ANSWER_MS, timer.signal).then(
      () => deadline.abort(new Error(`no answer in ${ANSWER_MS} ms`)),
      () => undefined,
    );
    try {
      healths = await node.probe(AbortSignal.any([signal, deadline.signal]));
    } catch (error) {
      reason = error;
    }
    timer.abort();
    if (signal.aborted) return;
    const standing = this.standings.observe(node.id, reason === undefined);
    if (standing !== before) this.#tell("node", standing, { node: node.id, err: reason });
    for (const { diskId } of healths ? node.stores : []) {
      this.#observe(node.id, diskId, healths?.get(diskId));
    }
  }

  /** undefined: the node does not have it, though its record says so. */
  #observe(node: string, diskId: string, health: StoreHealth | undefined): void {
    const isReadable = health !== undefined && health.state !== "failed";
    if (isReadable) this.#unreadable.delete(diskId);
    else this.#unreadable.add(diskId);
    const before = this.disks.of(diskId);
    const standing = this.disks.observe(diskId, isReadable && health.state !== "read-only");
    const reason = health ? health.reason : "it is not mounted";
    if (standing !== before) this.#tell("disk", standing, { node, disk: diskId, reason });
  }

  #tell(what: "node" | "disk", standing: Standing, about: object): void {
    const { log } = this.#parts;
    if (standing === "up") log.info(about, `${what} is up again`);
    else log.warn(about, `${what} is ${standing}`);
  }

  /** In place: the jobs hold the map itself. */
  #refill(): void {
    const stores = this.#parts
      .nodes()
      .filter(({ id }) => this.standings.of(id) !== "down")
      .flatMap((node) => node.stores)
      .filter(({ diskId }) => this.disks.of(diskId) !== "down" || !this.#unreadable.has(diskId));
    const known = new Set(stores.map(({ diskId }) => diskId));
    for (const diskId of this.reachable.keys()) {
      if (!known.has(diskId)) this.reachable.delete(diskId);
    }
    for (const store of stores) this.reachable.set(store.diskId, store);
  }
}
