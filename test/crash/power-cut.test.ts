/** Power cuts under load, with two writing processes: whatever was acknowledged before the cut is there after it. */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { startServer } from "../s3/server.ts";
import { Journal } from "./journal.ts";
import { canCutPower, PowerCutDisk } from "./power-cut.ts";
import { checkAll, createBuckets, runWriters } from "./workload.ts";

/** `POWER_CUTS=50 npm test crash` is the long run. */
const CUTS = Number(process.env["POWER_CUTS"] ?? 8);
const WRITERS = 10;
/** After the processes are stopped, answers already sent are still on their way to the client. */
const ANSWERS_MS = 100;

test.skipIf(!canCutPower())(
  `after ${CUTS} power cuts under load every acknowledged change is there`,
  async () => {
    const seed = Number(process.env["CRASH_SEED"] ?? Date.now() % 1e9);
    const journal = new Journal();
    const wrong: string[] = [];
    using disk = new PowerCutDisk();
    for (let cut = 0; cut <= CUTS; cut++) {
      const server = await startServer({
        folders: [join(disk.folder, "data")],
        env: { ANYBUCKET_WORKERS: "2", ANYBUCKET_TRASH_RETENTION: "1s" },
      });
      const client = server.client();
      if (cut === 0) await createBuckets(client);
      const findings = await checkAll(client, journal);
      wrong.push(...findings.wrong.map((line) => `seed ${seed} cut ${cut}: ${line}`));
      const stop = new AbortController();
      const writers = runWriters({
        client,
        journal,
        writers: WRITERS,
        seed: seed + cut,
        signal: stop.signal,
      });
      await sleep(150 + ((seed * (cut + 3)) % 900));
      process.kill(-(server.process.pid ?? 0), "SIGSTOP");
      await sleep(ANSWERS_MS);
      disk.copy();
      await server.kill();
      stop.abort();
      await writers;
      client.destroy();
      disk.swap();
    }
    expect(wrong).toEqual([]);
    expect(journal.acknowledged).toBeGreaterThan(CUTS * 10);
  },
  1_800_000,
);
