import { fileURLToPath } from "node:url";
import protobuf from "protobufjs";
import { describe, expect, test } from "vitest";
import { decodeGarbageQuestion, encodeGarbageQuestion } from "#keeper/garbage-question.ts";
import { decodeGarbageState, encodeGarbageState } from "#keeper/garbage-state.ts";
import { type Job, periodicJob } from "#keeper/job.ts";
import { acquireLease } from "#keeper/lease.ts";
import { JobRunner } from "#keeper/runner.ts";
import { decodeScrubState, encodeScrubState } from "#keeper/scrub-state.ts";
import { type Clock, systemClock } from "#lib/clock.ts";
import { silentLog } from "#lib/log.ts";
import { MemoryMetadata } from "#metadata/memory.ts";
import { endSession } from "#metadata/sessions.ts";

/** Every wait is over at once, and counted. */
function hasty(waits: number[]): Clock {
  const sleep = async (ms: number, signal?: AbortSignal) => {
    waits.push(ms);
    await systemClock.sleep(1, signal);
  };
  return { ...systemClock, sleep };
}

describe("a job", () => {
  test("is stepped until its round is over, then waits for the next", async () => {
    const waits: number[] = [];
    const outcomes = ["more", "more", "done"] as const;
    let steps = 0;
    const step = () => Promise.resolve(outcomes[steps++ % 3] ?? "done");
    await using runner = await run({ name: "count", everyMs: 1234, step }, waits);
    await until(() => runner.status().rounds === 2);
    expect(steps).toBeGreaterThanOrEqual(6);
    expect(new Set(waits)).toEqual(new Set([1234]));
  });

  test("that fails is tried again, later each time, and says why", async () => {
    const waits: number[] = [];
    const job = periodicJob("fail", 1, () => Promise.reject(new Error("no disk")));
    await using runner = await run(job, waits);
    await until(() => waits.length === 4);
    expect(runner.status()).toMatchObject({ state: "failing", fault: "no disk" });
    expect(waits.slice(0, 4)).toEqual([1000, 2000, 4000, 8000]);
  });

  test("is paused, resumed and run at once when told", async () => {
    let rounds = 0;
    const job = periodicJob("hourly", 3_600_000, () => {
      rounds += 1;
      return Promise.resolve();
    });
    const metadata = new MemoryMetadata();
    const session = await metadata.session();
    await using runner = new JobRunner(job, {
      metadata,
      session,
      clock: systemClock,
      log: silentLog,
    });
    await until(() => rounds === 1);
    runner.pause();
    await until(() => runner.status().state === "paused");
    runner.runNow();
    await systemClock.sleep(5);
    expect(rounds).toBe(1);
    runner.resume();
    await until(() => rounds === 2);
    await until(() => runner.status().state === "resting");
    runner.runNow();
    await until(() => rounds === 3);
  });
});

describe("a lease", () => {
  test("is one process's until its session ends, whose commits then fail", async () => {
    const metadata = new MemoryMetadata();
    const one = { metadata, session: await metadata.session() };
    const other = { metadata, session: await metadata.session() };
    const first = await acquireLease(one, "repair");
    expect(first).toBeDefined();
    expect(await acquireLease(one, "repair")).toEqual(first);
    expect(await acquireLease(other, "repair")).toBeUndefined();
    expect(await acquireLease(other, "trash")).toBeDefined();
    await endSession(metadata, one.session.id);
    expect(await acquireLease(one, "repair")).toBeUndefined();
    expect(await acquireLease(other, "repair")).toBeDefined();
    const put = [{ key: Buffer.from("k"), value: Buffer.from("v") }];
    const outcome = await metadata.commit({ expect: first?.fence ?? [], put, remove: [] });
    expect(outcome.kind).toBe("conflict");
  });
});

test("what jobs remember is what the schema says, and reads back", () => {
  const path = fileURLToPath(new URL("../../proto/keeper.proto", import.meta.url));
  const schema = protobuf.loadSync(path);
  const garbage = {
    sweptMs: 5,
    sweptFullMs: 3,
    settled: new Set(["a", "b"]),
    seen: [
      { id: "c", lowWater: 0 },
      { id: "d", lowWater: 2 ** 40 },
    ],
  };
  const after = { group: 3, writeId: Buffer.alloc(16, 7), index: 2 };
  const scrub = { begunMs: 7, endedMs: 0, after };
  const rested = { begunMs: 7, endedMs: 9, after: undefined };
  const question = {
    text: "Garbage collection asks",
    askedMs: 2 ** 41,
    doomed: 70,
    shards: 210,
    writes: 100,
    examples: ["b/k", ""],
    isConfirmed: true,
  };
  expect(decodeGarbageState(encodeGarbageState(garbage))).toEqual(garbage);
  expect(decodeGarbageQuestion(encodeGarbageQuestion(question))).toEqual(question);
  expect(decodeScrubState(encodeScrubState(scrub))).toEqual(scrub);
  expect(decodeScrubState(encodeScrubState(rested))).toEqual(rested);
  const records = [
    ["GarbageState", encodeGarbageState(garbage)],
    ["GarbageQuestion", encodeGarbageQuestion(question)],
    ["ScrubState", encodeScrubState(scrub)],
  ] as const;
  for (const [name, bytes] of records) {
    const type = schema.lookupType(`anybucket.keeper.${name}`);
    expect(Buffer.from(type.encode(type.decode(bytes)).finish()).equals(bytes)).toBe(true);
  }
});

async function run(job: Job, waits: number[]): Promise<JobRunner> {
  const metadata = new MemoryMetadata();
  const session = await metadata.session();
  return new JobRunner(job, { metadata, session, clock: hasty(waits), log: silentLog });
}

async function until(holds: () => boolean): Promise<void> {
  const signal = AbortSignal.timeout(5000);
  while (!holds()) await systemClock.sleep(1, signal);
}
