/** How many shards of each disk were verified since the node started: what `NodeStatus` says of scrubbing. */

import type { Clock } from "#lib/clock.ts";
import type { ShardVerdict } from "#shards/answer-wire.ts";
import type { ScrubProgress } from "#shards/node-control.ts";

const NONE: ScrubProgress = { verified: 0, bad: 0, lastMs: 0 };

export class ScrubCounts {
  readonly #clock: Clock;
  readonly #disks = new Map<string, ScrubProgress>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  note(diskId: string, verdict: ShardVerdict): void {
    if (verdict === "missing") return;
    const { verified, bad } = this.of(diskId);
    const found = verdict === "bad" ? 1 : 0;
    const lastMs = this.#clock.now();
    this.#disks.set(diskId, { verified: verified + 1, bad: bad + found, lastMs });
  }

  of(diskId: string): ScrubProgress {
    return this.#disks.get(diskId) ?? NONE;
  }
}
