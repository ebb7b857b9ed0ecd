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
});
