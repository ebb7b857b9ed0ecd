/** Sessions on leases, watches over compactions, and an etcd without space. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Clock, systemClock } from "#lib/clock.ts";
import { IndeterminateCommit, MetadataFull, type WatchEvent } from "#metadata/metadata-store.ts";
import { listSessions } from "#metadata/sessions.ts";
import { EtcdProcesses, hasEtcd } from "#metadata/testing/etcd-process.ts";
import { key, put, text, until } from "./support.ts";

/** A process that hangs: its timers never come. */
const stopped: Clock = {
  ...systemClock,
  sleep: (_, signal) =>
    new Promise((_resolve, reject) => {
      signal?.addEventListener("abort", () => reject(signal.reason as Error));
    }),
};
/** Waits are fifty times as short. */
const hurried: Clock = {
  ...systemClock,
  sleep: (ms, signal) => systemClock.sleep(ms / 50, signal),
};

describe.skipIf(!hasEtcd)("one etcd", () => {
  let etcd: EtcdProcesses;
  beforeAll(async () => {
    etcd = await EtcdProcesses.start();
  });
  afterAll(() => etcd[Symbol.asyncDispose]());

  test("a session that is kept alive outlives its lease's time, one of a process that hangs does not", async () => {
    await using store = await etcd.open({ namespace: "alive/" });
    await using hung = await etcd.open({ namespace: "alive/", clock: stopped });
    await using session = await store.session();
    const lost = await hung.session();
    const late = {
      expect: [lost.expectation()],
      put: [{ key: key("late"), value: key("1") }],
      remove: [],
    };
    expect((await hung.commit(late)).kind).toBe("committed");
    await until(async () => (await listSessions(store)).length === 1, 30_000);
    expect((await hung.commit(late)).kind).toBe("conflict");
    await expect(lost.renew()).rejects.toThrow(lost.id);
    expect(lost.lost.aborted).toBe(true);
    // Its lease has been kept for longer than it lasts.
    expect((await listSessions(store)).map(({ id }) => id)).toEqual([session.id]);
    const outcome = await store.commit({ ...late, expect: [session.expectation()] });
    expect(outcome.kind).toBe("committed");
    expect(session.lost.aborted).toBe(false);
  });

  test("a process hears that its session's lease has ended, renewed or not", async () => {
    await using store = await etcd.open({ namespace: "revoked/", clock: hurried });
    for (const renewals of [0, 2]) {
      const session = await store.session();
      for (let round = 0; round < renewals; round++) await session.renew();
      await session.publishLowWater(5);
      const [lease = ""] = /[0-9a-f]{8,}/.exec(etcd.control("lease", "list")) ?? [];
      etcd.control("lease", "revoke", lease);
      await until(() => session.lost.aborted, 5_000);
      expect(await store.getMany([session.expectation().key])).toEqual([undefined]);
      expect(await listSessions(store)).toEqual([]);
      await expect(session.renew()).rejects.toThrow(session.id);
      await session[Symbol.asyncDispose]();
    }
  });

  test("an ended session leaves no lease", async () => {
    await using store = await etcd.open({ namespace: "leases/" });
    const session = await store.session();
    expect(etcd.control("lease", "list")).toContain("found 1");
    await session[Symbol.asyncDispose]();
    expect(etcd.control("lease", "list")).toContain("found 0");
  });

  test("a watch from a revision that was compacted, or whose stream broke, asks for a fresh read and goes on", async () => {
    await using single = await EtcdProcesses.start();
    await using store = await single.open();
    await using other = await single.open();
    for (let round = 0; round < 5; round++) await put(other, "w/a", `${round}`);
    await other.compact(await other.currentRevision());
    const stop = new AbortController();
    const events = store.watch(key("w/"), stop.signal)[Symbol.asyncIterator]();
    expect(await next(events)).toEqual({ kind: "reset" });
    await until(async () => {
      await put(other, "w/b", "1");
      const event = await Promise.race([next(events), systemClock.sleep(200)]);
      return event?.kind === "put";
    }, 10_000);
    await single.kill(0);
    await single.startMember(0);
    await until(async () => (await next(events)).kind === "reset", 10_000);
    stop.abort();
  });
});

test.skipIf(!hasEtcd)(
  "an etcd without space refuses what puts, takes removals, answers reads, and recovers",
  async () => {
    await using etcd = await EtcdProcesses.start({ quotaBytes: 16 * 1024 * 1024 });
    await using store = await etcd.open();
    await using early = await store.session();
    const large = Buffer.alloc(500_000, 1);
    let filled = 0;
    const full = await firstError(async () => {
      await put(store, `large/${filled}`, large);
      filled += 1;
    });
    // etcd may have applied the very commit that it answers so.
    expect(full).toBeInstanceOf(IndeterminateCommit);
    expect((await store.sizes()).map(({ isFull }) => isFull)).toEqual([true]);
    await expect(put(store, "small", "1")).rejects.toThrow(MetadataFull);
    await expect(store.session()).rejects.toThrow(MetadataFull);
    const essential = { expect: [], put: [{ key: key("e"), value: key("1") }], remove: [] };
    await expect(store.commit({ ...essential, isEssential: true })).rejects.toThrow(
      IndeterminateCommit,
    );
    expect((await store.get(key("large/0")))?.value).toHaveLength(500_000);
    const mixed = await Promise.allSettled([
      put(store, "another", "1"),
      store.commit({ expect: [early.expectation()], put: [], remove: [key("large/0")] }),
    ]);
    expect(mixed.map(({ status }) => status)).toEqual(["rejected", "fulfilled"]);
    expect(await store.get(key("large/0"))).toBeUndefined();
    const names = Array.from({ length: filled }, (_, number) => key(`large/${number}`));
    await store.commit({ expect: [], put: [], remove: names });
    await store.compact(await store.currentRevision());
    etcd.control("defrag");
    etcd.control("alarm", "disarm");
    await until(async () => {
      try {
        await put(store, "small", "2");
        return true;
      } catch {
        return false;
      }
    }, 10_000);
    expect(text(await store.get(key("small")))).toBe("2");
    expect((await store.sizes()).map(({ isFull }) => isFull)).toEqual([false]);
    expect(early.lost.aborted).toBe(false);
  },
);

test.skipIf(!hasEtcd)(
  "a key overwritten 100,000 times takes no more of etcd than the time between two compactions",
  async () => {
    await using etcd = await EtcdProcesses.start();
    await using store = await etcd.open();
    const value = Buffer.alloc(250, 7);
    const total = 100_000;
    const perCompaction = 10_000;
    let begun = 0;
    let before = await store.currentRevision();
    let largest = 0;
    // As objects/ and the keeper do: what is replaced goes to the trash, which is emptied a hundred keys at a time.
    const overwrite = async () => {
      while (begun < total) {
        const number = begun++;
        const trash = { key: key(`trash/${number}`), value };
        await store.commit({ expect: [], put: [{ key: key("one"), value }, trash], remove: [] });
        if (number % 100 === 99) {
          const remove = Array.from({ length: 100 }, (_, back) =>
            key(`trash/${number - back - 300}`),
          );
          await store.commit({ expect: [], put: [], remove });
        }
        if (number % perCompaction === perCompaction - 1) {
          const revision = await store.currentRevision();
          await store.compact(before);
          before = revision;
          largest = Math.max(largest, (await etcd.measure()).usedBytes);
        }
      }
    };
    await Promise.all(Array.from({ length: 128 }, overwrite));
    await store.compact(await store.currentRevision());
    await until(async () => (await etcd.measure()).usedBytes < 1024 * 1024, 30_000);
    const { fileBytes, usedBytes } = await etcd.measure();
    process.stdout.write(
      `overwritten ${total} times: at most ${mib(largest)} in use, ${mib(usedBytes)} at the end, file ${mib(fileBytes)}\n`,
    );
    // Three intervals of two puts and their index, with what etcd has not freed yet.
    expect(largest).toBeLessThan(48 * 1024 * 1024);
    expect(text(await store.get(key("one")))).toHaveLength(250);
  },
);

function mib(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}

async function next(events: AsyncIterator<WatchEvent>): Promise<WatchEvent> {
  const { value, done } = await events.next();
  if (done) throw new Error("the watch has ended");
  return value;
}

async function firstError(step: () => Promise<void>): Promise<unknown> {
  for (;;) {
    try {
      await step();
    } catch (error) {
      return error;
    }
  }
}
