/**
 * `npm run bench:scale`: what a large store costs. Writes a million objects through S3, then compares the first page of that bucket
 * with that of one of two thousand keys, and of one whose first key has ten thousand versions; and times the opening of the store,
 * after a stop and after a kill. Ends with 1 when a page costs half as much again, or opening takes five seconds.
 */
import { createHash } from "node:crypto";
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { startServer, type TestServer } from "../s3/server.ts";
import { LoadClient } from "./load.ts";
import { processCost } from "./processes.ts";

const { values: options } = parseArgs({
  options: {
    objects: { type: "string", default: "1000000" },
    versions: { type: "string", default: "10000" },
    concurrency: { type: "string", default: "64" },
    /** Kept at the end, and measured as it is when an earlier run has filled it. */
    folder: { type: "string" },
  },
});

/** Keys are `dNN/NNNNNN`: as many folders in every bucket, so that pages hold the same number of entries. */
const FOLDERS = 20;
const SMALL_OBJECTS = 2000;
const OBJECT = Buffer.from("scale");
const SHA256 = createHash("sha256").update(OBJECT).digest("hex");
/** A bucket made last, when all the others are full. */
const FILLED = "filled";
const PAGES = 400;
const COST_MAX = 1.5;
const OPEN_SECONDS_MAX = 5;

const folder = options.folder ?? join(tmpdir(), `anybucket-scale-${process.pid}`);
let isGood = true;
let server = await startServer({ folders: [folder] });
let client = connect(server);
try {
  if (!(await isFilled())) {
    await fill("small", { total: SMALL_OBJECTS });
    await fill("versions", { total: SMALL_OBJECTS, versionsOfFirst: Number(options.versions) });
    await fill("large", { total: Number(options.objects) });
    await send({ method: "PUT", path: `/${FILLED}` });
  }
  for (const query of ["list-type=2", "delimiter=%2F&list-type=2"]) {
    const costs = new Map<string, Page>();
    for (const bucket of ["small", "large", "versions"])
      costs.set(bucket, await page(bucket, query));
    for (const [bucket, { ms, cpuMs }] of costs) {
      const least = costs.get("small")?.cpuMs ?? cpuMs;
      const line = `first page of ${bucket.padEnd(9)} ${query.padEnd(26)} p50 ${ms.toFixed(1)} ms, server CPU ${cpuMs.toFixed(1)} ms`;
      report(line, cpuMs <= least * COST_MAX);
    }
  }
  await server.stop();
  await reopen("after a stop");
  await server.kill();
  await reopen("after kill -9");
} finally {
  client.close();
  await server.stop();
  if (options.folder === undefined) rmSync(folder, { recursive: true, force: true });
}
process.exit(isGood ? 0 : 1);

interface Page {
  readonly ms: number;
  readonly cpuMs: number;
}

function connect({ endpoint, accessKey, secretKey }: TestServer): LoadClient {
  const target = { endpoint: new URL(endpoint), accessKey, secretKey, region: "us-east-1" };
  return new LoadClient(target, Number(options.concurrency));
}

async function isFilled(): Promise<boolean> {
  return (await client.send({ method: "HEAD", path: `/${FILLED}` })).status === 200;
}

async function fill(
  bucket: string,
  { total, versionsOfFirst = 1 }: { total: number; versionsOfFirst?: number },
): Promise<void> {
  await send({ method: "PUT", path: `/${bucket}` });
  if (versionsOfFirst > 1) {
    const body = Buffer.from(
      "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    );
    const sha256 = createHash("sha256").update(body).digest("hex");
    await send({ method: "PUT", path: `/${bucket}`, query: "versioning=", body, sha256 });
  }
  const started = performance.now();
  const put = (index: number) => {
    const key = `d${padded(index % FOLDERS, 2)}/${padded(Math.floor(index / FOLDERS), 6)}`;
    return send({ method: "PUT", path: `/${bucket}/${key}`, body: OBJECT, sha256: SHA256 });
  };
  await inParallel(total, put);
  for (let version = 1; version < versionsOfFirst; version++) await put(0);
  const count = total + versionsOfFirst - 1;
  const seconds = (performance.now() - started) / 1000;
  say(
    `${bucket}: ${count} objects written in ${seconds.toFixed(0)} s, ${(count / seconds).toFixed(0)}/s`,
  );
}

async function page(bucket: string, query: string): Promise<Page> {
  const list = () => send({ method: "GET", path: `/${bucket}`, query });
  for (let warm = 0; warm < PAGES; warm++) await list();
  const before = processCost([server.process.pid ?? 0]);
  const times: number[] = [];
  for (let index = 0; index < PAGES; index++) {
    const from = performance.now();
    await list();
    times.push(performance.now() - from);
  }
  const after = processCost([server.process.pid ?? 0]);
  times.sort((left, right) => left - right);
  const cpuMs = ((after.cpuSeconds - before.cpuSeconds) * 1000) / PAGES;
  return { ms: times[PAGES / 2] ?? 0, cpuMs };
}

async function reopen(how: string): Promise<void> {
  const started = performance.now();
  server = await startServer({ folders: [folder] });
  const seconds = (performance.now() - started) / 1000;
  client.close();
  client = connect(server);
  await send({ method: "HEAD", path: "/large/d00/000000" });
  report(`opened in ${seconds.toFixed(1)} s ${how}`, seconds < OPEN_SECONDS_MAX);
  const { largestBytes } = processCost([server.process.pid ?? 0]);
  say(`largest process then: ${(largestBytes / 2 ** 20).toFixed(0)} MiB`);
}

async function inParallel(total: number, work: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const loop = async () => {
    while (next < total) await work(next++);
  };
  await Promise.all(Array.from({ length: Number(options.concurrency) }, loop));
}

async function send(request: Parameters<LoadClient["send"]>[0]): Promise<void> {
  const { status } = await client.send(request);
  if (status >= 300) throw new Error(`${request.method} ${request.path}: status ${status}`);
}

function padded(number: number, digits: number): string {
  return String(number).padStart(digits, "0");
}

function report(line: string, isWithin: boolean): void {
  say(`${line}${isWithin ? "" : "   TOO MUCH"}`);
  isGood &&= isWithin;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
