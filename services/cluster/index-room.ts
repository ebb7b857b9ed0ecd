/**
 * Whether etcd has room for more (R20). One that has used up its quota takes only removals, grants no lease, and needs an operator to
 * come back. So gateways and keepers look every few seconds, say so at 60 %, and from 80 % on gateways take no more than reads and
 * removals, while keepers empty the trash.
 * Which figure is judged, and why: metadata/README.md.
 */
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { Metrics } from "#lib/metrics.ts";
import type { MemberSize } from "#metadata/etcd-size.ts";

export interface IndexRoomParts {
  /** Of the members that answer; throws when none does. */
  readonly sizes: () => Promise<readonly MemberSize[]>;
  /** Of an etcd that does not tell its own. */
  readonly quotaBytes: number;
  readonly clock: Clock;
  readonly log: Logger;
  /** What the operator should know, a line each. */
  readonly notes: Map<string, string>;
  readonly metrics: Pick<Metrics, "etcdBytes">;
}

/** At 13,000 commits a second of 1 KiB, the most that was measured, etcd grows by 65 MiB meanwhile: 3 % of its usual quota. */
const LOOK_MS = 5_000;

const MIB = 1024 * 1024;

/** Shares of the quota. Each is left lower than it was reached, or the first removal would let one write in, and so on. */
const FILLING = { from: 0.6, below: 0.55 };
const SHORT = { from: 0.8, below: 0.75 };
/** Removals outrun what makes room: they leave no trash any more, whose keys take more than those of what was removed. */
const TIGHT = { from: 0.9, below: 0.85 };
/** etcd refuses what would not fit behind all its pages, the free ones too: near its quota it is full, however little is in use. */
const SHORT_OF_PAGES = { from: 0.95, below: 0.9 };

interface Fullness {
  readonly used: number;
  readonly allocated: number;
  /** Of the member with the most in use; where it is wrong the rest is too, so it is told. */
  readonly quotaBytes: number;
  readonly hasAlarm: boolean;
}

export class IndexRoom implements AsyncDisposable {
  readonly #parts: IndexRoomParts;
  readonly #stop = new AbortController();
  readonly #filling = new Latch(FILLING);
  readonly #used = new Latch(SHORT);
  readonly #tight = new Latch(TIGHT);
  readonly #pages = new Latch(SHORT_OF_PAGES);
  #hasAlarm = false;
  #unknown: string | undefined;
  #looking: Promise<void> | undefined;

  private constructor(parts: IndexRoomParts) {
    this.#parts = parts;
  }

  /** It has looked once by then. */
  static async open(parts: IndexRoomParts): Promise<IndexRoom> {
    const room = new IndexRoom(parts);
    await room.#look();
    room.#looking = room.#lookOn();
    return room;
  }

  /** While nobody answers it is what it was: no news is not room. */
  get isShort(): boolean {
    return this.#hasAlarm || this.#pages.isOn || this.#used.isOn;
  }

  /** More is used than should be: where only free pages are many, removals would not help. */
  get needsRemovals(): boolean {
    return this.#used.isOn;
  }

  get isTight(): boolean {
    return this.#hasAlarm || this.#tight.isOn;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error("The process is closing"));
    await this.#looking;
  }

  async #lookOn(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await this.#parts.clock.sleep(LOOK_MS, signal);
      } catch {
        return;
      }
      await this.#look();
    }
  }

  async #look(): Promise<void> {
    const { sizes, log, notes } = this.#parts;
    try {
      const found = await sizes();
      this.#unknown = undefined;
      notes.delete("room-unknown");
      this.#measure(found);
      this.#judge(fullest(found, this.#parts.quotaBytes));
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      const { message } = error as Error;
      notes.set("room-unknown", message);
      if (this.#unknown !== message) log.warn({ err: error }, "It is not known how full etcd is");
      this.#unknown = message;
    }
  }

  #judge({ used, allocated, quotaBytes, hasAlarm }: Fullness): void {
    const { log, notes } = this.#parts;
    const before = this.#note();
    const wasShort = this.isShort;
    this.#filling.see(used);
    this.#used.see(used);
    this.#tight.see(used);
    this.#pages.see(allocated);
    this.#hasAlarm = hasAlarm;
    const note = this.#note();
    const figures = `of ${Math.round(quotaBytes / MIB)} MiB ${percent(used)} used, ${percent(allocated)} allocated`;
    const fields = { used, allocated, quotaBytes };
    if (note === undefined) notes.delete("room");
    else notes.set("room", `${note} (${figures})`);
    if (note === before) return;
    if (note === undefined) log.info(fields, "the index has room again");
    else if (this.isShort) log.error(fields, note);
    else log.warn(fields, wasShort ? `writes go on; ${note}` : note);
  }

  /** What the operator is told. */
  #note(): string | undefined {
    if (this.#hasAlarm) {
      return "etcd is full and has raised its alarm: only reads and removals; remove what can go, defragment its members one at a time, disarm the alarm";
    }
    if (this.#pages.isOn) {
      return `etcd's file is near its quota: only reads and removals until it is below ${percent(SHORT_OF_PAGES.below)}; defragment its members one at a time`;
    }
    if (this.#used.isOn) {
      return `the index is nearly full: only reads and removals until it is below ${percent(SHORT.below)} of etcd's quota`;
    }
    if (!this.#filling.isOn) return undefined;
    return `the index fills: at ${percent(SHORT.from)} of etcd's quota writes are refused; remove what can go, or give etcd more`;
  }

  #measure(found: readonly MemberSize[]): void {
    const { metrics, quotaBytes } = this.#parts;
    metrics.etcdBytes.reset();
    for (const { member, usedBytes, allocatedBytes, quotaBytes: own } of found) {
      metrics.etcdBytes.set({ member, kind: "used" }, usedBytes);
      metrics.etcdBytes.set({ member, kind: "allocated" }, allocatedBytes);
      metrics.etcdBytes.set({ member, kind: "quota" }, own ?? quotaBytes);
    }
  }
}

/** On from one value, off below a lower one. */
class Latch {
  readonly #from: number;
  readonly #below: number;
  #isOn = false;

  constructor({ from, below }: { from: number; below: number }) {
    this.#from = from;
    this.#below = below;
  }

  get isOn(): boolean {
    return this.#isOn;
  }

  see(value: number): void {
    this.#isOn = value >= (this.#isOn ? this.#below : this.#from);
  }
}

/** Every commit needs room on every member. */
function fullest(sizes: readonly MemberSize[], quotaBytes: number): Fullness {
  let found = { used: 0, allocated: 0, quotaBytes };
  for (const size of sizes) {
    const quota = size.quotaBytes ?? quotaBytes;
    const used = size.usedBytes / quota;
    const allocated = Math.max(size.allocatedBytes / quota, found.allocated);
    found = used > found.used ? { used, allocated, quotaBytes: quota } : { ...found, allocated };
  }
  return { ...found, hasAlarm: sizes.some(({ isFull }) => isFull) };
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
