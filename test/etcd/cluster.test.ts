/** A cluster of three members whose leader dies, or hangs, or that loses its majority. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { EtcdMetadata } from "#metadata/etcd.ts";
import { IndeterminateCommit, MetadataUnavailable } from "#metadata/metadata-store.ts";
import { EtcdProcesses, hasEtcd } from "#metadata/testing/etcd-process.ts";
import { Counter, key, put, text, until } from "./support.ts";

const COUNTERS = 8;
/** An election, and the wait for a member that does not answer; on a busy machine both take longer. */
const GAP_MS_MAX = 12_000;

describe.skipIf(!hasEtcd)("three members of etcd", () => {
  let etcd: EtcdProcesses;
  let store: EtcdMetadata;
  beforeEach(async () => {
    etcd = await EtcdProcesses.start({ members: 3 });
    store = await etcd.open();
  });
  afterEach(async () => {
    await store[Symbol.asyncDispose]();
    await etcd[Symbol.asyncDispose]();
  });

  /** Clients count while something happens, and for so long after it. */
  async function countDuring(step: () => void | Promise<void>, afterMs: number) {
    const counters = Array.from({ length: COUNTERS }, (_, number) => new Counter(store, number));
    await until(() => counters.every(({ acknowledged }) => acknowledged > 20), 20_000);
    await step();
    await new Promise((resolve) => setTimeout(resolve, afterMs));
    const before = counters.map(({ acknowledged }) => acknowledged);
    await until(
      () => counters.every(({ acknowledged }, place) => acknowledged > (before[place] ?? 0) + 5),
      20_000,
    );
    for (const counter of counters) await counter.stop();
    expect(counters.flatMap(({ wrong }) => wrong)).toEqual([]);
    return counters;
  }

  test("go on when the leader is killed, and lose nothing that was acknowledged", async () => {
    const counters = await countDuring(() => etcd.kill(etcd.leader()), 4_000);
    expect(Math.max(...counters.map(({ gapMs }) => gapMs))).toBeLessThan(GAP_MS_MAX);
  });

  test("go on when the leader hangs, and what it does when it wakes buries nothing newer", async () => {
    let leader = -1;
    const counters = await countDuring(async () => {
      leader = etcd.leader();
      etcd.pause(leader);
      await new Promise((resolve) => setTimeout(resolve, 9_000));
      etcd.resume(leader);
    }, 3_000);
    expect(Math.max(...counters.map(({ gapMs }) => gapMs))).toBeLessThan(GAP_MS_MAX);
  });

  test("notice nothing but a retry when a member that does not lead is killed", async () => {
    const counters = await countDuring(async () => {
      const leader = etcd.leader();
      await etcd.kill([0, 1, 2].find((number) => number !== leader) ?? 0);
    }, 3_000);
    expect(Math.max(...counters.map(({ gapMs }) => gapMs))).toBeLessThan(GAP_MS_MAX);
  });

  test("without a majority answer with errors in time, and go on by themselves once it is back", async () => {
    await put(store, "a", "before");
    await using session = await store.session();
    const leader = etcd.leader();
    const others = [0, 1, 2].filter((number) => number !== leader);
    await etcd.kill(leader);
    await etcd.kill(others[0] ?? 0);
    const begun = performance.now();
    const tries = Array.from({ length: 20 }, (_, number) => put(store, `b${number}`, "1"));
    const outcomes = await Promise.allSettled([...tries, store.get(key("a"))]);
    expect(performance.now() - begun).toBeLessThan(16_000);
    for (const outcome of outcomes) {
      expect(outcome.status).toBe("rejected");
      const { reason } = outcome as PromiseRejectedResult;
      expect([IndeterminateCommit, MetadataUnavailable]).toContain(reason.constructor);
    }
    // Longer than a lease lasts: without a leader none ends.
    await new Promise((resolve) => setTimeout(resolve, 17_000));
    await Promise.all([etcd.startMember(leader), etcd.startMember(others[0] ?? 0)]);
    const back = performance.now();
    await until(async () => {
      try {
        return text(await store.get(key("a"))) === "before";
      } catch {
        return false;
      }
    }, 15_000);
    expect(performance.now() - back).toBeLessThan(10_000);
    const outcome = await store.commit({
      expect: [session.expectation()],
      put: [{ key: key("a"), value: key("after") }],
      remove: [],
    });
    expect(outcome.kind).toBe("committed");
    expect(session.lost.aborted).toBe(false);
  });
});
