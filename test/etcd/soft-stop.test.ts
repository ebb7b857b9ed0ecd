/** A gateway whose clients store until etcd is nearly full: it stops before etcd does, and goes on once they have removed enough (R20). */

import { expect, test } from "vitest";
import { IndexRoom } from "#cluster/index-room.ts";
import { startGateway } from "#gateway/testing/raw-client.ts";
import { type Clock, systemClock } from "#lib/clock.ts";
import { silentLog } from "#lib/log.ts";
import { createMetrics } from "#lib/metrics.ts";
import { systemRandom } from "#lib/random.ts";
import { EtcdProcesses, hasEtcd } from "#metadata/testing/etcd-process.ts";
import { createObjectLayer } from "#objects/layer.ts";
import { MemoryDataPlane } from "#objects/testing/memory-data-plane.ts";
import { put, until } from "./support.ts";

const DEFAULT_QUOTA_BYTES = 2 * 1024 ** 3;
const QUOTA_BYTES = 16 * 1024 * 1024;
/** With as much metadata as AWS lets a record have, so that few objects fill etcd. */
const HEADERS = { "x-amz-meta-filling": "m".repeat(2000), "x-amz-acl": "public-read" };
const REFUSED = "503 SlowDown";
const CLIENTS = 16;
/** etcd is small, so it is looked at more often too: every 100 ms. */
const HURRIED: Clock = {
  ...systemClock,
  sleep: (ms, signal) => systemClock.sleep(ms / 50, signal),
};

/** So many at once, until none is left or one answers otherwise. */
async function each(count: number, status: string, ask: (number: number) => Promise<string>) {
  let begun = 0;
  const others: string[] = [];
  const client = async () => {
    while (begun < count && others.length === 0) {
      const found = await ask(begun++);
      if (found !== status) others.push(found);
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  return { begun, others };
}

test.skipIf(!hasEtcd)(
  "it refuses new objects before etcd refuses anything, and takes them again after removals and a compaction",
  async () => {
    await using etcd = await EtcdProcesses.start({ quotaBytes: QUOTA_BYTES });
    await using store = await etcd.open();
    await using session = await store.session();
    const shared = { session, random: systemRandom };
    const data = new MemoryDataPlane(shared);
    const { signal: lifetime } = new AbortController();
    const notes = new Map<string, string>();
    await using room = await IndexRoom.open({
      sizes: () => store.sizes(),
      quotaBytes: QUOTA_BYTES,
      clock: HURRIED,
      log: silentLog,
      notes,
      metrics: createMetrics({ processMetrics: false }),
    });
    const parts = { ...shared, store, data, clock: systemClock, lifetime };
    const objects = createObjectLayer({ ...parts, room });
    await using running = await startGateway(objects, {}, { room });
    await objects.buckets.create({
      name: "photos",
      ownerId: "owner",
      region: "",
      ownership: "ObjectWriter",
      acl: "public-read-write",
      signal: lifetime,
    });
    const send = async (method: string, key: string) => {
      const url = `http://127.0.0.1:${running.port}/photos/${key}`;
      // A byte, for without any there would be nothing to leave in the trash.
      const object = method === "PUT" ? { headers: HEADERS, body: "1" } : {};
      const answer = await fetch(url, { method, ...object });
      const code = /<Code>(\w+)</.exec(await answer.text())?.[1];
      return code === undefined ? String(answer.status) : `${answer.status} ${code}`;
    };
    const upload = (number: number) => send("PUT", `${number}`);
    const share = async () => {
      const { usedBytes, fileBytes } = await etcd.measure();
      return { used: usedBytes / QUOTA_BYTES, file: fileBytes / QUOTA_BYTES };
    };

    const filled = await each(20_000, "200", upload);
    expect(new Set(filled.others)).toEqual(new Set([REFUSED]));
    const full = await share();
    expect(full.used).toBeGreaterThan(0.75);
    expect(full.file).toBeLessThan(0.95);
    expect(notes.get("room")).toContain("nearly full");

    // What a full etcd would not let happen any more: another process's session, the next term of one, a removal by a put.
    const another = await store.session();
    await session.renew();
    await another[Symbol.asyncDispose]();
    expect(await send("GET", "0")).toBe("200");
    expect(await send("GET", "?list-type=2")).toBe("200");
    const removed = await each(filled.begun, "204", (number) => send("DELETE", `${number}`));
    expect(removed.others).toEqual([]);
    expect(await upload(0)).toBe(REFUSED);

    await store.compact(await store.currentRevision());
    await until(async () => (await upload(0)) === "200", 20_000);
    // Nobody has defragmented it: what the removals left is used again.
    const before = await share();
    expect(before.file).toBeGreaterThan(0.75);
    expect((await each(1_000, "200", upload)).others).toEqual([]);
    const after = await share();
    expect(after.file - before.file).toBeLessThan(0.05);
    expect(etcd.control("alarm", "list")).toBe("");
    process.stdout.write(
      `${filled.begun} objects until ${(full.used * 100).toFixed(1)} % were used (file ${(full.file * 100).toFixed(1)} %), after removals and compaction ${(before.used * 100).toFixed(1)} %, at the end ${(after.used * 100).toFixed(1)} % (file ${(after.file * 100).toFixed(1)} %)\n`,
    );
  },
);

test.skipIf(!hasEtcd)("of three members those that answer say how full they are", async () => {
  await using etcd = await EtcdProcesses.start({ members: 3 });
  await using store = await etcd.open();
  await put(store, "a", "1");
  const sizes = await store.sizes();
  expect(sizes.map(({ member }) => member)).toEqual(etcd.endpoints);
  for (const { usedBytes, allocatedBytes, quotaBytes, isFull } of sizes) {
    expect(usedBytes).toBeGreaterThan(0);
    expect(allocatedBytes).toBeGreaterThanOrEqual(usedBytes);
    // Debian's is of 3.4, which does not tell; a later one's is its default.
    expect(quotaBytes ?? DEFAULT_QUOTA_BYTES).toBe(DEFAULT_QUOTA_BYTES);
    expect(isFull).toBe(false);
  }
  await etcd.kill(1);
  expect((await store.sizes()).map(({ member }) => member)).toEqual([
    etcd.endpoints[0],
    etcd.endpoints[2],
  ]);
  await Promise.all([etcd.kill(0), etcd.kill(2)]);
  await expect(store.sizes()).rejects.toThrow("Cannot learn how full etcd is");
});
