/**
 * The long run: `npm run test:simulation -- --seeds 500 [--from 1]`, or one seed again: `--seed 17 [--trace]`. Prints what
 * was reached, and for each seed that failed what was wrong; exits with 1 when any did.
 */
import { parseArgs } from "node:util";
import { type Report, simulate } from "./simulation.ts";
import { Tally } from "./tally.ts";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "100" },
    from: { type: "string", default: "1" },
    seed: { type: "string" },
    trace: { type: "boolean", default: false },
    "stop-at-failure": { type: "boolean", default: false },
  },
});

const tally = new Tally();
const first = Number(values.seed ?? values.from);
const last = values.seed === undefined ? first + Number(values.seeds) - 1 : first;
for (let seed = first; seed <= last; seed++) {
  const onEvent = (at: number, label: string) => say(`${at.toFixed(3).padStart(12)} ${label}`);
  tally.begin();
  const report = await simulate({ seed, ...(values.trace && { onEvent }) });
  tally.add(report);
  tell(report);
  if (values["stop-at-failure"] && tally.failures.length > 0) break;
}
say(tally.summary());
process.exitCode = tally.failures.length === 0 ? 0 : 1;

function tell({ seed, violations, trace, operations, events, shape, counts }: Report): void {
  if (values.seed !== undefined) {
    say(`${JSON.stringify(shape)}\n${JSON.stringify(Object.fromEntries(counts))}`);
    say(`${operations} operations, ${events} events, trace ${trace}`);
  }
  for (const violation of violations) say(`seed ${seed}: ${violation}`);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
