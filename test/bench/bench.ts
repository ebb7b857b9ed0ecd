/**
 * `npm run bench`: starts a server on a fresh folder, loads it from this process, prints a row for each phase.
 * `--against URL --against-pid PID` measures another S3 server in the same run and prints the shares side by side.
 */
import { createHash, randomBytes } from "node:crypto";
import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ACCESS_KEY, SECRET_KEY, startServer } from "../s3/server.ts";
import { LoadClient, type Target } from "./load.ts";
import { processCost } from "./processes.ts";

const { values: options } = parseArgs({
  options: {
    seconds: { type: "string", default: "6" },
    /** Of each phase before its figures are taken: what a process costs that has been running for a while. */
    "warm-up": { type: "string", default: "3" },
    concurrency: { type: "string", default: "16" },
    folders: { type: "string", default: "1" },
    against: { type: "string" },
    "against-pid": { type: "string" },
    "against-access": { type: "string", default: ACCESS_KEY },
    "against-secret": { type: "string", default: SECRET_KEY },
    "against-name": { type: "string", default: "peer" },
    json: { type: "boolean", default: false },
  },
});

const SMALL_BYTES = 4096;
const LARGE_BYTES = 10 * 1024 * 1024;
const LARGE_CONCURRENCY = 4;
const LIST_KEYS = 3000;
const BUCKET = "bench";
/** Of what a phase can do at most, the warm-up takes no more than this part. */
const WARM_UP_PART = 3;

interface Row {
  readonly phase: string;
  readonly operations: number;
  readonly perSecond: number;
  readonly mibPerSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly cpuMicroseconds: number;
  readonly cpuNsPerByte: number;
  readonly largestMib: number;
}

const rows = new Map<string, readonly Row[]>();
rows.set("anybucket", await benchOwn());
if (options.against !== undefined) {
  const target: Target = {
    endpoint: new URL(options.against),
    accessKey: options["against-access"],
    secretKey: options["against-secret"],
    region: "us-east-1",
  };
  const ids = (options["against-pid"] ?? "").split(",").filter(Boolean).map(Number);
  rows.set(options["against-name"], await bench(target, ids));
}
print();

async function benchOwn(): Promise<readonly Row[]> {
  const scratch = join(tmpdir(), `anybucket-bench-${process.pid}`);
  const folders = Array.from({ length: Number(options.folders) }, (_, index) =>
    join(scratch, String(index)),
  );
  // As it is by default.
  const server = await startServer({
    folders,
    env: { ANYBUCKET_CONNECTION_SPREAD: "packed" },
  });
  try {
    const target = {
      endpoint: new URL(server.endpoint),
      accessKey: server.accessKey,
      secretKey: server.secretKey,
      region: "us-east-1",
    };
    return await bench(target, [server.process.pid ?? 0]);
  } finally {
    await server.stop();
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function bench(target: Target, ids: readonly number[]): Promise<readonly Row[]> {
  const client = new LoadClient(target, Number(options.concurrency));
  const small = randomBytes(SMALL_BYTES);
  const large = randomBytes(LARGE_BYTES);
  const sha256 = { small: sha256Hex(small), large: sha256Hex(large) };
  await client.send({ method: "PUT", path: `/${BUCKET}` });
  let written = 0;
  let deleted = 0;
  const measured: Row[] = [];
  const phase = async (
    name: string,
    concurrency: number,
    bytes: number,
    send: (index: number) => ReturnType<LoadClient["send"]>,
    bounds: { least?: number; most?: number } = {},
  ) => {
    measured.push(await run({ name, concurrency, bytes, ids, send, ...bounds }));
  };
  const path = (index: number) => `/${BUCKET}/small/${String(index).padStart(8, "0")}`;
  const many = Number(options.concurrency);
  await phase(
    "PUT 4 KiB",
    many,
    SMALL_BYTES,
    () => client.send({ method: "PUT", path: path(written++), body: small, sha256: sha256.small }),
    { least: LIST_KEYS },
  );
  const any = () => path(Math.floor(Math.random() * written));
  await phase("GET 4 KiB", many, SMALL_BYTES, () => client.send({ method: "GET", path: any() }));
  await phase("HEAD", many, 0, () => client.send({ method: "HEAD", path: any() }));
  await phase("LIST 1,000", LARGE_CONCURRENCY, 0, () =>
    client.send({ method: "GET", path: `/${BUCKET}`, query: "list-type=2&max-keys=1000" }),
  );
  const largePath = (index: number) => `/${BUCKET}/large/${index % 8}`;
  await phase(
    "PUT 10 MiB",
    LARGE_CONCURRENCY,
    LARGE_BYTES,
    (index) =>
      client.send({ method: "PUT", path: largePath(index), body: large, sha256: sha256.large }),
    { least: 8 },
  );
  await phase("GET 10 MiB", LARGE_CONCURRENCY, LARGE_BYTES, (index) =>
    client.send({ method: "GET", path: largePath(index) }),
  );
  await phase("DELETE", many, 0, () => client.send({ method: "DELETE", path: path(deleted++) }), {
    most: written,
  });
  client.close();
  return measured;
}

/** One phase: `concurrency` loops for the time set, the server's CPU read before and after. */
async function run(phase: {
  name: string;
  concurrency: number;
  bytes: number;
  ids: readonly number[];
  send: (index: number) => ReturnType<LoadClient["send"]>;
  least?: number;
  most?: number;
}): Promise<Row> {
  const { least = 0, most = Number.POSITIVE_INFINITY } = phase;
  let latencies: number[] = [];
  let begun = 0;
  const loop = async (goesOn: () => boolean) => {
    while (goesOn()) {
      const from = performance.now();
      const answer = await phase.send(begun++);
      if (answer.status >= 300) throw new Error(`${phase.name}: status ${answer.status}`);
      latencies.push(performance.now() - from);
    }
  };
  const loops = (goesOn: () => boolean) =>
    Promise.all(Array.from({ length: phase.concurrency }, () => loop(goesOn)));
  const warm = performance.now() + Number(options["warm-up"]) * 1000;
  await loops(() => performance.now() < warm && begun < most / WARM_UP_PART);
  latencies = [];
  const before = processCost(phase.ids);
  const started = performance.now();
  const end = started + Number(options.seconds) * 1000;
  await loops(() => (performance.now() < end || begun < least) && begun < most);
  const seconds = (performance.now() - started) / 1000;
  const after = processCost(phase.ids);
  latencies.sort((left, right) => left - right);
  const cpu = after.cpuSeconds - before.cpuSeconds;
  const operations = latencies.length;
  return {
    phase: phase.name,
    operations,
    perSecond: operations / seconds,
    mibPerSecond: (operations * phase.bytes) / seconds / 2 ** 20,
    p50: latencies[Math.floor(operations * 0.5)] ?? 0,
    p99: latencies[Math.floor(operations * 0.99)] ?? 0,
    cpuMicroseconds: (cpu * 1e6) / operations,
    cpuNsPerByte: phase.bytes === 0 ? 0 : (cpu * 1e9) / (operations * phase.bytes),
    largestMib: after.largestBytes / 2 ** 20,
  };
}

function sha256Hex(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** What the disk itself takes for a durable write of 4 KiB, in microseconds: the floor under every PUT. */
function durableWriteMicroseconds(): number {
  const path = join(tmpdir(), `anybucket-bench-disk-${process.pid}`);
  const file = openSync(path, "w");
  const block = Buffer.alloc(4096, 1);
  const times: number[] = [];
  for (let index = 0; index < 300; index++) {
    const from = performance.now();
    writeSync(file, block);
    fdatasyncSync(file);
    times.push((performance.now() - from) * 1000);
  }
  closeSync(file);
  rmSync(path);
  return times.toSorted((left, right) => left - right)[150] ?? 0;
}

function print(): void {
  if (options.json) {
    process.stdout.write(`${JSON.stringify(Object.fromEntries(rows))}\n`);
    return;
  }
  const own = rows.get("anybucket") ?? [];
  for (const [name, measured] of rows) {
    line(`\n${name}`);
    line(
      "phase             ops/s    MiB/s   p50 ms   p99 ms  CPU µs/op  CPU ns/B  RSS MiB   share of its CPU",
    );
    measured.forEach((row, index) => {
      const mine = own[index];
      const share =
        name === "anybucket" || mine === undefined
          ? ""
          : (mine.cpuMicroseconds / row.cpuMicroseconds).toFixed(2);
      line(
        `${row.phase.padEnd(12)}${column(row.perSecond, 0, 11)}${column(row.mibPerSecond, 1, 9)}${column(row.p50, 2, 9)}${column(row.p99, 2, 9)}${column(row.cpuMicroseconds, 0, 11)}${column(row.cpuNsPerByte, 2, 10)}${column(row.largestMib, 0, 9)}   ${share}`,
      );
    });
  }
  line(`\nThe disk's own durable write of 4 KiB: ${durableWriteMicroseconds().toFixed(0)} µs`);
}

function column(value: number, digits: number, width: number): string {
  return value.toFixed(digits).padStart(width);
}

function line(text: string): void {
  process.stdout.write(`${text}\n`);
}
