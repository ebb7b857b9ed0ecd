import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import type { Disk } from "#lib/disk.ts";
import { systemRandom } from "#lib/random.ts";
import { readAll, written } from "#shards/shard-store.contract.ts";
import { prepareDisk } from "#storage/disk-identity.ts";
import type { DiskStore } from "#storage/disk-store.ts";
import { CLUSTER, openStore, SMALL, temporaryDisk } from "#storage/testing/stores.ts";

const { signal } = new AbortController();

type Message =
  | { kind: "open" }
  | { kind: "written"; group: number; name: string; length: number; fill: string };

/** A worker process and what it acknowledged. */
class Worker {
  readonly acknowledged: (Message & { kind: "written" })[] = [];
  readonly #child: ChildProcess;
  readonly opened: Promise<void>;
  onWritten: ((message: Message & { kind: "written" }) => void) | undefined;

  constructor(root: string, seed: number) {
    const script = new URL("./testing/worker.ts", import.meta.url);
    this.#child = fork(script, [root, String(seed)], { execArgv: [] });
    const { promise, resolve } = Promise.withResolvers<void>();
    this.opened = promise;
    this.#child.on("message", (message: Message) => {
      if (message.kind === "open") resolve();
      else {
        this.acknowledged.push(message);
        this.onWritten?.(message);
      }
    });
  }

  async reach(count: number): Promise<void> {
    while (this.acknowledged.length < count) await once(this.#child, "message");
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await once(this.#child, "exit");
  }

  async stop(): Promise<void> {
    this.#child.send("stop");
    await once(this.#child, "exit");
  }
}

async function expectAcknowledged(store: DiskStore, worker: Worker): Promise<void> {
  for (const message of worker.acknowledged) {
    const { group, name, length, fill } = message;
    const id = { group, writeId: Buffer.from(name, "hex"), index: 0 };
    const bytes = await store.read(id, { offset: 0, length }, { signal });
    expect(Buffer.alloc(length, fill).equals(bytes)).toBe(true);
  }
}

test("processes share a disk: each sees at once what another acknowledged, and a killed one loses nothing", async () => {
  await using folder = await temporaryDisk();
  const root = folder.disk.root ?? "";
  const store = await openStore(folder.disk, SMALL);
  const mine = await written(store, [5000]);
  const [first, second] = [new Worker(root, 1), new Worker(root, 2)];
  const unseen: string[] = [];
  for (const worker of [first, second]) {
    worker.onWritten = ({ group, name }) => {
      const id = { group, writeId: Buffer.from(name, "hex"), index: 0 };
      void store.stat(id, signal).then((info) => info ?? unseen.push(name));
    };
  }
  await Promise.all([first.reach(300), second.reach(300)]);
  await first.kill();
  first.onWritten = undefined;
  // The others go on while the dead one's volumes are recovered.
  const before = second.acknowledged.length;
  const report = await store.recover();
  expect(report.volumes).toBeGreaterThan(0);
  expect(report.damage).toEqual([]);
  await second.reach(before + 100);
  await second.stop();
  expect(unseen).toEqual([]);
  await expectAcknowledged(store, first);
  await expectAcknowledged(store, second);
  expect(await readAll(store, mine)).toEqual(mine.bytes);
  expect(await store.recover()).toMatchObject({ volumes: 0 });
  await store[Symbol.asyncDispose]();
});

test("when all processes are killed the next start has all that they acknowledged", async () => {
  await using folder = await temporaryDisk();
  const root = folder.disk.root ?? "";
  // As the supervising process does: two that prepare an empty folder at once would not agree on whose disk it is.
  await prepareDisk(folder.disk, { clusterId: CLUSTER, random: systemRandom });
  const workers = [new Worker(root, 3), new Worker(root, 4)];
  await Promise.all(workers.map((worker) => worker.reach(200)));
  await Promise.all(workers.map((worker) => worker.kill()));
  const store = await openStore(folder.disk, SMALL);
  expect(store.opened.volumes).toBeGreaterThan(0);
  for (const worker of workers) await expectAcknowledged(store, worker);
  await store[Symbol.asyncDispose]();
});

test.each([
  [
    "is no LMDB file",
    async (disk: Disk) => disk.writeFile("index/data.mdb", Buffer.alloc(8192, 9)),
  ],
  ["is gone", async (disk: Disk) => disk.remove("index")],
  [
    "brought the last process down when it was opened",
    async (disk: Disk) => {
      await disk.writeFile("index-opening", Buffer.alloc(0));
      const file = await disk.open("index/data.mdb", "write");
      await file.truncate(8192);
    },
  ],
])("an index that %s is made anew from the volumes", async (_what, damage) => {
  await using folder = await temporaryDisk();
  const store = await openStore(folder.disk, SMALL);
  const gone = await written(store, [5000]);
  const kept = await written(store, [300_000, 300_000, 9]);
  await store.remove([gone.id], signal);
  await store[Symbol.asyncDispose]();
  await damage(folder.disk);
  const again = await openStore(folder.disk, SMALL);
  expect(again.opened.volumes).toBeGreaterThan(0);
  expect(await again.stat(gone.id, signal)).toBeUndefined();
  expect((await readAll(again, kept)).equals(kept.bytes)).toBe(true);
  await again[Symbol.asyncDispose]();
  const third = await openStore(folder.disk, SMALL);
  expect(third.opened.volumes).toBe(0);
  await third[Symbol.asyncDispose]();
});
