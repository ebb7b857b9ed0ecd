import { expect, test } from "vitest";
import { RemovalFence } from "#shards/removal-fence.ts";
import { ShardFenced } from "#shards/shard-store.ts";

test("a later term is heard only when removals of earlier ones have ended, and none begins after it", async () => {
  const events: string[] = [];
  const fence = new RemovalFence(1, async (term) => void events.push(`saved ${term}`));
  const begun = Promise.withResolvers<void>();
  const slow = Promise.withResolvers<void>();
  const earlier = fence.run(1, async () => {
    begun.resolve();
    await slow.promise;
    events.push("removed");
  });
  await begun.promise;
  const later = fence.run(2, async () => void events.push("heard"));
  await expect(fence.run(1, refused)).rejects.toThrow(new ShardFenced(2));
  expect(events).toEqual(["saved 2"]);
  slow.resolve();
  await Promise.all([earlier, later]);
  expect(events).toEqual(["saved 2", "removed", "heard"]);
});

test("of removals that come together only those of the highest term are done", async () => {
  const fence = new RemovalFence(0, async () => undefined);
  const done: number[] = [];
  const all = [2, 5, 3, 5].map((term) => fence.run(term, async () => void done.push(term)));
  const outcomes = await Promise.allSettled(all);
  expect(outcomes.map(({ status }) => status)).toEqual([
    "rejected",
    "fulfilled",
    "rejected",
    "fulfilled",
  ]);
  expect(done).toEqual([5, 5]);
});

test("a term that could not be made durable is tried again, and no earlier one is taken meanwhile", async () => {
  let isFull = true;
  const saved: number[] = [];
  const fence = new RemovalFence(0, async (term) => {
    if (isFull) throw new Error("ENOSPC");
    saved.push(term);
  });
  await expect(fence.run(7, refused)).rejects.toThrow("ENOSPC");
  await expect(fence.run(6, refused)).rejects.toThrow(new ShardFenced(7));
  await expect(fence.run(7, refused)).rejects.toThrow("ENOSPC");
  isFull = false;
  await fence.run(7, async () => undefined);
  expect(saved).toEqual([7]);
});

async function refused(): Promise<void> {
  throw new Error("removed");
}
