/**
 * The n shards of one write of several stripes, written side by side. A disk that fails, or lags behind when W others
 * are done, is left out from then on; with fewer than W left the write fails.
 */
import type { EncodedStripe } from "#codec/codec.ts";
import type { Logger } from "#lib/log.ts";
import { Unavailable } from "#lib/unavailable.ts";
import type { DiskStandings } from "#objects/disk-standings.ts";
import type { QuorumWaits } from "#objects/quorum.ts";
import { stripeBlocks } from "#objects/stripe-blocks.ts";
import type { ShardPlace, WritePlan } from "#objects/write-plan.ts";
import { ShardDigest } from "#shards/digest.ts";
import type { Block, ShardSeal, ShardWriter } from "#shards/shard-store.ts";

export interface FanParts {
  readonly waits: QuorumWaits;
  readonly standings: DiskStandings;
  readonly log: Logger;
}

interface Lane {
  readonly place: ShardPlace;
  readonly writer: ShardWriter;
}

export class ShardFan {
  readonly #parts: FanParts;
  readonly #needed: number;
  readonly #signal: AbortSignal;
  readonly #digests: readonly ShardDigest[];
  /** Those that have kept up so far. */
  #lanes: readonly Lane[];
  /** Tries that were left behind and may still end. */
  readonly #left = new Set<Promise<unknown>>();

  constructor(
    parts: FanParts,
    { plan, needed, signal }: { plan: WritePlan; needed: number; signal: AbortSignal },
  ) {
    this.#parts = parts;
    this.#needed = needed;
    this.#signal = signal;
    this.#digests = plan.places.map(() => new ShardDigest());
    this.#lanes = plan.places.flatMap((place) =>
      place.store ? [{ place, writer: place.store.write(place.id, { signal }) }] : [],
    );
  }

  /** Resolves when the next stripe may be sent. The stripe is released once no disk reads it any more. */
  async send(stripe: EncodedStripe): Promise<void> {
    const blocks = stripeBlocks(stripe);
    this.#digests.forEach((digest, index) => digest.add(blocks[index] as Block));
    let reading = this.#lanes.length;
    const ended = () => {
      reading -= 1;
      if (reading === 0) stripe.release();
    };
    if (reading === 0) stripe.release();
    await this.#each(({ place, writer }) => {
      const appended = writer.append(blocks[place.index] as Block);
      appended.then(ended, ended);
      return appended;
    });
  }

  /** Answers the indexes of the shards that are sealed. */
  async seal(seal: (siblings: readonly number[]) => ShardSeal): Promise<ReadonlySet<number>> {
    const sealing = seal(this.#digests.map((digest) => digest.value));
    await this.#each(({ writer }) => writer.seal(sealing));
    return new Set(this.#lanes.map(({ place }) => place.index));
  }

  /** Forgets what was appended, once nothing of it is under way. */
  async abort(): Promise<void> {
    await Promise.allSettled(this.#lanes.map(({ writer }) => writer.abort()));
  }

  /** Resolves when nothing that was left behind can still change a disk. */
  async quiet(): Promise<void> {
    await Promise.allSettled(this.#left);
  }

  async #each(step: (lane: Lane) => Promise<void>): Promise<void> {
    const { waits, standings, log } = this.#parts;
    const lanes = this.#lanes;
    const tries = lanes.map(step);
    const waited = await waits.wait(tries, this.#needed);
    this.#lanes = lanes.filter((_, place) => waited.outcomes[place] === "done");
    lanes.forEach((lane, place) => {
      if (waited.outcomes[place] === "done") return;
      const { diskId = "" } = lane.place;
      if (!this.#signal.aborted) {
        standings.failed(diskId);
        log.warn(
          { disk: diskId, outcome: waited.outcomes[place], err: waited.cause },
          "disk left out of a write",
        );
      }
      this.#leave(lane, tries[place]);
    });
    this.#signal.throwIfAborted();
    if (this.#lanes.length < this.#needed) {
      const found = `${this.#lanes.length} of ${this.#needed} disks needed took it`;
      throw new Unavailable(`Cannot write: ${found}`, { cause: waited.cause });
    }
  }

  #leave({ writer }: Lane, tried: Promise<void> | undefined): void {
    const leaving = Promise.allSettled([tried, writer.abort()]).finally(() =>
      this.#left.delete(leaving),
    );
    this.#left.add(leaving);
  }
}
