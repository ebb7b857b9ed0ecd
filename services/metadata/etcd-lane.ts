/**
 * Requests that travel together: one that arrives while nothing is under way is sent at the end of the event loop's
 * turn, the others gather until an answer comes. When a whole batch has gathered it does not wait for that.
 */
import type { Clock } from "#lib/clock.ts";
import { MetadataUnavailable } from "#metadata/metadata-store.ts";

export interface LaneItem {
  /** Of its request, to bound what waits. */
  readonly bytes: number;
  /** When it arrived, on the clock's monotonic scale. */
  readonly since: number;
  readonly reject: (error: Error) => void;
}

export interface LaneOptions<Item extends LaneItem> {
  readonly clock: Clock;
  /** Splits off what may travel in one request: at least the first. */
  readonly take: (queue: readonly Item[]) => { batch: readonly Item[]; rest: Item[] };
  /** So many waiting are worth a request of their own while others are under way. */
  readonly fullBatch: number;
  /** Settles each of them, and never rejects. */
  readonly send: (batch: readonly Item[]) => Promise<void>;
}

const UNDER_WAY_MAX = 4;
/** What waits is bounded: beyond, clients are asked to slow down. */
const WAITING_MAX = 10_000;
const WAITING_BYTES_MAX = 64 * 1024 * 1024;
/** Who has waited so long is told so; nothing was sent for them. */
const WAIT_MS_MAX = 5_000;

export class Lane<Item extends LaneItem> {
  readonly #options: LaneOptions<Item>;
  #queue: Item[] = [];
  #bytes = 0;
  #underWay = 0;
  #isPlanned = false;
  #idle: (() => void) | undefined;

  constructor(options: LaneOptions<Item>) {
    this.#options = options;
  }

  push(item: Item): void {
    if (this.#queue.length >= WAITING_MAX || this.#bytes + item.bytes > WAITING_BYTES_MAX) {
      item.reject(new MetadataUnavailable("Cannot ask etcd: too many requests wait for it"));
      return;
    }
    this.#queue.push(item);
    this.#bytes += item.bytes;
    this.#plan();
  }

  /** Resolves once nothing waits or is under way. */
  async drain(): Promise<void> {
    if (this.#underWay === 0 && this.#queue.length === 0) return;
    await new Promise<void>((resolve) => {
      this.#idle = resolve;
    });
  }

  #plan(): void {
    if (this.#isPlanned || this.#queue.length === 0) return;
    const isWorthIt =
      this.#underWay === 0 ||
      (this.#queue.length >= this.#options.fullBatch && this.#underWay < UNDER_WAY_MAX);
    if (!isWorthIt) return;
    this.#isPlanned = true;
    setImmediate(this.#sendNext);
  }

  readonly #sendNext = (): void => {
    this.#isPlanned = false;
    this.#dropLate();
    if (this.#queue.length > 0) void this.#send();
    this.#plan();
    if (this.#underWay === 0 && this.#queue.length === 0) this.#idle?.();
  };

  async #send(): Promise<void> {
    const { batch, rest } = this.#options.take(this.#queue);
    this.#queue = rest;
    for (const { bytes } of batch) this.#bytes -= bytes;
    this.#underWay += 1;
    await this.#options.send(batch);
    this.#underWay -= 1;
    this.#plan();
    if (this.#underWay === 0 && this.#queue.length === 0) this.#idle?.();
  }

  #dropLate(): void {
    const oldest = this.#options.clock.monotonic() - WAIT_MS_MAX;
    // They stand in order of arrival.
    const late = this.#queue.findIndex(({ since }) => since >= oldest);
    if (late === 0) return;
    for (const item of this.#queue.splice(0, late < 0 ? this.#queue.length : late)) {
      this.#bytes -= item.bytes;
      item.reject(new MetadataUnavailable("Cannot ask etcd: it has not answered for too long"));
    }
  }
}
