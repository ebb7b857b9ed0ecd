/** What a run reached and found, over all its campaigns. */
import type { Judged } from "../support/checker.ts";
import type { Operation } from "../support/history.ts";

export type Verdict = "lost" | "wrong" | "back from the dead" | "out of order" | "not healed";
export const VERDICTS: readonly Verdict[] = [
  "lost",
  "wrong",
  "back from the dead",
  "out of order",
  "not healed",
];

export interface Violation {
  readonly verdict: Verdict;
  readonly text: string;
}

/** Of writes with one node dead, after the first seconds. */
export interface OneDead {
  readonly writes: number;
  readonly failed: number;
}

export class Tally {
  readonly violations: Violation[] = [];
  /** By kind; a fault, or a request. */
  readonly faults = new Map<string, number>();
  readonly requests = new Map<string, number>();
  readonly redundantSeconds: number[] = [];
  oneDead: OneDead = { writes: 0, failed: 0 };
  campaigns = 0;
  operations = 0;
  keys = 0;
  undecided = 0;
  #unknown = 0;

  judged(operations: readonly Operation[], judged: Judged): void {
    this.operations += operations.length;
    this.#unknown += operations.filter(({ answer }) => answer.kind === "unknown").length;
    this.keys += judged.keys;
    this.undecided += judged.undecided.length;
    for (const text of judged.violations) this.violated(verdictOf(text), text);
  }

  violated(verdict: Verdict, text: string): void {
    this.violations.push({ verdict, text });
  }

  fault(name: string): void {
    this.faults.set(name, (this.faults.get(name) ?? 0) + 1);
  }

  writtenWithOneDead({ writes, failed }: OneDead): void {
    const before = this.oneDead;
    this.oneDead = { writes: before.writes + writes, failed: before.failed + failed };
  }

  summary(): string {
    const { writes, failed } = this.oneDead;
    const injected = [...this.faults.values()].reduce((sum, count) => sum + count, 0);
    const found = VERDICTS.map((verdict) => `${this.#count(verdict)} ${verdict}`).join(", ");
    const slowest = Math.max(0, ...this.redundantSeconds);
    return [
      `${this.operations} operations checked on ${this.keys} keys, ${share(this.#unknown, this.operations)} without an answer, ${this.undecided} keys undecided`,
      `${injected} faults in ${this.campaigns} campaigns; whole again ${slowest.toFixed(0)} s after the last one at most`,
      `with one node dead ${writes - failed} of ${writes} writes succeeded (${share(writes - failed, writes)})`,
      `found: ${found}`,
      ...table("faults", this.faults),
      ...table("requests", this.requests),
    ].join("\n");
  }

  #count(verdict: Verdict): number {
    return this.violations.filter((one) => one.verdict === verdict).length;
  }
}

function verdictOf(text: string): Verdict {
  if (text.includes(": wrong through ")) return "wrong";
  if (text.includes(" cannot be read through ")) return "lost";
  const isEmpty = /holds \[(marker|\])/.test(text);
  if (/"answer":\{"kind":"seen"/.test(text) && isEmpty) return "back from the dead";
  if (/"answer":\{"kind":"absent"/.test(text) && !isEmpty) return "lost";
  return "out of order";
}

function share(part: number, whole: number): string {
  return `${((100 * part) / Math.max(1, whole)).toFixed(2)} %`;
}

function table(title: string, counts: ReadonlyMap<string, number>): readonly string[] {
  const rows = [...counts].toSorted(([one], [other]) => (one < other ? -1 : 1));
  return [`${title}:`, ...rows.map(([name, count]) => `  ${String(count).padStart(8)} ${name}`)];
}
