import { describe, expect, test } from "vitest";
import type { FaultyDisk } from "#lib/faulty-disk.ts";
import { systemError } from "#lib/faulty-disk.ts";
import { readAll, sample, write, written } from "#shards/shard-store.contract.ts";
import {
  ShardCorrupt,
  type ShardStore,
  ShardStoreFull,
  ShardStoreUnavailable,
} from "#shards/shard-store.ts";
import { memoryDisk, openStore, SMALL } from "#storage/testing/stores.ts";
import { createVolume } from "#storage/volume.ts";

const { signal } = new AbortController();

/** Makes the next call of that kind on a volume fail, once. */
function failNext(disk: FaultyDisk, call: "write" | "sync" | "read", code = "EIO"): void {
  disk.fault = (kind, path) => {
    if (kind !== call || !path.startsWith("volumes/")) return undefined;
    disk.fault = undefined;
    return { error: systemError(code, kind, path) };
  };
}

/** Flips a bit of the first place where the bytes stand. */
async function flip(disk: FaultyDisk, bytes: Buffer): Promise<void> {
  for (const path of disk.files()) {
    const at = (await disk.readFile(path))?.indexOf(bytes) ?? -1;
    if (at >= 0 && path.startsWith("volumes/")) {
      disk.flipBit(path, at * 8 + 3);
      return;
    }
  }
  throw new Error("The bytes are nowhere on the disk");
}

function put(store: ShardStore, shard: ReturnType<typeof sample>, forRepair = false) {
  const content = { block: shard.blocks[0], seal: shard.seal };
  return store.put(shard.id, content, { signal, forRepair });
}

describe("after a fault of the disk", () => {
  test.each(["write", "sync"] as const)(
    "a failed %s fails all who waited, and the next volume serves",
    async (call) => {
      const disk = memoryDisk();
      const store = await openStore(disk);
      const before = await written(store, [1000]);
      failNext(disk, call);
      const waiting = Array.from({ length: 5 }, () => sample([500]));
      const outcomes = await Promise.allSettled(waiting.map((shard) => put(store, shard)));
      expect(outcomes.map(({ status }) => status)).toEqual(Array(5).fill("rejected"));
      for (const outcome of outcomes) {
        expect((outcome as PromiseRejectedResult).reason).toBeInstanceOf(ShardStoreUnavailable);
      }
      for (const shard of waiting) expect(await store.stat(shard.id, signal)).toBeUndefined();
      const after = await written(store, [1000]);
      expect(await readAll(store, before)).toEqual(before.bytes);
      expect(await readAll(store, after)).toEqual(after.bytes);
    },
  );

  test("a sync that failed is never tried again on that volume", async () => {
    const disk = memoryDisk();
    const store = await openStore(disk);
    await written(store, [1000]);
    const synced: string[] = [];
    let failed: string | undefined;
    disk.fault = (kind, path) => {
      if (kind !== "sync") return undefined;
      synced.push(path);
      failed ??= path;
      return failed === path ? { error: systemError("EIO", kind, path) } : undefined;
    };
    await expect(put(store, sample([10]))).rejects.toThrow(ShardStoreUnavailable);
    for (let count = 0; count < 5; count++) await written(store, [10]);
    await store[Symbol.asyncDispose]();
    expect(synced.filter((path) => path === failed)).toHaveLength(1);
  });

  test("what a failed sync left in the file is not believed after a restart", async () => {
    const disk = memoryDisk();
    const store = await openStore(disk);
    await written(store, [1000]);
    const shard = sample([500]);
    failNext(disk, "sync");
    await expect(put(store, shard)).rejects.toThrow(ShardStoreUnavailable);
    await store[Symbol.asyncDispose]();
    disk.kill();
    const again = await openStore(disk);
    expect(await again.stat(shard.id, signal)).toBeUndefined();
  });

  test("a shard with blocks in a failed volume cannot be sealed", async () => {
    const disk = memoryDisk();
    const store = await openStore(disk);
    const shard = sample([60_000, 60_000]);
    const writer = store.write(shard.id, { signal });
    for (const block of shard.blocks) await writer.append(block);
    failNext(disk, "sync");
    await expect(put(store, sample([10]))).rejects.toThrow(ShardStoreUnavailable);
    await expect(writer.seal(shard.seal)).rejects.toThrow(ShardStoreUnavailable);
    expect(await store.stat(shard.id, signal)).toBeUndefined();
    await write(store, shard);
    expect(await readAll(store, shard)).toEqual(shard.bytes);
  });

  test("a disk that fails again and again takes no more writes, but reads go on", async () => {
    const disk = memoryDisk();
    const store = await openStore(disk, { ...SMALL, faultsMax: 2 });
    const shard = await written(store, [1000]);
    for (let count = 0; count < 2; count++) {
      failNext(disk, "sync");
      await expect(put(store, sample([10]))).rejects.toThrow(ShardStoreUnavailable);
    }
    expect(await store.health()).toMatchObject({ state: "read-only" });
    await expect(put(store, sample([10]))).rejects.toThrow(ShardStoreUnavailable);
    expect(await readAll(store, shard)).toEqual(shard.bytes);
  });

  test("a read error is corruption, never absence", async () => {
    const disk = memoryDisk();
    const store = await openStore(disk);
    const shard = await written(store, [1000]);
    failNext(disk, "read");
    await expect(readAll(store, shard)).rejects.toThrow(ShardCorrupt);
    expect(await readAll(store, shard)).toEqual(shard.bytes);
  });

  test("a volume that is gone makes its shards corrupt, not missing", async () => {
    const disk = memoryDisk();
    const store = await openStore(disk);
    const shard = await written(store, [1000]);
    await disk.remove("volumes/00000001.volume");
    await expect(readAll(store, shard)).rejects.toThrow(ShardCorrupt);
    expect(await store.verify(shard.id, signal)).toBe("bad");
  });
});

describe("a flipped bit", () => {
  test("in a block is found by read, verify and scrub, and mended by the same bytes written again", async () => {
    const disk = memoryDisk();
    const store = await openStore(disk);
    const [shard, other] = [await written(store, [150_000]), await written(store, [900])];
    await flip(disk, shard.bytes.subarray(100_000, 100_064));
    const range = { offset: 100_000, length: 1 };
    await expect(store.read(shard.id, range, { signal })).rejects.toThrow(ShardCorrupt);
    const untouched = await store.read(shard.id, { offset: 0, length: 60_000 }, { signal });
    expect(shard.bytes.subarray(0, 60_000).equals(untouched)).toBe(true);
    expect(await store.verify(shard.id, signal)).toBe("bad");
    const scrub = await store.scrub({ limit: 10 }, signal);
    expect(scrub).toMatchObject({ shards: 2, bytes: 150_900, next: undefined });
    expect(scrub.bad).toEqual([shard.id]);
    await write(store, shard);
    expect(await readAll(store, shard)).toEqual(shard.bytes);
    expect((await store.scrub({ limit: 10 }, signal)).bad).toEqual([]);
    await store.remove([shard.id], signal);
    disk.kill();
    const again = await openStore(disk);
    expect(await again.stat(shard.id, signal)).toBeUndefined();
    expect(await readAll(again, other)).toEqual(other.bytes);
  });

  test("in a seal makes the shard bad, and a rebuilt index passes over it and says so", async () => {
    const disk = memoryDisk();
    const store = await openStore(disk);
    const shards = [];
    for (let count = 0; count < 10; count++) shards.push(await written(store, [2000]));
    const [bad, ...good] = shards as [(typeof shards)[0], ...typeof shards];
    await store[Symbol.asyncDispose]();
    const volume = await disk.readFile("volumes/00000001.volume");
    const seal = volume?.indexOf(Buffer.from("session-a")) ?? 0;
    disk.flipBit("volumes/00000001.volume", seal * 8);
    const again = await openStore(disk);
    expect(again.opened.damage).toHaveLength(1);
    expect(again.opened.cut).toBe(0);
    expect(await again.stat(bad.id, signal)).toBeUndefined();
    for (const shard of good) expect(await readAll(again, shard)).toEqual(shard.bytes);
  });

  test("in a large block's head does not let records within its payload be believed", async () => {
    const disk = memoryDisk();
    const store = await openStore(disk);
    const victim = await written(store, [3000]);
    await store.remove([victim.id], signal);
    const kept = await written(store, [3000]);
    // A client stores a copy of the volume itself, tombstones, seals and all.
    const volume = (await disk.readFile("volumes/00000001.volume")) ?? Buffer.alloc(0);
    const shard = sample([volume.length]);
    const bytes = volume;
    const { checksummedBlock, ShardDigest } = await import("#shards/digest.ts");
    const block = checksummedBlock([bytes]);
    const digest = new ShardDigest();
    digest.add(block);
    const siblings = shard.seal.siblings.with(0, digest.value);
    await store.put(shard.id, { block, seal: { ...shard.seal, siblings } }, { signal });
    const after = await written(store, [3000]);
    await store[Symbol.asyncDispose]();
    const now = (await disk.readFile("volumes/00000001.volume")) ?? Buffer.alloc(0);
    const payload = now.indexOf(volume, 1);
    disk.flipBit("volumes/00000001.volume", (payload - 20) * 8);
    const again = await openStore(disk);
    expect(again.opened.damage).toHaveLength(1);
    expect(await again.stat(victim.id, signal)).toBeUndefined();
    expect(await readAll(again, kept)).toEqual(kept.bytes);
    expect(await readAll(again, after)).toEqual(after.bytes);
  });
});

describe("a full disk", () => {
  test("refuses new shards at the reserve, while removes and repair go on", async () => {
    const disk = memoryDisk(1, 400_000);
    const options = { ...SMALL, reserveBytes: 100_000, reserveShare: 1 };
    const store = await openStore(disk, options);
    const shards = [];
    let refusal: unknown;
    while (refusal === undefined && shards.length < 100) {
      const shard = sample([20_000]);
      refusal = await put(store, shard).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (refusal === undefined) shards.push(shard);
    }
    expect(refusal).toBeInstanceOf(ShardStoreFull);
    expect(shards.length).toBeGreaterThan(8);
    expect(await store.health()).toMatchObject({ state: "full" });
    const repaired = sample([20_000]);
    await put(store, repaired, true);
    expect(await readAll(store, repaired)).toEqual(repaired.bytes);
    await store.remove(
      shards.map(({ id }) => id),
      signal,
    );
    for (const shard of shards) expect(await store.stat(shard.id, signal)).toBeUndefined();
    while ((await store.compact(signal))?.kind === "removed");
    expect(await readAll(store, repaired)).toEqual(repaired.bytes);
  });

  test("ends just the shard that finds no room", async () => {
    const disk = memoryDisk(1, 100_000);
    const store = await openStore(disk, { ...SMALL, volumeBytes: 10 ** 9 });
    const small = await written(store, [1000]);
    const large = sample([60_000, 60_000]);
    await expect(write(store, large)).rejects.toThrow(ShardStoreFull);
    expect(await store.stat(large.id, signal)).toBeUndefined();
    expect(await readAll(store, small)).toEqual(small.bytes);
    const next = await written(store, [1000]);
    await store.remove([small.id], signal);
    expect(await readAll(store, next)).toEqual(next.bytes);
    disk.kill();
    const again = await openStore(disk);
    expect(again.opened.damage).toEqual([]);
    expect(await readAll(again, next)).toEqual(next.bytes);
    expect(await again.stat(small.id, signal)).toBeUndefined();
  });

  test("that has no room for another volume is not filled with empty files", async () => {
    const disk = memoryDisk();
    const store = await openStore(disk);
    disk.fault = (kind, path) =>
      kind === "write" ? { error: systemError("ENOSPC", kind, path) } : undefined;
    for (let count = 0; count < 5; count++) {
      await expect(put(store, sample([500]))).rejects.toThrow(ShardStoreFull);
    }
    expect(disk.files().filter((path) => path.startsWith("volumes/"))).toEqual([]);
    disk.fault = undefined;
    const shard = await written(store, [500]);
    disk.kill();
    const again = await openStore(disk);
    expect(await readAll(again, shard)).toEqual(shard.bytes);
  });

  test("refuses each of several small shards that find no room together", async () => {
    const disk = memoryDisk();
    const store = await openStore(disk);
    const before = await written(store, [1000]);
    let writes = 0;
    disk.fault = (kind, path) => {
      if (kind !== "write" || !path.startsWith("volumes/")) return undefined;
      // Ends a store that tries for ever.
      if (++writes > 20) disk.fault = undefined;
      return { error: systemError("ENOSPC", kind, path) };
    };
    const shards = [sample([500]), sample([500]), sample([500])];
    const outcomes = await Promise.allSettled(shards.map((shard) => put(store, shard)));
    disk.fault = undefined;
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ reason: expect.any(ShardStoreFull) });
    }
    const after = await written(store, [1000]);
    for (const shard of [before, after]) expect(await readAll(store, shard)).toEqual(shard.bytes);
  });

  test("that then fails lets nobody wait for ever", { timeout: 5000 }, async () => {
    const disk = memoryDisk();
    await disk.makeFolder("volumes");
    const faults: Error[] = [];
    const hex = "0".repeat(32);
    const header = { diskId: hex, secret: Buffer.alloc(16), owner: hex };
    const volume = await createVolume(disk, header, {
      onDurable: async () => undefined,
      onFault: (_, fault) => faults.push(fault),
    });
    const codes = ["ENOSPC", "EIO"];
    disk.fault = (kind, path) => {
      const code = kind === "write" ? codes.shift() : undefined;
      return code === undefined ? undefined : { error: systemError(code, kind, path) };
    };
    const { id, blocks } = sample([500, 500]);
    const appends = blocks.map(({ checksums, length, pieces }, number) => {
      const content = { id, tag: "0".repeat(16) };
      const record = { kind: "block", content, number, length, checksums } as const;
      const outgoing = { record, payload: pieces, location: { volume: 0, offset: 0 } };
      return volume.append({ records: [outgoing], durable: false });
    });
    appends.push(volume.append({ records: [], durable: true }));
    const outcomes = await Promise.allSettled(appends);
    expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
    expect(faults).toHaveLength(1);
    await volume.cut();
  });
});
