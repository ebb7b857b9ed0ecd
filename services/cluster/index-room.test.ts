import { expect, test } from "vitest";
import { IndexRoom } from "#cluster/index-room.ts";
import type { Clock } from "#lib/clock.ts";
import { silentLog } from "#lib/log.ts";
import { createMetrics } from "#lib/metrics.ts";
import type { MemberSize } from "#metadata/etcd-size.ts";

const QUOTA = 1000 * 1024 * 1024;

/** One that sleeps until it is woken. */
class WokenClock implements Clock {
  #wake = Promise.withResolvers<void>();

  now(): number {
    return 0;
  }

  monotonic(): number {
    return 0;
  }

  async sleep(_: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const stopped = Promise.withResolvers<never>();
    signal?.addEventListener("abort", () => stopped.reject(signal.reason as Error));
    await Promise.race([this.#wake.promise, stopped.promise]);
  }

  async wake(): Promise<void> {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
    await new Promise(setImmediate);
  }
}

/** Shares of the quota, in percent. */
function size(used: number, allocated = used, more: Partial<MemberSize> = {}): MemberSize {
  const unit = QUOTA / 100;
  return {
    member: "http://one:2379",
    usedBytes: used * unit,
    allocatedBytes: allocated * unit,
    quotaBytes: undefined,
    isFull: false,
    ...more,
  };
}

/** `see` has the room looked at, and answers whether it is short then. */
async function openRoom(first: readonly MemberSize[] | Error) {
  let found = first;
  const clock = new WokenClock();
  const lines: string[] = [];
  const write = (level: string) => (_: unknown, text?: string) => {
    lines.push(`${level}: ${text}`);
  };
  const log = { ...silentLog, info: write("info"), warn: write("warn"), error: write("error") };
  const notes = new Map<string, string>();
  const metrics = createMetrics({ processMetrics: false });
  const room = await IndexRoom.open({
    sizes: async () => {
      if (found instanceof Error) throw found;
      return found;
    },
    quotaBytes: QUOTA,
    clock,
    log,
    notes,
    metrics,
  });
  const see = async (...next: readonly MemberSize[] | [Error]) => {
    found = next[0] instanceof Error ? next[0] : (next as readonly MemberSize[]);
    await clock.wake();
    return room.isShort;
  };
  const note = () => [...notes.values()].join();
  return {
    room,
    see,
    lines,
    note,
    metrics,
    [Symbol.asyncDispose]: () => room[Symbol.asyncDispose](),
  };
}

test("at 60 % it says that the index fills, once, and takes more until 80 %", async () => {
  await using opened = await openRoom([size(59)]);
  const { see, lines, note } = opened;
  expect(note()).toBe("");
  expect(await see(size(60))).toBe(false);
  expect(note()).toContain("the index fills");
  expect(await see(size(79, 85))).toBe(false);
  expect(note()).toContain("(of 1000 MiB 79 % used, 85 % allocated)");
  expect(lines).toEqual([expect.stringMatching(/^warn: the index fills/)]);
  await see(size(55));
  expect(note()).toContain("the index fills");
  await see(size(54));
  expect(note()).toBe("");
  expect(lines.slice(1)).toEqual(["info: the index has room again"]);
});

test("from 80 % of the quota it is short, until less than 75 % are used", async () => {
  await using opened = await openRoom([size(80)]);
  const { room, see, lines, note } = opened;
  expect(room.isShort).toBe(true);
  expect(note()).toContain("nearly full");
  expect(room.needsRemovals).toBe(true);
  const verdicts: boolean[] = [];
  for (const used of [79, 81, 75, 74, 79]) verdicts.push(await see(size(used)));
  expect(verdicts).toEqual([true, true, true, false, false]);
  expect(lines).toEqual([
    expect.stringMatching(/^error: the index is nearly full/),
    expect.stringMatching(/^warn: writes go on; the index fills/),
  ]);
});

test("from 90 % on removals shall leave no trash, until less than 85 % are used", async () => {
  await using opened = await openRoom([size(89, 96)]);
  const { room, see } = opened;
  const verdicts: boolean[] = [room.isTight];
  for (const used of [90, 85, 84, 89]) {
    await see(size(used));
    verdicts.push(room.isTight);
  }
  expect(verdicts).toEqual([false, true, true, false, false]);
});

test("of several members the fullest counts, each by the quota that it tells", async () => {
  await using opened = await openRoom([size(10), size(20), size(79)]);
  const { see, note } = opened;
  expect(await see(size(10), size(82), size(20))).toBe(true);
  expect(await see(size(10), size(20))).toBe(false);
  expect(await see(size(82, 82, { quotaBytes: 2 * QUOTA }))).toBe(false);
  expect(await see(size(10), size(42, 46, { quotaBytes: QUOTA / 2 }))).toBe(true);
  expect(note()).toContain("(of 500 MiB 84 % used, 92 % allocated)");
});

test("near the quota with all its pages it is short, however few are used, until it was defragmented", async () => {
  await using opened = await openRoom([size(30, 94)]);
  const { room, see, note } = opened;
  expect(room.isShort).toBe(false);
  expect(await see(size(30, 95))).toBe(true);
  expect(room.needsRemovals).toBe(false);
  expect(note()).toContain("defragment");
  expect(await see(size(30, 90))).toBe(true);
  expect(await see(size(30, 30))).toBe(false);
  expect(note()).toBe("");
});

test("what was used too much is used again without a defragmentation", async () => {
  await using opened = await openRoom([size(82, 92)]);
  const { room, see } = opened;
  expect(room.isShort).toBe(true);
  expect(await see(size(50, 92))).toBe(false);
});

test("while etcd's alarm stands it is short, whatever is used", async () => {
  await using opened = await openRoom([size(10, 10, { isFull: true })]);
  const { room, see, note } = opened;
  expect([room.isShort, room.isTight]).toEqual([true, true]);
  expect(note()).toContain("disarm the alarm");
  expect(await see(size(10))).toBe(false);
});

test("while no member answers it stays as it was, and says so once", async () => {
  await using opened = await openRoom(new Error("no member answers"));
  const { room, see, lines, note } = opened;
  expect(room.isShort).toBe(false);
  expect(note()).toBe("no member answers");
  expect(await see(size(80))).toBe(true);
  expect(note()).not.toContain("no member answers");
  expect(await see(new Error("nobody"))).toBe(true);
  expect(await see(new Error("nobody"))).toBe(true);
  expect(lines.filter((line) => line.includes("not known"))).toHaveLength(2);
  expect(await see(size(10))).toBe(false);
});

test("bytes and quota of the members that answer are measured", async () => {
  await using opened = await openRoom([size(30, 40), size(5, 5, { member: "http://two:2379" })]);
  const { see, metrics } = opened;
  await see(size(31, 41, { quotaBytes: 2 * QUOTA }));
  const { values } = await metrics.etcdBytes.get();
  const member = "http://one:2379";
  expect(values.map(({ labels, value }) => ({ ...labels, value }))).toEqual([
    { member, kind: "used", value: 0.31 * QUOTA },
    { member, kind: "allocated", value: 0.41 * QUOTA },
    { member, kind: "quota", value: 2 * QUOTA },
  ]);
});
