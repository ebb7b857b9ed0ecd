/** What a server's processes cost, read from /proc: the processes given and all their descendants. */
import { readdirSync, readFileSync } from "node:fs";

/** Linux reports times in ticks of 1/100 s to user space, whatever the kernel's own rate. */
const TICK_SECONDS = 0.01;
const PAGE_BYTES = 4096;

export interface Cost {
  readonly cpuSeconds: number;
  /** Of the largest process, and of all together. */
  readonly largestBytes: number;
  readonly totalBytes: number;
}

export function processCost(roots: readonly number[]): Cost {
  const processes = readProcesses();
  const members = new Set(roots);
  for (let grew = true; grew; ) {
    grew = false;
    for (const [id, { parent }] of processes) {
      if (members.has(id) || !members.has(parent)) continue;
      members.add(id);
      grew = true;
    }
  }
  let ticks = 0;
  let largest = 0;
  let total = 0;
  for (const id of members) {
    const found = processes.get(id);
    if (found === undefined) continue;
    ticks += found.ticks;
    largest = Math.max(largest, found.bytes);
    total += found.bytes;
  }
  return { cpuSeconds: ticks * TICK_SECONDS, largestBytes: largest, totalBytes: total };
}

function readProcesses(): Map<number, { parent: number; ticks: number; bytes: number }> {
  const processes = new Map<number, { parent: number; ticks: number; bytes: number }>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const fields = readStat(name);
    if (fields === undefined) continue;
    processes.set(Number(name), {
      parent: Number(fields[1]),
      ticks: Number(fields[11]) + Number(fields[12]),
      bytes: Number(fields[21]) * PAGE_BYTES,
    });
  }
  return processes;
}

/** The fields behind the command's name; undefined when the process has just ended. */
function readStat(name: string): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${name}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}
