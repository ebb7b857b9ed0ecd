import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { metadataStoreContract } from "#metadata/metadata-store.contract.ts";
import { EtcdProcesses, hasEtcd } from "#metadata/testing/etcd-process.ts";

describe.skipIf(!hasEtcd)("one etcd", () => {
  let etcd: EtcdProcesses;
  let opened = 0;
  beforeAll(async () => {
    etcd = await EtcdProcesses.start();
  });
  afterAll(() => etcd[Symbol.asyncDispose]());

  metadataStoreContract("etcd", () => etcd.open({ namespace: `contract${opened++}/` }));

  test("what is under way is answered before the store closes", async () => {
    const store = await etcd.open({ namespace: "closing/" });
    const keys = Array.from({ length: 300 }, (_, number) => Buffer.from(`${number % 100}`));
    const commits = keys.map((key) =>
      store.commit({ expect: [], put: [{ key, value: key }], remove: [] }),
    );
    const reads = keys.map((key) => store.get(key));
    await store[Symbol.asyncDispose]();
    const outcomes = await Promise.all(commits);
    expect(outcomes.every(({ kind }) => kind === "committed")).toBe(true);
    expect(await Promise.all(reads)).toHaveLength(300);
  });

  test("more keys than one transaction reads come at one revision, compacted meanwhile or not", async () => {
    await using store = await etcd.open({ namespace: "many/" });
    const keys = Array.from({ length: 300 }, (_, number) => Buffer.from(`k${number}`));
    const write = async (value: string) => {
      const put = [keys[0], keys[150], keys[299]].map((key) => ({
        key: key as Buffer,
        value: Buffer.from(value),
      }));
      await store.commit({ expect: [], put, remove: [] });
    };
    await write("0");
    const progress = { isDone: false };
    const writing = (async () => {
      for (let round = 1; !progress.isDone; round++) {
        await write(`${round}`);
        if (round % 5 === 0) await store.compact(await store.currentRevision());
      }
    })();
    for (let round = 0; round < 50; round++) {
      const found = await store.getMany(keys);
      const values = new Set(
        found.flatMap((entry) => (entry ? [Buffer.from(entry.value).toString()] : [])),
      );
      expect(values.size).toBe(1);
    }
    progress.isDone = true;
    await writing;
  });

  test("two clusters share an etcd and see nothing of each other", async () => {
    await using one = await etcd.open({ namespace: "one/" });
    await using other = await etcd.open({ namespace: "other/" });
    const put = [{ key: Buffer.from("a"), value: Buffer.from("1") }];
    await one.commit({ expect: [], put, remove: [] });
    expect(await other.get(Buffer.from("a"))).toBeUndefined();
    const all = { from: Buffer.of(0), to: Buffer.alloc(8, 0xff), limit: 10 };
    expect((await other.range(all)).entries).toEqual([]);
    expect((await one.range(all)).entries).toHaveLength(1);
  });

  test("after etcd was replaced by a copy whose revisions are lower, the current one is found and compacted", async () => {
    await using replaced = await EtcdProcesses.start();
    await using store = await replaced.open();
    const put = [{ key: Buffer.from("a"), value: Buffer.from("1") }];
    for (let count = 0; count < 10; count++) await store.commit({ expect: [], put, remove: [] });
    const before = await store.currentRevision();
    await replaced.lose(0);
    await replaced.startMember(0);
    await store.commit({ expect: [], put, remove: [] });
    const after = await store.currentRevision();
    expect(after).toBeLessThan(before);
    await store.compact(after);
  });
});
