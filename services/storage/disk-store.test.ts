import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { systemDisk } from "#lib/system-disk.ts";
import { shardStoreContract } from "#shards/shard-store.contract.ts";
import { ShardFenced } from "#shards/shard-store.ts";
import { memoryDisk, openStore } from "#storage/testing/stores.ts";

shardStoreContract("memory disk", () => openStore(memoryDisk()));

const roots: string[] = [];
afterAll(async () => {
  for (const root of roots) await rm(root, { recursive: true, force: true });
});
shardStoreContract("system disk", async () => {
  const root = await mkdtemp(join(tmpdir(), "anybucket-storage-"));
  roots.push(root);
  return openStore(systemDisk(root));
});

test("a disk knows who removed from it last after it was opened again", async () => {
  const disk = memoryDisk();
  const { signal } = new AbortController();
  {
    await using store = await openStore(disk);
    await store.remove([], signal, 12);
  }
  await using store = await openStore(disk);
  await expect(store.remove([], signal, 11)).rejects.toThrow(new ShardFenced(12));
  await store.remove([], signal, 12);
});
