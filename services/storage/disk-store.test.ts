import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { chunkChecksums } from "#lib/crc32c.ts";
import { systemDisk } from "#lib/system-disk.ts";
import { sample, shardStoreContract } from "#shards/shard-store.contract.ts";
import { CHUNK_BYTES, ShardFenced } from "#shards/shard-store.ts";
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

test.each([
  { size: 4096, offset: 0, length: 4096 },
  { size: 3 * CHUNK_BYTES + 5, offset: 0, length: 3 * CHUNK_BYTES + 5 },
  { size: 3 * CHUNK_BYTES + 5, offset: CHUNK_BYTES, length: CHUNK_BYTES },
])("a read of whole chunks comes with the checksums that were kept", async (given) => {
  const { size, offset, length } = given;
  await using store = await openStore(memoryDisk());
  const { signal } = new AbortController();
  const { id, bytes, blocks, seal } = sample([size]);
  await store.put(id, { block: blocks[0], seal }, { signal });
  const told: Uint32Array[] = [];
  const onKept = (checksums: Uint32Array) => told.push(checksums);
  await store.read(id, { offset, length }, { signal, onKept });
  expect(told).toEqual([
    chunkChecksums([bytes.subarray(offset, offset + length)], length, CHUNK_BYTES),
  ]);
});
