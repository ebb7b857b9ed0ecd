import { setImmediate as turn } from "node:timers/promises";
import { expect, test } from "vitest";
import { NodeProbe } from "#keeper/node-probe.ts";
import type { Clock } from "#lib/clock.ts";
import { silentLog } from "#lib/log.ts";
import { MemoryShardStore } from "#shards/memory-shard-store.ts";
import type { StoreHealth } from "#shards/shard-store.ts";

const [GOOD, BAD] = ["a".repeat(32), "b".repeat(32)];

test("a disk that its node cannot read is down after half a minute, and background work leaves it alone until it answers again", async () => {
  await using bench = new Bench();
  await bench.rounds(1);
  bench.state.set(BAD, "failed");
  await bench.rounds(5);
  expect(bench.probe.disks.of(BAD)).toBe("suspect");
  expect([...bench.probe.reachable.keys()]).toEqual([GOOD, BAD]);
  await bench.rounds(3);
  expect(bench.probe.disks.of(BAD)).toBe("down");
  expect([...bench.probe.reachable.keys()]).toEqual([GOOD]);
  bench.state.set(BAD, "writable");
  await bench.rounds(4);
  expect(bench.probe.disks.isUp(BAD)).toBe(true);
  expect(bench.probe.reachable.has(BAD)).toBe(true);
  expect(bench.probe.disks.awayMs(GOOD)).toBe(0);
});

test("a disk that can only be read is away as well, but still read from", async () => {
  await using bench = new Bench();
  bench.state.set(BAD, "read-only");
  await bench.rounds(10);
  expect(bench.probe.disks.of(BAD)).toBe("down");
  expect(bench.probe.reachable.has(BAD)).toBe(true);
});

test("a disk that its node does not have is away", async () => {
  await using bench = new Bench();
  bench.state.delete(BAD);
  await bench.rounds(10);
  expect(bench.probe.disks.awayMs(BAD)).toBeGreaterThan(30_000);
  expect(bench.probe.reachable.has(BAD)).toBe(false);
});

test("a full disk is well", async () => {
  await using bench = new Bench();
  bench.state.set(BAD, "full");
  await bench.rounds(10);
  expect(bench.probe.disks.isUp(BAD)).toBe(true);
});

test("of the disks of a node that does not answer nothing is said", async () => {
  await using bench = new Bench();
  await bench.rounds(1);
  bench.answers = false;
  await bench.rounds(10);
  expect(bench.probe.standings.of("n1")).toBe("down");
  expect(bench.probe.disks.awayMs(BAD)).toBe(0);
  expect(bench.probe.reachable.size).toBe(0);
});

class Bench implements AsyncDisposable {
  answers = true;
  readonly state = new Map<string, StoreHealth["state"]>([
    [GOOD, "writable"],
    [BAD, "writable"],
  ]);
  #nowMs = 1000;
  #wake: (() => void) | undefined;
  readonly #clock: Clock = {
    now: () => this.#nowMs,
    monotonic: () => this.#nowMs,
    sleep: (_, signal) =>
      new Promise((resolve, reject) => {
        // A later one than the deadline of a probe, which is over by then.
        this.#wake = resolve;
        signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
      }),
  };
  readonly probe = new NodeProbe({
    nodes: () => [
      {
        id: "n1",
        stores: [GOOD, BAD].map((diskId) => new MemoryShardStore({ diskId })),
        probe: async () => {
          if (!this.answers) throw new Error("no answer");
          return new Map([...this.state].map(([disk, state]) => [disk, healthOf(state)]));
        },
      },
    ],
    clock: this.#clock,
    log: silentLog,
  });

  async rounds(count: number): Promise<void> {
    for (let round = 0; round < count; round++) {
      await turn();
      this.#nowMs += 5000;
      this.#wake?.();
      await turn();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.probe[Symbol.asyncDispose]();
  }
}

function healthOf(state: StoreHealth["state"]): StoreHealth {
  return { state, capacity: 1, free: 1, live: 0, used: 0 };
}
