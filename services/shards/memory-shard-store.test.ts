import { describe, expect, test } from "vitest";
import { MemoryShardStore } from "#shards/memory-shard-store.ts";
import {
  readAll,
  sample,
  shardStoreContract,
  write,
  written,
} from "#shards/shard-store.contract.ts";
import { ShardCorrupt, ShardStoreFull, ShardStoreUnavailable } from "#shards/shard-store.ts";

const { signal } = new AbortController();

shardStoreContract("memory", async () => new MemoryShardStore());

describe("memory shard store", () => {
  test("tells corrupt from missing, and takes the same bytes again", async () => {
    const store = new MemoryShardStore();
    const shard = await written(store, [100_000]);
    store.corrupt(shard.id, 70_000);
    expect(await store.verify(shard.id, signal)).toBe("bad");
    const read = store.read(shard.id, { offset: 70_000, length: 1 }, { signal });
    await expect(read).rejects.toThrow(ShardCorrupt);
    await write(store, shard);
    expect(await readAll(store, shard)).toEqual(shard.bytes);
  });

  test("takes nothing new when it is full, but repair and removes go on", async () => {
    const store = new MemoryShardStore({ capacity: 1000 });
    const shard = await written(store, [1000]);
    const { id, blocks, seal } = sample([10]);
    const put = store.put(id, { block: blocks[0], seal }, { signal });
    await expect(put).rejects.toThrow(ShardStoreFull);
    await store.put(id, { block: blocks[0], seal }, { signal, forRepair: true });
    expect(await store.health()).toMatchObject({ state: "full" });
    await store.remove([shard.id], signal);
    expect(await store.health()).toMatchObject({ state: "writable" });
  });

  test("fails every call while it has a fault", async () => {
    const store = new MemoryShardStore();
    const shard = await written(store, [10]);
    store.fault = new Error("unplugged");
    await expect(store.stat(shard.id, signal)).rejects.toThrow(ShardStoreUnavailable);
    expect(await store.health()).toMatchObject({ state: "failed", reason: "unplugged" });
    store.fault = undefined;
    expect(await store.verify(shard.id, signal)).toBe("good");
  });
});
