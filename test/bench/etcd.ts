/**
 * What the index costs on etcd: commits/s and reads/s by how many are in flight, and processor time of this process and
 * of etcd for each. One member, flushed to the disk; `--no-sync` leaves that out.
 *
 *     node test/bench/etcd.ts
 */
import { randomBytes } from "node:crypto";
import { parseArgs } from "node:util";
import type { EtcdMetadata } from "#metadata/etcd.ts";
import { EtcdProcesses } from "#metadata/testing/etcd-process.ts";

const SECONDS = 3;
const { values } = parseArgs({ options: { "no-sync": { type: "boolean", default: false } } });

await using etcd = await EtcdProcesses.start({ isSynced: !values["no-sync"] });
await using store = await etcd.open();
await using session = await store.session();
const value = randomBytes(300);
let created = 0;

/** As a PUT of a new object: both heads and the session compared; the record and one more put. */
async function commit(): Promise<void> {
  const key = Buffer.from(`L0123456789abcdef/photos/2026/${created++}.jpg`);
  const other = Buffer.concat([Buffer.from("M"), key.subarray(1)]);
  const expect = [key, other].map((absent) => ({ key: absent, revision: 0 }));
  const outcome = await store.commit({
    expect: [...expect, session.expectation()],
    put: [
      { key, value },
      { key: other, value },
    ],
    remove: [],
  });
  if (outcome.kind === "conflict") throw new Error("A key was there before");
}

async function get(): Promise<void> {
  const number = Math.floor(Math.random() * created);
  await store.get(Buffer.from(`L0123456789abcdef/photos/2026/${number}.jpg`));
}

async function page(opened: EtcdMetadata): Promise<void> {
  const start = Math.floor(Math.random() * created);
  const from = Buffer.from(`L0123456789abcdef/photos/2026/${start}.jpg`);
  await opened.range({ from, to: Buffer.from("L0123456789abcdef0"), limit: 1000 });
}

await measure("warm-up", 64, commit);
for (const inFlight of [1, 16, 64, 256]) await measure("commit", inFlight, commit);
for (const inFlight of [1, 16, 64, 256]) await measure("get", inFlight, get);
await measure("page of 1,000", 4, () => page(store));

async function measure(name: string, inFlight: number, step: () => Promise<void>): Promise<void> {
  const before = await etcd.measure();
  const begun = performance.now();
  const usage = process.cpuUsage();
  const end = begun + SECONDS * 1000;
  let steps = 0;
  const waits: number[] = [];
  const client = async () => {
    while (performance.now() < end) {
      const start = performance.now();
      await step();
      waits.push(performance.now() - start);
      steps += 1;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, client));
  const { user, system } = process.cpuUsage(usage);
  const seconds = (performance.now() - begun) / 1000;
  const after = await etcd.measure();
  const median = waits.toSorted((a, b) => a - b)[Math.floor(waits.length / 2)] ?? 0;
  process.stdout.write(
    `${name.padEnd(14)} ${String(inFlight).padStart(4)} in flight ${(steps / seconds).toFixed(0).padStart(7)}/s  median ${median.toFixed(1)} ms  ` +
      `processor: ours ${((user + system) / steps).toFixed(0)} µs, etcd's ${(((after.processorMs - before.processorMs) * 1000) / steps).toFixed(0)} µs each\n`,
  );
}
