/**
 * What goes wrong while the clients work: one fault after another and several at a time, each with its end. It never takes more
 * than the codecs promise to bear: bytes are destroyed on one disk a run only, as others may lack what they missed.
 */
import type { Cluster } from "./cluster.ts";
import type { Machine } from "./gateway.ts";
import { DiskNode, MemoryNode, type Node } from "./node.ts";
import type { World } from "./world.ts";

export const FAULTS = [
  "node crash",
  "power cut",
  "node pause",
  "gateway crash",
  "gateway pause",
  "keeper crash",
  "keeper pause",
  "partition from a node",
  "partition from the index",
  "slow network",
  "lossy network",
  "duplicates",
  "index commits go astray",
  "index reads go astray",
  "index full",
  "session taken away",
  "clock jumps",
  "bits flip",
  "disk errors",
  "disk lost",
  "node added",
  "node drained",
  // No fault, but races: all background work at once, and again.
  "keepers hurried",
] as const;

export type Fault = (typeof FAULTS)[number];

/** Between two faults, at most. */
const EVERY_MS = 2000;
const AT_ONCE_MAX = 5;

export class Nemesis {
  readonly #cluster: Cluster;
  readonly #world: World;
  readonly #faults: readonly Fault[];
  /** The only node whose bytes are destroyed. */
  #victim: Node | undefined;
  #isVictimLost = false;
  #isStopped = false;
  #atOnce = 0;

  constructor(cluster: Cluster, faults: readonly Fault[] = FAULTS) {
    this.#cluster = cluster;
    this.#world = cluster.world;
    this.#faults = faults;
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** The disk that may lack bytes without anybody knowing it yet. */
  get victimDisk(): string | undefined {
    return this.#victim?.diskId;
  }

  /** Until it is stopped and all is mended again. */
  async run(): Promise<void> {
    const running = new Set<Promise<void>>();
    while (!this.#isStopped && this.#faults.length > 0) {
      await this.#world.sleep(this.#world.between(100, EVERY_MS), "nemesis");
      if (this.#isStopped || this.#atOnce >= AT_ONCE_MAX) continue;
      const fault = this.#world.pick(this.#faults);
      this.#atOnce += 1;
      const one = this.#inflict(fault).finally(() => {
        this.#atOnce -= 1;
        running.delete(one);
      });
      running.add(one);
    }
    await Promise.all(running);
  }

  async #inflict(fault: Fault): Promise<void> {
    const { network, index } = this.#cluster;
    switch (fault) {
      case "node crash": {
        const node = this.#node();
        if (!node.process.isAlive) return;
        this.#world.count(fault);
        node.crash();
        await this.#for(500, 15_000);
        await node.start();
        return;
      }
      case "power cut":
        return this.#cutPower();
      case "keepers hurried":
        this.#world.count(fault);
        return this.#hurry(3000);
      case "node pause":
        return this.#pause(fault, this.#node());
      case "gateway crash":
        return this.#crash(fault, this.#world.pick(this.#cluster.gateways));
      case "gateway pause":
        return this.#pause(fault, this.#world.pick(this.#cluster.gateways));
      case "keeper crash":
        return this.#crash(fault, this.#world.pick(this.#cluster.keepers));
      case "keeper pause":
        return this.#pause(fault, this.#world.pick(this.#cluster.keepers));
      case "partition from a node":
        return this.#cut(fault, this.#world.pick(this.#cluster.machines).name, this.#node().name);
      case "partition from the index":
        return this.#cut(fault, this.#world.pick(this.#cluster.machines).name, "index");
      case "slow network":
        return this.#turn(fault, network.faults, "delayMs", this.#world.between(5, 150), 1);
      case "lossy network":
        return this.#turn(fault, network.faults, "lossShare", this.#world.between(0.005, 0.1), 0);
      case "duplicates":
        return this.#turn(fault, network.faults, "duplicateShare", 0.1, 0);
      case "index commits go astray":
        this.#world.count(fault);
        index.faults.lostShare = this.#world.between(0, 0.15);
        index.faults.lateShare = this.#world.between(0, 0.15);
        index.faults.unheardShare = this.#world.between(0, 0.15);
        await this.#for(2000, 10_000);
        Object.assign(index.faults, { lostShare: 0, lateShare: 0, unheardShare: 0 });
        return;
      case "index reads go astray":
        return this.#turn(fault, index.faults, "readLostShare", 0.05, 0);
      case "index full":
        this.#world.count(fault);
        index.faults.isFull = true;
        await this.#for(500, 4000);
        index.faults.isFull = false;
        return;
      case "session taken away": {
        const sessions = index.sessions();
        if (sessions.length === 0) return;
        this.#world.count(fault);
        index.end(this.#world.pick(sessions));
        return;
      }
      case "clock jumps":
        this.#world.count(fault);
        this.#world.pick(this.#cluster.machines).skewMs = this.#world.between(-120_000, 120_000);
        return;
      case "bits flip":
        return this.#flipBits();
      case "disk errors":
        return this.#failDisk();
      case "disk lost":
        return this.#loseDisk();
      case "node added":
        return this.#addNode();
      case "node drained":
        return this.#drainNode();
    }
  }

  /** All nodes at the same instant. */
  async #cutPower(): Promise<void> {
    const nodes = [...this.#cluster.nodes.values()].filter(({ process }) => process.isAlive);
    this.#world.count("power cut");
    for (const node of nodes) node.crash();
    await this.#for(200, 4000);
    await Promise.all(nodes.map(async (node) => node.start()));
  }

  async #pause(fault: Fault, { process }: Node | Machine): Promise<void> {
    if (!process.isAlive || process.isPaused) return;
    this.#world.count(fault);
    process.pause();
    await this.#for(200, 20_000);
    process.resume();
  }

  async #crash(fault: Fault, machine: Machine): Promise<void> {
    if (!machine.process.isAlive) return;
    this.#world.count(fault);
    machine.kill();
    await this.#for(200, 15_000);
    if (!machine.process.isAlive) machine.start();
  }

  async #cut(fault: Fault, one: string, other: string): Promise<void> {
    const { network } = this.#cluster;
    this.#world.count(fault);
    const isOneWay = this.#world.chance(0.3);
    network.cut(one, other);
    if (!isOneWay) network.cut(other, one);
    await this.#for(500, 20_000);
    network.mend(one, other);
    network.mend(other, one);
  }

  async #turn<Name extends string>(
    fault: Fault,
    knobs: { [name in Name]: number },
    name: Name,
    value: number,
    quiet: number,
  ): Promise<void> {
    this.#world.count(fault);
    const turned: Record<string, number> = knobs;
    turned[name] = value;
    await this.#for(1000, 10_000);
    turned[name] = quiet;
  }

  async #flipBits(): Promise<void> {
    const victim = this.#theVictim();
    // The fresh disk may have been given other places of a group that is not whole yet.
    if (this.#isVictimLost) return;
    for (let flips = Math.floor(this.#world.between(1, 6)); flips > 0; flips--) {
      if (victim.flipBit()) this.#world.count("bits flip");
    }
  }

  async #failDisk(): Promise<void> {
    const victim = this.#theVictim();
    if (!(victim instanceof DiskNode)) return;
    this.#world.count("disk errors");
    victim.failingShare = 0.3;
    await this.#for(500, 5000);
    victim.failingShare = 0;
    // A disk that takes no more writes is looked at by its operator.
    victim.crash();
    await this.#for(500, 5000);
    await victim.start();
  }

  /** An empty disk in its place; the operator says so. */
  async #loseDisk(): Promise<void> {
    const { nodes, wanted } = this.#cluster;
    const victim = this.#theVictim();
    if (this.#isVictimLost || !wanted.has(victim.diskId) || !victim.process.isAlive) return;
    this.#isVictimLost = true;
    this.#world.count("disk lost");
    victim.crash();
    nodes.delete(victim.diskId);
    wanted.delete(victim.diskId);
    const kind = victim instanceof DiskNode ? DiskNode : MemoryNode;
    const fresh = await this.#cluster.addNode(kind, `${victim.name}-again`);
    wanted.set(fresh.diskId, "active");
    this.#victim = fresh;
    await this.#changeMap();
  }

  async #addNode(): Promise<void> {
    const { nodes, wanted } = this.#cluster;
    const spare = [...nodes.keys()].find((id) => !wanted.has(id));
    if (spare === undefined) return;
    this.#world.count("node added");
    wanted.set(spare, "active");
    await this.#changeMap();
  }

  async #drainNode(): Promise<void> {
    const { wanted, shape } = this.#cluster;
    const active = [...wanted].filter(([, state]) => state === "active");
    const draining = [...wanted].find(([, state]) => state === "draining");
    if (draining) {
      // The operator thinks better of it.
      this.#world.count("drain called off");
      wanted.set(draining[0], "active");
    } else if (active.length > shape.width) {
      this.#world.count("node drained");
      wanted.set(this.#world.pick(active)[0], "draining");
    }
    await this.#changeMap();
  }

  /** The operator tries until it is done. */
  async #changeMap(): Promise<void> {
    for (;;) {
      try {
        await this.#cluster.applyMap();
        break;
      } catch {
        await this.#world.sleep(1000, "operator");
      }
    }
    // So that a group has moved while a write that was planned before is still on its way.
    await this.#hurry(1000);
  }

  async #hurry(msMax: number): Promise<void> {
    for (let turn = 0; turn < 3; turn++) {
      for (const machine of this.#cluster.machines) machine.hurry();
      await this.#for(100, msMax);
    }
  }

  #node(): Node {
    return this.#world.pick([...this.#cluster.nodes.values()]);
  }

  #theVictim(): Node {
    this.#victim ??= this.#node();
    return this.#victim;
  }

  async #for(low: number, high: number): Promise<void> {
    await this.#world.sleep(this.#world.between(low, high), "nemesis");
  }
}
