/**
 * Which disks have just failed or kept others waiting: new writes pass them by for a while, then one tries again.
 * Only a matter of speed: what a write may leave out is decided by its quorum.
 */
import type { Clock } from "#lib/clock.ts";

/** R30: suspect, no new shards for 10 s. */
const PASS_BY_MS = 10_000;

export class DiskStandings {
  readonly #clock: Clock;
  readonly #passByUntil = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  isUsable(diskId: string): boolean {
    const until = this.#passByUntil.get(diskId);
    return until === undefined || this.#clock.monotonic() >= until;
  }

  /** A write goes there now: where the disk was passed by so far, others still do until that write came back. */
  trying(diskId: string): void {
    if (this.#passByUntil.size > 0 && this.#passByUntil.has(diskId)) this.failed(diskId);
  }

  failed(diskId: string): void {
    this.#passByUntil.set(diskId, this.#clock.monotonic() + PASS_BY_MS);
  }

  worked(diskId: string): void {
    if (this.#passByUntil.size > 0) this.#passByUntil.delete(diskId);
  }
}
