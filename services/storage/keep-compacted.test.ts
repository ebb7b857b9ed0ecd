import { expect, test } from "vitest";
import type { Clock } from "#lib/clock.ts";
import { silentLog } from "#lib/log.ts";
import type { Compaction } from "#storage/compaction.ts";
import { keepCompacted } from "#storage/keep-compacted.ts";

test("each turn compacts every disk as far as it goes, and a disk with a fault keeps no other from it", async () => {
  const turns = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let turn = 0;
  const clock: Clock = {
    now: () => 0,
    monotonic: () => 0,
    sleep: async (_, signal) => {
      const next = turns[turn];
      turn += 1;
      if (next) return next.promise;
      await new Promise((_resolve, reject) => signal?.addEventListener("abort", reject));
    },
  };
  const done: string[] = [];
  const removed = { kind: "removed" } as Compaction;
  const disk = (diskId: string, answers: (() => Compaction | undefined)[]) => ({
    diskId,
    compact: async () => {
      done.push(diskId);
      return answers.shift()?.();
    },
  });
  const faulty = disk("faulty", [
    () => {
      throw new Error("EIO");
    },
  ]);
  const compacting = keepCompacted([faulty, disk("full", [() => removed, () => removed])], {
    clock,
    log: silentLog,
  });
  expect(done).toEqual([]);
  for (const each of turns) each.resolve();
  await new Promise(setImmediate);
  expect(done).toEqual(["faulty", "full", "full", "full", "faulty", "full"]);
  await compacting[Symbol.asyncDispose]();
});
