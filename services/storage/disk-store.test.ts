import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import { systemDisk } from "#lib/system-disk.ts";
import { shardStoreContract } from "#shards/shard-store.contract.ts";
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
