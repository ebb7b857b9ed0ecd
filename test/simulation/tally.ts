/** What a row of runs reached: seeds, operations, faults by kind, distinct interleavings, and how fast it went. */
import type { Report } from "./simulation.ts";

export class Tally {
  readonly failures: Report[] = [];
  readonly #traces = new Set<string>();
  readonly #counts = new Map<string, number>();
  #seeds = 0;
  #operations = 0;
  #unknown = 0;
  #undecided = 0;
  #events = 0;
  #simulatedMs = 0;
  #cpuMs = 0;
  #begun = process.cpuUsage();

  begin(): void {
    this.#begun = process.cpuUsage();
  }

  add(report: Report): void {
    const { user, system } = process.cpuUsage(this.#begun);
    this.#cpuMs += (user + system) / 1000;
    this.#seeds += 1;
    this.#operations += report.operations;
    this.#unknown += report.operations * report.unknownShare;
    this.#undecided += report.undecided.length;
    this.#events += report.events;
    this.#simulatedMs += report.simulatedMs;
    this.#traces.add(report.trace);
    for (const [what, count] of report.counts) {
      this.#counts.set(what, (this.#counts.get(what) ?? 0) + count);
    }
    if (report.violations.length > 0) this.failures.push(report);
  }

  get seeds(): number {
    return this.#seeds;
  }

  get operations(): number {
    return this.#operations;
  }

  get undecided(): number {
    return this.#undecided;
  }

  summary(): string {
    const seconds = this.#cpuMs / 1000;
    const share = ((100 * this.#unknown) / Math.max(1, this.#operations)).toFixed(1);
    const counts = [...this.#counts].toSorted(([one], [other]) => (one < other ? -1 : 1));
    return [
      `${this.#seeds} seeds, ${this.#traces.size} distinct interleavings, ${this.failures.length} failed, ${seconds.toFixed(1)} s of CPU`,
      `${this.#operations} operations (${share} % without an answer), ${this.#undecided} keys undecided, ${this.#events} events`,
      `${(this.#operations / seconds).toFixed(0)} operations/s and ${(this.#events / seconds).toFixed(0)} events/s of one core; ` +
        `${(this.#simulatedMs / 1000 / seconds).toFixed(0)} simulated seconds a second`,
      ...counts.map(([what, count]) => `  ${String(count).padStart(8)} ${what}`),
    ].join("\n");
  }
}
