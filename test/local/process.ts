/** Anybucket as an operator starts it: the launcher, in a process of its own, on folders and ports that are the test's. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { S3Client, type S3ClientConfig } from "@aws-sdk/client-s3";
import { freePort } from "../s3/server.ts";

export const ROOT = resolve(import.meta.dirname, "../..");
const LAUNCHER = join(ROOT, "services/anybucket.js");
/** A start takes one or two seconds; the rest is for a machine with other things to do. */
const PATIENCE_MS = 60_000;

export interface LaunchOptions {
  readonly args?: readonly string[];
  /** With PATH all of the environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** The user to run as, which takes root. */
  readonly uid?: number;
  /** What runs the launcher, with flags of its own. */
  readonly node?: readonly [program: string, ...flags: string[]];
  readonly launcher?: string;
}

export interface Launched {
  readonly process: ChildProcess;
  stdout(): string;
  stderr(): string;
  /** Its exit code; null when a signal ended it. */
  readonly exited: Promise<number | null>;
  /** SIGTERM, and wait. */
  stop(): Promise<number | null>;
  /** SIGKILL to it and its workers, and wait. */
  kill(): Promise<void>;
}

export function launch({
  args = [],
  env = {},
  cwd,
  uid,
  node: [program, ...flags] = [process.execPath],
  launcher = LAUNCHER,
}: LaunchOptions): Launched {
  const child = spawn(program, [...flags, launcher, ...args], {
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: process.env["PATH"], ...env },
    ...(cwd === undefined ? {} : { cwd }),
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  const written = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream].setEncoding("utf8").on("data", (text: string) => {
      written[stream] += text;
    });
  }
  const exited = new Promise<number | null>((settle) => child.once("close", settle));
  return {
    process: child,
    stdout: () => written.stdout,
    stderr: () => written.stderr,
    exited,
    stop: () => {
      child.kill("SIGTERM");
      return exited;
    },
    kill: async () => {
      if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
        process.kill(-child.pid, "SIGKILL");
      }
      await exited;
    },
  };
}

export interface Running extends Launched {
  readonly port: number;
  readonly endpoint: string;
  readonly admin: string;
}

export interface Ports {
  readonly address: string;
  readonly adminAddress: string;
}

/**
 * On ports of its own, in its environment unless `args` takes them; with two workers that share the connections evenly
 * unless said otherwise, and ready.
 */
export async function start(
  options: Omit<LaunchOptions, "args"> & {
    readonly args: readonly string[] | ((ports: Ports) => readonly string[]);
  },
): Promise<Running> {
  const [port, adminPort] = [await freePort(), await freePort()];
  const ports = { address: `127.0.0.1:${port}`, adminAddress: `127.0.0.1:${adminPort}` };
  const { args } = options;
  const takesPorts = typeof args === "function";
  const inEnvironment = {
    ANYBUCKET_ADDRESS: ports.address,
    ANYBUCKET_ADMIN_ADDRESS: ports.adminAddress,
  };
  const launched = launch({
    ...options,
    args: takesPorts ? args(ports) : args,
    env: {
      ...(takesPorts ? {} : inEnvironment),
      ANYBUCKET_WORKERS: "2",
      ANYBUCKET_CONNECTION_SPREAD: "even",
      ...options.env,
    },
  });
  const scheme = options.env?.["ANYBUCKET_TLS_CERT_FILE"] === undefined ? "http" : "https";
  const running = {
    ...launched,
    port,
    endpoint: `${scheme}://127.0.0.1:${port}`,
    admin: `http://127.0.0.1:${adminPort}`,
  };
  await untilReady(running);
  return running;
}

/** Until the first screen is out, which is when every worker serves. */
export async function untilReady(launched: Launched): Promise<void> {
  const isReady = () => /^ {2}rclone .*\r?\n/m.test(launched.stdout());
  await until(launched, isReady, "it is ready");
}

/** Fails when the process ends before, or takes too long. */
export async function until(
  launched: Launched,
  holds: () => boolean | Promise<boolean>,
  what: string,
): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while (Date.now() < deadline) {
    if (await holds()) return;
    const { exitCode, signalCode } = launched.process;
    if (exitCode !== null || signalCode !== null) {
      throw new Error(`Ended before ${what}: ${output(launched)}`);
    }
    await sleep(25);
  }
  throw new Error(`Not within ${PATIENCE_MS} ms: ${what}: ${output(launched)}`);
}

/** How a start that must fail ended. */
export async function faultOf(
  options: LaunchOptions,
): Promise<{ code: number | null; stderr: string; stdout: string }> {
  const launched = launch(options);
  await using end = new AsyncDisposableStack();
  end.defer(() => launched.kill());
  await until(launched, () => launched.process.exitCode !== null, "it ends by itself");
  const code = await launched.exited;
  return { code, stderr: launched.stderr(), stdout: launched.stdout() };
}

function output(launched: Launched): string {
  return `${launched.stdout()}\n${launched.stderr()}`;
}

/** The lines of its log, so far. */
export function logLines(launched: Launched): readonly Record<string, unknown>[] {
  const lines = launched.stdout().split("\n").slice(0, -1);
  return lines
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

export interface Keys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

export function clientOf(
  { endpoint }: { endpoint: string },
  { accessKeyId, secretAccessKey }: Keys,
  requestHandler?: S3ClientConfig["requestHandler"],
): S3Client {
  return new S3Client({
    endpoint,
    region: "us-east-1",
    forcePathStyle: true,
    // A copy: the SDK adds to what it is given.
    credentials: { accessKeyId, secretAccessKey },
    maxAttempts: 1,
    ...(requestHandler === undefined ? {} : { requestHandler }),
    requestChecksumCalculation: "WHEN_REQUIRED",
  });
}

/** A folder of the test's own, gone with it. */
export async function scratch(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "anybucket-local-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}
