import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { systemClock } from "#lib/clock.ts";
import { systemDisk } from "#lib/system-disk.ts";
import { openLmdbIndexStore } from "#storage/lmdb-index-store.ts";

test("a flush waits for another process that moves rows, and then moves what that one did not see", async () => {
  const root = await mkdtemp(join(tmpdir(), "anybucket-index-"));
  const disk = systemDisk(root);
  const other = await disk.lock("moves");
  const index = openLmdbIndexStore(root, {
    clock: systemClock,
    lockMoves: () => disk.lock("moves"),
    onFault: (error) => expect.fail(String(error)),
  });
  await index.transact((rows) => rows.put(Buffer.from("key"), Buffer.from("value")));
  const flushing = index.flush();
  expect(await Promise.race([flushing, stillWaiting()])).toBe("still waiting");
  await other?.[Symbol.asyncDispose]();
  await flushing;
  await index[Symbol.asyncDispose]();
  await rm(root, { recursive: true });
});

async function stillWaiting(): Promise<string> {
  await systemClock.sleep(50);
  return "still waiting";
}
