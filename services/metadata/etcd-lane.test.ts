import { beforeEach, describe, expect, test } from "vitest";
import { type Clock, systemClock } from "#lib/clock.ts";
import { Lane, type LaneItem } from "#metadata/etcd-lane.ts";
import { MetadataUnavailable } from "#metadata/metadata-store.ts";

const FULL = 4;

async function turn(): Promise<void> {
  for (let round = 0; round < 10; round++) await new Promise((resolve) => setImmediate(resolve));
}

describe("a lane", () => {
  let now: number;
  let sent: string[][];
  let answer: (() => void)[];
  let refused: Map<string, Error>;
  let lane: Lane<LaneItem & { name: string }>;
  beforeEach(() => {
    now = 0;
    // A lane of an earlier test may still have something to send.
    const own: { sent: string[][]; answer: (() => void)[] } = { sent: [], answer: [] };
    ({ sent, answer } = own);
    refused = new Map();
    const clock: Clock = { ...systemClock, monotonic: () => now };
    lane = new Lane({
      clock,
      take: (queue) => ({ batch: queue.slice(0, FULL), rest: queue.slice(FULL) }),
      fullBatch: FULL,
      send: (batch) => {
        own.sent.push(batch.map(({ name }) => name));
        return new Promise((resolve) => own.answer.push(resolve));
      },
    });
  });

  function push(name: string, bytes = 1): void {
    lane.push({ name, bytes, since: now, reject: (error) => refused.set(name, error) });
  }

  test("sends what arrives in one turn together, without a wait", async () => {
    push("a");
    push("b");
    expect(sent).toEqual([]);
    await turn();
    expect(sent).toEqual([["a", "b"]]);
  });

  test("gathers what arrives while one is under way, until it is answered", async () => {
    push("a");
    await turn();
    push("b");
    await turn();
    push("c");
    await turn();
    expect(sent).toEqual([["a"]]);
    answer[0]?.();
    await turn();
    expect(sent).toEqual([["a"], ["b", "c"]]);
  });

  test("sends a full batch at once, but no more than four at a time", async () => {
    push("first");
    await turn();
    for (let number = 0; number < 6 * FULL; number++) push(`${number}`);
    await turn();
    expect(sent).toHaveLength(4);
    for (const settle of answer.splice(0)) settle();
    await turn();
    expect(sent.length).toBeGreaterThan(4);
  });

  test("tells who has waited too long that nothing was sent for them", async () => {
    push("a");
    await turn();
    push("late");
    now = 4_000;
    push("in time");
    now = 6_000;
    answer[0]?.();
    await turn();
    expect(refused.get("late")).toBeInstanceOf(MetadataUnavailable);
    expect(sent).toEqual([["a"], ["in time"]]);
  });

  test("takes no more than it can bound, and counts what has left", async () => {
    push("a");
    await turn();
    const half = 32 * 1024 * 1024;
    push("b", half);
    push("c", half);
    push("d");
    expect(refused.get("d")).toBeInstanceOf(MetadataUnavailable);
    answer[0]?.();
    await turn();
    push("e", half);
    expect([...refused.keys()]).toEqual(["d"]);
  });

  test("is drained once nothing waits or is under way", async () => {
    await lane.drain();
    push("a");
    let isDrained = false;
    const drained = (async () => {
      await lane.drain();
      isDrained = true;
    })();
    await turn();
    push("b");
    answer[0]?.();
    await turn();
    expect(isDrained).toBe(false);
    answer[1]?.();
    await drained;
    expect(sent).toEqual([["a"], ["b"]]);
  });
});
