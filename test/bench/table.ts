/** What a bench prints: a table for each server, a peer's with our our share of it time. */
import type { Row } from "./phases.ts";

export interface Measured {
  readonly name: string;
  readonly rows: readonly Row[];
  readonly isPeer?: true;
}

export function printTables(measured: readonly Measured[]): void {
  const own = measured.filter(({ isPeer }) => !isPeer).flatMap(({ rows }) => rows);
  for (const each of measured) printTable(each, each.isPeer ? own : []);
}

/** `own`: our rows, for a peer's table. Of several of one phase the last counts: large objects as they are kept on many nodes. */
function printTable({ name, rows }: Measured, own: readonly Row[]): void {
  const roles = Object.keys(rows[0]?.roles ?? {});
  const byRole = roles.length > 1;
  line(`\n${name}`);
  const head =
    "phase                 ops/s    MiB/s   p50 ms   p99 ms  CPU µs/op  CPU ns/B  RSS MiB";
  line(
    head +
      (byRole ? roles.map((role) => role.padStart(10)).join("") : "") +
      (own.length > 0 ? "   our share of it" : ""),
  );
  for (const row of rows) {
    const mine = own.findLast(({ phase }) => phase === row.phase);
    const share =
      mine === undefined ? "" : `   ${(mine.cpuMicroseconds / row.cpuMicroseconds).toFixed(2)}`;
    const parts = byRole ? roles.map((role) => column(row.roles[role] ?? 0, 0, 10)).join("") : "";
    line(
      `${row.phase.padEnd(16)}${column(row.perSecond, 0, 11)}${column(row.mibPerSecond, 1, 9)}${column(row.p50, 2, 9)}${column(row.p99, 2, 9)}${column(row.cpuMicroseconds, 0, 11)}${column(row.cpuNsPerByte, 2, 10)}${column(row.largestMib, 0, 9)}${parts}${share}`,
    );
  }
}

function column(value: number, digits: number, width: number): string {
  return value.toFixed(digits).padStart(width);
}

export function line(text: string): void {
  process.stdout.write(`${text}\n`);
}
