/** kill -9 under load: of the whole process group, and of one worker; nothing acknowledged is lost, wrong or undone. */
import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { freePort, startServer, type TestServer } from "../s3/server.ts";
import { Journal } from "./journal.ts";
import { checkAll, createBuckets, runWriters } from "./workload.ts";

/** `CRASH_ROUNDS=100 npm test crash` is the long run. */
const ROUNDS = Number(process.env["CRASH_ROUNDS"] ?? 12);
const WRITERS = 10;

test(`after ${ROUNDS} kills of the whole server under load every acknowledged change is there`, async () => {
  const folder = await mkdtemp(join(tmpdir(), "anybucket-kill-"));
  const journal = new Journal();
  const seed = Number(process.env["CRASH_SEED"] ?? Date.now() % 1e9);
  const wrong: string[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const server = await startServer({ folders: [folder] });
    const client = server.client();
    if (round === 0) await createBuckets(client);
    wrong.push(
      ...(await checkAll(client, journal)).wrong.map(
        (line) => `seed ${seed} round ${round}: ${line}`,
      ),
    );
    const stop = new AbortController();
    const writers = runWriters({
      client,
      journal,
      writers: WRITERS,
      seed: seed + round,
      signal: stop.signal,
    });
    await sleep(150 + ((seed * (round + 7)) % 700));
    await server.kill();
    stop.abort();
    await writers;
    client.destroy();
  }
  const last = await startServer({ folders: [folder] });
  wrong.push(...(await checkAll(last.client(), journal)).wrong);
  expect(await last.stop()).toBe(0);
  expect(wrong).toEqual([]);
  expect(journal.acknowledged).toBeGreaterThan(ROUNDS * 10);
  await rm(folder, { recursive: true });
}, 1_800_000);

test("a worker killed under load loses nothing and is started again", async () => {
  const server = await startServer({ env: { ANYBUCKET_WORKERS: "2" } });
  const client = server.client();
  const journal = new Journal();
  await createBuckets(client);
  const stop = new AbortController();
  const load = (async () => {
    for (let seed = 1; !stop.signal.aborted; seed++) {
      await runWriters({ client, journal, writers: WRITERS, seed, signal: stop.signal });
    }
  })();
  const kills = Math.max(4, Math.floor(ROUNDS / 3));
  for (let kill = 0; kill < kills; kill++) {
    await sleep(400);
    // The oldest, which does the background work.
    const [worker] = childrenOf(server.process.pid ?? 0);
    expect(worker).toBeDefined();
    if (worker !== undefined) process.kill(worker, "SIGKILL");
    await untilReady(server, 2);
  }
  stop.abort();
  await load;
  const findings = await checkAll(client, journal);
  expect(findings.wrong).toEqual([]);
  expect(journal.acknowledged).toBeGreaterThan(kills * 10);
  expect(childrenOf(server.process.pid ?? 0)).toHaveLength(2);
  expect(await server.stop()).toBe(0);
});

test("SIGTERM lets a request under way finish, and the port is free again", async () => {
  const port = await freePort();
  const server = await startServer({ port });
  const client = server.client();
  await createBuckets(client);
  const journal = new Journal();
  const stop = new AbortController();
  const load = runWriters({ client, journal, writers: 4, seed: 1, signal: stop.signal });
  await sleep(300);
  stop.abort();
  const [code] = await Promise.all([server.stop(), load]);
  expect(code).toBe(0);
  const again = await startServer({ port });
  expect(await again.stop()).toBe(0);
});

async function untilReady(server: TestServer, processes: number): Promise<void> {
  const deadline = Date.now() + 30_000;
  let said = "";
  while (!said.startsWith(`${processes} of`)) {
    if (Date.now() > deadline)
      throw new Error(`Only this within 30 s: ${said}\n${server.output()}`);
    await sleep(100);
    said = await (await fetch(`${server.adminEndpoint}/readyz`)).text();
  }
}

function childrenOf(parent: number): number[] {
  const children: number[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      if (Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]) === parent)
        children.push(Number(name));
    } catch {
      // It ended while we were looking.
    }
  }
  return children;
}
