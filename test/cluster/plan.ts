/** Which faults come in which order: it follows from the seed. */
import type { SeededRandom } from "#lib/random.ts";
import { FAULT_NAMES, isOfAll } from "./faults.ts";

/** Faults that come together. */
export type Step = readonly string[];

/** Each fault once, in steps of one to `together`; those that take hold of every member come alone. */
export function planOf(random: SeededRandom, together: readonly number[]): readonly Step[] {
  const shuffled = FAULT_NAMES.map((name) => ({ name, at: random.fraction() }))
    .toSorted((one, other) => one.at - other.at)
    .map(({ name }) => name);
  const left = shuffled.filter((name) => !isOfAll(name));
  const steps: Step[] = [];
  while (left.length > 0) {
    const count = together[Math.floor(random.fraction() * together.length)] ?? 1;
    steps.push(left.splice(0, count));
  }
  for (const name of shuffled.filter(isOfAll)) {
    steps.splice(Math.floor(random.fraction() * (steps.length + 1)), 0, [name]);
  }
  return steps;
}
