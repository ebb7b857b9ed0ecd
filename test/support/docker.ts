/** Docker as the tests use it: its daemon, started where it is not running, and its command. */
import { execFile, spawn } from "node:child_process";
import { existsSync, openSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

const run = promisify(execFile);
const DAEMON = "/usr/sbin/dockerd";
const DAEMON_START_MS = 60_000;
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

/** What it wrote; throws with its complaints. */
export async function docker(...args: readonly string[]): Promise<string> {
  try {
    return (await run("docker", args, { maxBuffer: OUTPUT_BYTES_MAX })).stdout.trimEnd();
  } catch (error) {
    const { stderr = "", message } = error as { stderr?: string; message: string };
    throw new Error(`Cannot run docker ${args[0]}: ${stderr || message}`, { cause: error });
  }
}

export async function isThere(...args: readonly string[]): Promise<boolean> {
  try {
    await docker(...args);
    return true;
  } catch {
    return false;
  }
}

/** Answers how to end what it started, which is nothing where a daemon ran already; undefined where that is not ours to do. */
export async function startDaemon(): Promise<(() => Promise<void>) | undefined> {
  if (await isThere("info")) return async () => undefined;
  if (!existsSync(DAEMON) || process.getuid?.() !== 0) return undefined;
  const log = join(tmpdir(), "anybucket-dockerd.log");
  const output = openSync(log, "a");
  const daemon = spawn(DAEMON, [], { stdio: ["ignore", output, output], detached: true });
  const exited = new Promise<void>((settle) => daemon.once("exit", () => settle()));
  const deadline = performance.now() + DAEMON_START_MS;
  while (!(await isThere("info"))) {
    if (daemon.exitCode !== null || performance.now() > deadline) {
      throw new Error(`Cannot start Docker's daemon: ${log} says why`);
    }
    await sleep(200);
  }
  return async () => {
    daemon.kill("SIGTERM");
    await exited;
  };
}
