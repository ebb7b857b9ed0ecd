/**
 * `npm run bench`: starts a server on a fresh folder, loads it from this process, prints a row for each phase. With --cluster it
 * is a cluster of processes: three storage nodes with copies, then six with erasure coding, one of which is then killed.
 * `--against URL --against-pid PID[,PID…]` measures another S3 server in the same run and prints the shares side by side;
 * `--against-minio4 BINARY` and `--against-garage3 BINARY` start one as a cluster first.
 */
import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type MemberKind, ProcessCluster } from "../../deploy/process-cluster.ts";
import { ACCESS_KEY, SECRET_KEY, startServer } from "../s3/server.ts";
import type { Target } from "./load.ts";
import { type Peer, type PeerOptions, startGarage, startMinio } from "./peers.ts";
import { Bench, type Load, PHASES, type Phase, type Roles } from "./phases.ts";
import { line, type Measured, printTables } from "./table.ts";

const { values: options } = parseArgs({
  options: {
    seconds: { type: "string", default: "6" },
    /** Of each phase before its figures are taken: what a process costs that has been running for a while. */
    "warm-up": { type: "string", default: "15" },
    concurrency: { type: "string", default: "16" },
    folders: { type: "string", default: "1" },
    cluster: { type: "boolean", default: false },
    against: { type: "string" },
    "against-pid": { type: "string" },
    "against-access": { type: "string", default: ACCESS_KEY },
    "against-secret": { type: "string", default: SECRET_KEY },
    "against-name": { type: "string", default: "peer" },
    "against-minio4": { type: "string" },
    "against-garage3": { type: "string" },
    json: { type: "boolean", default: false },
  },
});

const SCRATCH = join(tmpdir(), `anybucket-bench-${process.pid}`);
const LOAD: Load = {
  seconds: Number(options.seconds),
  warmUpSeconds: Number(options["warm-up"]),
  concurrency: Number(options.concurrency),
};
const LARGE_PHASES: readonly Phase[] = ["PUT 10 MiB", "GET 10 MiB"];

const measured: Measured[] = options.cluster ? await benchCluster() : [await benchOwn()];
if (options.against !== undefined) measured.push(await benchPeer(options.against));
if (options["against-minio4"] !== undefined) {
  measured.push(await benchPeerCluster(startMinio, options["against-minio4"]));
}
if (options["against-garage3"] !== undefined) {
  measured.push(await benchPeerCluster(startGarage, options["against-garage3"]));
}
if (options.json) {
  line(JSON.stringify(Object.fromEntries(measured.map(({ name, rows }) => [name, rows]))));
} else {
  printTables(measured);
  line(`\nThe disk's own durable write of 4 KiB: ${durableWriteMicroseconds().toFixed(0)} µs`);
}

async function benchOwn(): Promise<Measured> {
  const folders = Array.from({ length: Number(options.folders) }, (_, index) =>
    join(SCRATCH, String(index)),
  );
  // Connections go where they go by default.
  const server = await startServer({ folders, env: { ANYBUCKET_CONNECTION_SPREAD: "packed" } });
  try {
    const { endpoint, accessKey, secretKey } = server;
    const roles = () => ({ server: [server.process.pid ?? 0] });
    return {
      name: "anybucket",
      rows: await run(targetOf(endpoint, accessKey, secretKey), roles, PHASES),
    };
  } finally {
    await server.stop();
    rmSync(SCRATCH, { recursive: true, force: true });
  }
}

async function benchCluster(): Promise<Measured[]> {
  const copies = await onCluster({ nodes: 3, codec: "replica-3" }, async (bench) =>
    bench.run(PHASES),
  );
  const coded = await onCluster({ nodes: 6, codec: "ec-4+2" }, async (bench, cluster) => {
    const rows = [...(await bench.run(LARGE_PHASES))];
    const [node] = cluster.of("storage");
    if (node !== undefined) await cluster.kill(node.name);
    rows.push(await bench.again("GET 10 MiB", "GET, 1 of 6 dead"));
    return rows;
  });
  return [
    { name: "anybucket, 3 storage nodes, replica-3", rows: copies },
    { name: "anybucket, 6 storage nodes, ec-4+2", rows: coded },
  ];
}

async function onCluster<T>(
  { nodes, codec }: { nodes: number; codec: string },
  work: (bench: Bench, cluster: ProcessCluster) => Promise<T>,
): Promise<T> {
  const keys = { accessKey: ACCESS_KEY, secretKey: SECRET_KEY };
  const cluster = await ProcessCluster.start({
    ...keys,
    folder: SCRATCH,
    nodes,
    gateways: 1,
    env: {
      ANYBUCKET_STORAGE_CLASS: codec,
      ANYBUCKET_LOG_LEVEL: "warn",
      ANYBUCKET_ACCESS_LOG: "false",
    },
  });
  const roles = () =>
    Object.fromEntries(
      (["gateway", "storage", "etcd", "keeper"] satisfies MemberKind[]).map((kind) => [
        kind,
        cluster.of(kind).flatMap((member) => member.process?.pid ?? []),
      ]),
    );
  const [endpoint = ""] = cluster.endpoints;
  const bench = new Bench(targetOf(endpoint, ACCESS_KEY, SECRET_KEY), roles, LOAD);
  try {
    await bench.prepare();
    return await work(bench, cluster);
  } finally {
    bench.close();
    await cluster.stop();
    rmSync(SCRATCH, { recursive: true, force: true });
  }
}

async function benchPeer(endpoint: string): Promise<Measured> {
  const ids = (options["against-pid"] ?? "").split(",").filter(Boolean).map(Number);
  const target = targetOf(endpoint, options["against-access"], options["against-secret"]);
  return {
    name: options["against-name"],
    isPeer: true,
    rows: await run(target, () => ({ server: ids }), PHASES),
  };
}

async function benchPeerCluster(
  start: (options: PeerOptions) => Promise<Peer>,
  binary: string,
): Promise<Measured> {
  try {
    await using peer = await start({ binary, folder: SCRATCH });
    const roles = () => ({ server: peer.processes });
    return { name: peer.name, isPeer: true, rows: await run(peer.target, roles, PHASES) };
  } finally {
    rmSync(SCRATCH, { recursive: true, force: true });
  }
}

async function run(target: Target, roles: Roles, phases: readonly Phase[]) {
  const bench = new Bench(target, roles, LOAD);
  try {
    await bench.prepare();
    return await bench.run(phases);
  } finally {
    bench.close();
  }
}

function targetOf(endpoint: string, accessKey: string, secretKey: string): Target {
  return { endpoint: new URL(endpoint), accessKey, secretKey, region: "us-east-1" };
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
