/** Asks every storage node now and then whether it is there, and keeps the background work to those that are. */
import { NodeStandings, type Standing } from "#keeper/node-standings.ts";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { ShardStore } from "#shards/shard-store.ts";

const EVERY_MS = 5000;
const ANSWER_MS = 4000;

export interface ProbedNode {
  readonly id: string;
  readonly stores: readonly ShardStore[];
  /** Throws when the node does not answer. */
  probe(signal: AbortSignal): Promise<void>;
}

export interface NodeProbeParts {
  readonly nodes: () => readonly ProbedNode[];
  readonly clock: Clock;
  readonly log: Logger;
}

export class NodeProbe implements AsyncDisposable {
  readonly standings: NodeStandings;
  /** By disk id: those of nodes that are not down. What background work may ask. */
  readonly reachable = new Map<string, ShardStore>();
  readonly #parts: NodeProbeParts;
  readonly #stop = new AbortController();
  readonly #probing: Promise<void>;

  constructor(parts: NodeProbeParts) {
    this.#parts = parts;
    this.standings = new NodeStandings(parts.clock);
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
    const deadline = new AbortController();
    const timer = new AbortController();
    void this.#parts.clock.sleep(ANSWER_MS, timer.signal).then(
      () => deadline.abort(new Error(`no answer in ${ANSWER_MS} ms`)),
      () => undefined,
    );
    try {
      await node.probe(AbortSignal.any([signal, deadline.signal]));
    } catch (error) {
      reason = error;
    }
    timer.abort();
    if (signal.aborted) return;
    const standing = this.standings.observe(node.id, reason === undefined);
    if (standing !== before) this.#tell(node.id, { standing, reason });
  }

  #tell(node: string, { standing, reason }: { standing: Standing; reason: unknown }): void {
    const { log } = this.#parts;
    if (standing === "up") log.info({ node }, "node is up again");
    else log.warn({ node, err: reason }, `node is ${standing}`);
  }

  /** In place: the jobs hold the map itself. */
  #refill(): void {
    const stores = this.#parts
      .nodes()
      .filter(({ id }) => this.standings.of(id) !== "down")
      .flatMap((node) => node.stores);
    const known = new Set(stores.map(({ diskId }) => diskId));
    for (const diskId of this.reachable.keys()) {
      if (!known.has(diskId)) this.reachable.delete(diskId);
    }
    for (const store of stores) this.reachable.set(store.diskId, store);
  }
}
