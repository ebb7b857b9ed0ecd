/**
 * Simulated time and the processes that live in it. One queue of events holds all that will happen: timers, messages, a disk's
 * answers. The next event is taken when nothing is left to do after the one before, so a run depends on its seed alone.
 *
 * All chance comes from one generator: streams of their own could overlap and give two writes the same id.
 */
import type { Clock } from "#lib/clock.ts";
import { SeededRandom } from "#lib/random.ts";
import { type Forbidden, forbidRealTime } from "./real-time.ts";

interface Event {
  readonly at: number;
  /** Events of one instant happen in any order. */
  readonly tie: number;
  readonly label: string;
  /** undefined: called off. */
  run: (() => void) | undefined;
}

/** So long nothing that a client waits for takes; whoever is not done by then hangs. */
const EVENTS_MAX = 5_000_000;
const START_MS = Date.UTC(2026, 10, 27);

export class World {
  readonly seed: number;
  readonly random: SeededRandom;
  /** Called with each event, for whoever wants to read along. */
  onEvent: ((at: number, label: string) => void) | undefined;
  /** Faults by kind, and other things worth counting. */
  readonly counts = new Map<string, number>();
  readonly #queue = new EventQueue();
  readonly #processes = new Set<Process>();
  #now = 0;
  #events = 0;
  #hash = [0x811c9dc5, 0x1000193] as [number, number];

  constructor(seed: number) {
    this.seed = seed;
    this.random = new SeededRandom(Math.imul(seed, 0x9e3779b1) ^ 0x5bd1e995);
  }

  get now(): number {
    return this.#now;
  }

  get events(): number {
    return this.#events;
  }

  /** Of all events so far and their times: two runs with the same one were the same. */
  get trace(): string {
    return this.#hash.map((half) => (half >>> 0).toString(16).padStart(8, "0")).join("");
  }

  /** Answers how to call it off. */
  after(ms: number, label: string, run: () => void): () => void {
    const at = this.#now + Math.max(0, ms);
    const event: Event = { at, tie: this.random.fraction(), label, run };
    this.#queue.push(event);
    return () => {
      event.run = undefined;
    };
  }

  sleep(ms: number, label: string): Promise<void> {
    return new Promise((resolve) => void this.after(ms, label, resolve));
  }

  /** In [low, high). */
  between(low: number, high: number): number {
    return low + (high - low) * this.random.fraction();
  }

  chance(share: number): boolean {
    return share > 0 && this.random.fraction() < share;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[Math.floor(this.random.fraction() * items.length)];
    if (item === undefined) throw new Error("Cannot pick: there is nothing to pick from");
    return item;
  }

  born(process: Process): void {
    this.#processes.add(process);
  }

  /** Nothing happens any more, and nothing of it is kept. */
  end(): void {
    for (const process of this.#processes) process.kill();
    this.#processes.clear();
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  /** Lets events happen until the work is done. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    const ended: { outcome?: () => T } = {};
    using real = forbidRealTime((run) => this.after(0, "immediate", run));
    const follow = async () => {
      try {
        const value = await work();
        ended.outcome = () => value;
      } catch (error) {
        ended.outcome = () => {
          throw error;
        };
      }
    };
    await real.step(() => void follow());
    while (ended.outcome === undefined) await this.#step(real);
    return ended.outcome();
  }

  async #step(real: Forbidden): Promise<void> {
    const event = this.#queue.pop();
    if (event === undefined) throw new Error("The simulation waits for something that never comes");
    if (event.run === undefined) return;
    this.#now = event.at;
    this.#events += 1;
    if (this.#events > EVENTS_MAX) throw new Error(`Not done after ${EVENTS_MAX} events`);
    this.#mix(event);
    this.onEvent?.(event.at, event.label);
    await real.step(event.run);
  }

  #mix({ at, label }: Event): void {
    let [one, other] = this.#hash;
    for (let index = 0; index < label.length; index++) {
      one = Math.imul(one ^ label.charCodeAt(index), 0x01000193);
      other = Math.imul(other ^ one, 0x85ebca6b);
    }
    one = Math.imul(one ^ Math.round(at * 1000), 0x01000193);
    this.#hash = [one, other ^ (one >>> 15)];
  }
}

/** A machine's program: it can be paused and killed, and its clock is its own. */
export class Process {
  readonly world: World;
  readonly name: string;
  readonly clock: Clock;
  /** How far its wall clock is off. */
  skewMs = 0;
  #isAlive = true;
  #isPaused = false;
  #held: (() => void)[] = [];
  readonly #onDeath = new Set<() => void>();
  readonly #listening = new Set<() => void>();

  constructor(world: World, name: string) {
    this.world = world;
    this.name = name;
    world.born(this);
    this.clock = {
      now: () => Math.floor(START_MS + world.now + this.skewMs),
      monotonic: () => world.now,
      sleep: async (ms, signal) => this.#sleep(ms, signal),
    };
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** Something arrives at the process: at once, when it goes on, or never. */
  enter(run: () => void): void {
    if (!this.#isAlive) return;
    if (this.#isPaused) this.#held.push(run);
    else run();
  }

  after(ms: number, label: string, run: () => void): () => void {
    return this.world.after(ms, `${this.name} ${label}`, () => this.enter(run));
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    // One after another, as a process that goes on works off what its sockets hold.
    for (const run of this.#held.splice(0)) this.after(this.world.between(0, 2), "held", run);
  }

  /** It never does anything again: what it awaits never comes. */
  kill(): void {
    this.#isAlive = false;
    this.#held = [];
    for (const told of this.#onDeath) told();
    this.#onDeath.clear();
    for (const forget of this.#listening) forget();
    this.#listening.clear();
  }

  /**
   * Answers how to listen no more. The dead do not listen: Node keeps a signal that is made of others, and all that it
   * reaches, as long as somebody does.
   */
  onAbort(signal: AbortSignal | undefined, told: () => void): () => void {
    if (signal === undefined) return () => undefined;
    signal.addEventListener("abort", told, { once: true });
    const forget = () => {
      signal.removeEventListener("abort", told);
      this.#listening.delete(forget);
    };
    this.#listening.add(forget);
    return forget;
  }

  /** Answers how not to be told any more. */
  onDeath(told: () => void): () => void {
    this.#onDeath.add(told);
    return () => this.#onDeath.delete(told);
  }

  async #sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const cancel = this.after(ms, "timer", resolve);
    const forget = this.onAbort(signal, () => reject(signal?.reason as Error));
    try {
      await promise;
    } finally {
      cancel();
      forget();
    }
  }
}

/** A heap, earliest first. */
class EventQueue {
  readonly #heap: Event[] = [];

  push(event: Event): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      const above = heap[parent];
      if (above === undefined || !isBefore(event, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = event;
  }

  pop(): Event | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      let below = heap[child];
      if (below === undefined) break;
      const right = heap[child + 1];
      if (right !== undefined && isBefore(right, below)) {
        child += 1;
        below = right;
      }
      if (!isBefore(below, last)) break;
      heap[at] = below;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function isBefore(one: Event, other: Event): boolean {
  return one.at < other.at || (one.at === other.at && one.tie < other.tie);
}
