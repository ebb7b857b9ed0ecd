import { describe, expect, test } from "vitest";
import { MemoryMetadata } from "#metadata/memory.ts";
import { metadataStoreContract } from "#metadata/metadata-store.contract.ts";
import { IndeterminateCommit, MetadataFull } from "#metadata/metadata-store.ts";
import { listSessions } from "#metadata/sessions.ts";

metadataStoreContract("memory", async () => new MemoryMetadata());

describe("memory metadata", () => {
  test("a full store takes pure deletes only", async () => {
    const store = new MemoryMetadata();
    await store.commit(add("a"));
    store.fault = () => "full";
    await expect(store.commit(add("b"))).rejects.toThrow(MetadataFull);
    const removal = { expect: [], put: [], remove: [Buffer.from("a")] };
    expect((await store.commit(removal)).kind).toBe("committed");
    expect(store.size).toBe(0);
  });

  test("an unheard commit took effect, a lost one did not", async () => {
    const store = new MemoryMetadata();
    store.fault = () => "unheard";
    await expect(store.commit(add("a"))).rejects.toThrow(IndeterminateCommit);
    store.fault = () => "lost";
    await expect(store.commit(add("b"))).rejects.toThrow(IndeterminateCommit);
    expect(await store.get(Buffer.from("a"))).toBeDefined();
    expect(await store.get(Buffer.from("b"))).toBeUndefined();
  });

  test("a delayed commit is evaluated when it lands, so a renewed session stops it", async () => {
    const store = new MemoryMetadata();
    await using session = await store.session();
    store.fault = () => "delayed";
    const late = { ...add("a"), expect: [session.expectation()] };
    await expect(store.commit(late)).rejects.toThrow(IndeterminateCommit);
    await expect(store.commit(add("b", 0))).rejects.toThrow(IndeterminateCommit);
    store.fault = undefined;
    await session.renew();
    expect(store.deliverDelayed().map(({ kind }) => kind)).toEqual(["conflict", "committed"]);
    expect(await store.get(Buffer.from("a"))).toBeUndefined();
  });

  test("a renewal that could not be learnt is found by the next one", async () => {
    const store = new MemoryMetadata();
    await using session = await store.session();
    store.fault = () => "unheard";
    await expect(session.renew()).rejects.toThrow(IndeterminateCommit);
    store.fault = undefined;
    await session.renew();
    const outcome = await store.commit({ ...add("a"), expect: [session.expectation()] });
    expect(outcome.kind).toBe("committed");
  });

  test("sessions are listed with their marks and ended one by one or all", async () => {
    const store = new MemoryMetadata();
    const sessions = await Promise.all(Array.from({ length: 130 }, () => store.session()));
    await sessions[3]?.publishLowWater(77);
    const listed = await listSessions(store);
    expect(listed).toHaveLength(130);
    expect(listed.find(({ id }) => id === sessions[3]?.id)?.lowWater).toBe(77);
    await store.endSession(sessions[3]?.id ?? "");
    expect(await listSessions(store)).toHaveLength(129);
    await store.endAllSessions();
    expect(store.size).toBe(0);
  });

  test("forty thousand keys stay in order", async () => {
    const store = new MemoryMetadata();
    const count = 40_000;
    // A step that shares no factor with the count visits every number once, far from in order.
    for (let number = 0; number < count; number += 100) {
      const put = Array.from({ length: 100 }, (_, index) => {
        const key = Buffer.alloc(4);
        key.writeUInt32BE(((number + index) * 61_843) % count);
        return { key, value: Buffer.of(1) };
      });
      await store.commit({ expect: [], put, remove: [] });
    }
    expect(store.size).toBe(count);
    const to = Buffer.alloc(5, 0xff);
    const { entries } = await store.range({ from: Buffer.of(0), to, limit: count });
    expect(entries.every(({ key }, index) => Buffer.from(key).readUInt32BE() === index)).toBe(true);
    const odd = entries.filter((_, index) => index % 2 === 1).map(({ key }) => key);
    for (let start = 0; start < odd.length; start += 100) {
      await store.commit({ expect: [], put: [], remove: odd.slice(start, start + 100) });
    }
    const down = await store.range({ from: Buffer.of(0), to, limit: 3, reverse: true });
    expect(down.entries.map(({ key }) => Buffer.from(key).readUInt32BE())).toEqual([
      count - 2,
      count - 4,
      count - 6,
    ]);
  });
});

function add(name: string, revision?: number) {
  return {
    expect: revision === undefined ? [] : [{ key: Buffer.from(name), revision }],
    put: [{ key: Buffer.from(name), value: Buffer.from("1") }],
    remove: [],
  };
}
