/**
 * A random workload on stores over one faulty disk, and what must be true after each crash: every
 * acknowledged shard is there with its bytes, no removed one is, and nothing is there by half.
 */
import { setImmediate } from "node:timers/promises";
import type { Clock } from "#lib/clock.ts";
import type { FaultyDisk } from "#lib/faulty-disk.ts";
import { silentLog } from "#lib/log.ts";
import type { SeededRandom } from "#lib/random.ts";
import { checksummedBlock, ShardDigest } from "#shards/digest.ts";
import type { ShardId } from "#shards/shard-store.ts";
import { prepareDisk } from "#storage/disk-identity.ts";
import { type DiskStore, openDiskStore } from "#storage/disk-store.ts";
import { LaggingIndex } from "#storage/testing/lagging-index.ts";
import { CLUSTER } from "#storage/testing/stores.ts";

const { signal } = new AbortController();

/** What the journal knows of a shard: "maybe" while a call for it was cut off. */
interface Known {
  readonly id: ShardId;
  readonly bytes: Buffer;
  state: "there" | "gone" | "maybe";
}

/** A run depends on its seed alone, not on how fast it goes. */
const STILL: Clock = { now: () => 0, monotonic: () => 0, sleep: () => setImmediate() };

const OPTIONS = {
  volumeBytes: 12_000,
  reserveBytes: 0,
  openVolumesMax: 3,
  compactBelow: 0.9,
  faultsMax: 1_000,
};

export class Workload {
  readonly #disk: FaultyDisk;
  readonly #random: SeededRandom;
  readonly #keepsIndex: boolean;
  readonly #known: Known[] = [];
  #index = new LaggingIndex();
  #stores: DiskStore[] = [];

  /** `keepsIndex`: a power cut takes the index back somewhat; else it is lost whole and made anew. */
  constructor(disk: FaultyDisk, random: SeededRandom, { keepsIndex }: { keepsIndex: boolean }) {
    this.#disk = disk;
    this.#random = random;
    this.#keepsIndex = keepsIndex;
  }

  /** Two stores, as two worker processes have them. */
  async open(): Promise<void> {
    const disk = this.#disk.mount();
    await prepareDisk(disk, { clusterId: CLUSTER, random: this.#random });
    const index = this.#index;
    const parts = { disk, clusterId: CLUSTER, clock: STILL, log: silentLog, index };
    const random = this.#random;
    this.#stores = [];
    for (let count = 0; count < 2; count++) {
      this.#stores.push(await openDiskStore({ ...parts, random, options: OPTIONS }));
    }
  }

  async close(): Promise<void> {
    for (const store of this.#stores) await store[Symbol.asyncDispose]();
    this.#stores = [];
  }

  /** The machine goes down, or only the processes. */
  stop(how: "crash" | "kill"): void {
    this.#disk[how]();
    if (!this.#keepsIndex) this.#index = new LaggingIndex();
    else this.#index = how === "crash" ? this.#index.crash(this.#random) : this.#index.kill();
  }

  /** Runs steps, several at once, until all are done or the disk has crashed. */
  async run(steps: number): Promise<void> {
    for (let step = 0; step < steps; ) {
      const together = 1 + Math.floor(this.#random.fraction() * 4);
      await Promise.all(Array.from({ length: together }, () => this.#step()));
      step += together;
    }
  }

  /** Checks everything against the journal; what was in doubt is known afterwards. */
  async check(): Promise<string[]> {
    const store = this.#require();
    const faults: string[] = [];
    for (const known of this.#known) {
      const name = `${known.id.group}/${Buffer.from(known.id.writeId).toString("hex")}`;
      const state = await store.verify(known.id, signal);
      if (state === "bad") faults.push(`${name} is bad, was ${known.state}`);
      if (state === "missing" && known.state === "there") faults.push(`${name} is lost`);
      if (state === "good" && known.state === "gone") faults.push(`${name} is back`);
      if (state === "good") {
        const range = { offset: 0, length: known.bytes.length };
        const bytes = await store.read(known.id, range, { signal });
        if (!known.bytes.equals(bytes)) faults.push(`${name} has other bytes`);
      }
      known.state = state === "good" ? "there" : "gone";
    }
    const there = this.#known.filter(({ state }) => state === "there").length;
    const { shards } = await store.list({ limit: 100_000 }, signal);
    if (shards.length !== there) faults.push(`${shards.length} are listed, ${there} are there`);
    return faults;
  }

  /** Bytes that the store counts as live are those of its shards and their seals. */
  async checkFigures(): Promise<string[]> {
    const { live, used } = await this.#require().health();
    const there = this.#known.filter(({ state }) => state === "there");
    if (there.length === 0 && live !== 0) return [`${live} bytes are live of no shards`];
    return live <= used ? [] : [`${live} bytes are live of ${used}`];
  }

  async #step(): Promise<void> {
    const choice = this.#random.fraction();
    if (choice < 0.4) await this.#put();
    else if (choice < 0.55) await this.#write();
    else if (choice < 0.65) await this.#link();
    else if (choice < 0.9) await this.#remove();
    else if (choice < 0.95) await this.#again();
    else await this.#attempt([], () => this.#require().compact(signal));
  }

  async #put(): Promise<void> {
    const known = this.#newShard(this.#random.bytes(Math.floor(this.#random.fraction() * 3000)));
    await this.#create(known, () => this.#putBytes(known));
  }

  async #write(): Promise<void> {
    const known = this.#newShard(
      this.#random.bytes(1 + Math.floor(this.#random.fraction() * 9000)),
    );
    await this.#create(known, async () => {
      const writer = this.#require().write(known.id, { signal });
      const digest = new ShardDigest();
      for (let at = 0; at < known.bytes.length; at += 1500) {
        const block = checksummedBlock([known.bytes.subarray(at, at + 1500)]);
        digest.add(block);
        await writer.append(block);
        if (this.#random.fraction() < 0.03) {
          await writer.abort();
          throw new Error("aborted on purpose");
        }
      }
      await writer.seal(sealOf(known.id, digest.value));
    });
  }

  async #link(): Promise<void> {
    const source = this.#pick();
    if (source === undefined) return;
    const known = this.#newShard(source.bytes);
    const info = await this.#attempt([], () => this.#require().stat(source.id, signal));
    if (info === undefined) return;
    await this.#create(known, () =>
      this.#require().link(
        { source: source.id, target: known.id },
        sealOf(known.id, info.digest),
        signal,
      ),
    );
  }

  async #remove(): Promise<void> {
    const count = 1 + Math.floor(this.#random.fraction() * 3);
    const chosen = Array.from({ length: count }, () => this.#pick()).filter(
      (known) => known !== undefined,
    );
    await this.#attempt(chosen, () =>
      this.#require().remove(
        chosen.map(({ id }) => id),
        signal,
      ),
    );
  }

  /** The same bytes under the same name, there or removed: a retry, or a repair. */
  async #again(): Promise<void> {
    const known = this.#known[Math.floor(this.#random.fraction() * this.#known.length)];
    if (known === undefined || known.state === "maybe" || known.bytes.length > 3000) return;
    await this.#create(known, () => this.#putBytes(known));
  }

  async #putBytes(known: Known): Promise<void> {
    const digest = new ShardDigest();
    const block = known.bytes.length === 0 ? undefined : checksummedBlock([known.bytes]);
    if (block !== undefined) digest.add(block);
    const seal = sealOf(known.id, digest.value);
    await this.#require().put(known.id, { block, seal }, { signal });
  }

  async #create(known: Known, work: () => Promise<void>): Promise<void> {
    if (!this.#known.includes(known)) this.#known.push(known);
    const was = known.state;
    known.state = "maybe";
    try {
      await work();
      known.state = "there";
    } catch (error) {
      // A shard whose bytes were there before is not taken away by a failed retry.
      if (was === "there") known.state = "there";
      this.#expect(error);
    }
  }

  async #attempt<T>(removed: readonly Known[], work: () => Promise<T>): Promise<T | undefined> {
    for (const known of removed) known.state = "maybe";
    try {
      const result = await work();
      for (const known of removed) known.state = "gone";
      return result;
    } catch (error) {
      this.#expect(error);
      return undefined;
    }
  }

  /** Calls may fail as the disk does; anything that was not a refusal is a fault of ours. */
  #expect(error: unknown): void {
    if (error instanceof TypeError || error instanceof RangeError) throw error;
  }

  /** One that no other step is at. */
  #pick(): Known | undefined {
    const there = this.#known.filter(({ state }) => state === "there");
    return there[Math.floor(this.#random.fraction() * there.length)];
  }

  #newShard(bytes: Buffer): Known {
    const group = Math.floor(this.#random.fraction() * 4);
    return { id: { group, writeId: this.#random.bytes(16), index: 0 }, bytes, state: "gone" };
  }

  #require(): DiskStore {
    const store = this.#stores[Math.floor(this.#random.fraction() * this.#stores.length)];
    if (store === undefined) throw new Error("No store is open");
    return store;
  }
}

function sealOf(id: ShardId, digest: number) {
  const about = Buffer.from(`about ${id.group}`);
  return { session: "session", sequence: 1, siblings: [digest], about };
}
