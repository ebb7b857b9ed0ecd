/** `npm run test:cluster -- --hours N`: the fault matrix for as long as one likes; `--seed N` has the faults come in the same order. */
import { parseArgs } from "node:util";
import { startDaemon } from "../support/docker.ts";
import { buildImages } from "../support/images.ts";
import { runMatrix } from "./matrix.ts";

const HOUR_MS = 3_600_000;

const { values } = parseArgs({
  options: { hours: { type: "string", default: "1" }, seed: { type: "string" } },
});

const end = await startDaemon();
if (!end) throw new Error("Cannot run the fault matrix: Docker is not here, nor may it be started");
const began = Date.now();
const clock = () => new Date().toISOString().slice(11, 19);
const { tally } = await runMatrix({
  images: await buildImages(),
  seed: Number(values.seed ?? began % 1_000_000),
  untilMs: began + Number(values.hours) * HOUR_MS,
  operationsMin: 0,
  together: [1, 1, 2, 2, 3],
  log: (line) => process.stdout.write(`${clock()} ${line}\n`),
});
await end();
process.exitCode = tally.violations.length === 0 ? 0 : 1;
