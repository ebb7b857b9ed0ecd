/**
 * What the way between gateway and storage node costs, on the loopback interface, with a store that keeps nothing:
 * `npm run bench:transport`. CPU is that of both processes, each by itself; so it holds on a busy machine, too.
 */
import { fork } from "node:child_process";
import { systemClock } from "#lib/clock.ts";
import { silentLog } from "#lib/log.ts";
import { connectNode } from "#shards/client.ts";
import { checksummedBlock } from "#shards/digest.ts";
import { serveShards } from "#shards/server.ts";
import type { ShardId, ShardSeal, ShardStore } from "#shards/shard-store.ts";

const IDENTITY = { clusterId: "bench-cluster", nodeId: "bench-node" };
const KIB = 1024;
const MIB = 1024 * KIB;
/** Of each case, and which cases: those whose title has the text in it. */
const SECONDS = Number(process.argv[2] ?? 3);
const ONLY = process.argv[3] ?? "";
const { signal } = new AbortController();
const seal: ShardSeal = {
  session: "0123456789abcdef",
  sequence: 12_345,
  siblings: [1, 2, 3, 4, 5, 6],
  about: Buffer.alloc(250, "a"),
};

if (process.send) await serve(process.send.bind(process));
else await measure();

async function serve(send: (message: unknown) => void): Promise<void> {
  const store = nothing();
  const control = {
    status: async () => Promise.reject(new Error("not asked here")),
    setDraining: async () => undefined,
  };
  const server = await serveShards({
    stores: new Map([[store.diskId, store]]),
    identity: IDENTITY,
    address: "127.0.0.1:0",
    control,
    clock: systemClock,
    log: silentLog,
  });
  process.on("message", () => send({ cpu: process.cpuUsage(), rss: process.memoryUsage.rss() }));
  process.on("disconnect", () => process.exit());
  send({ port: server.port });
}

async function measure(): Promise<void> {
  const child = fork(import.meta.filename, process.argv.slice(2));
  const next = <T>() => new Promise<T>((resolve) => child.once("message", resolve as never));
  const { port } = await next<{ port: number }>();
  const node = connectNode({
    ...IDENTITY,
    address: `127.0.0.1:${port}`,
    clock: systemClock,
    log: silentLog,
  });
  const far = node.store("nothing");
  const small = checksummedBlock([Buffer.alloc(4 * KIB, 7)]);
  const large = checksummedBlock([Buffer.alloc(MIB, 7)]);
  const id: ShardId = { group: 7, writeId: Buffer.alloc(16, 3), index: 2 };
  const cases: readonly Case[] = [
    ...[1, 16, 64, 256].flatMap((atOnce) => [
      {
        name: "put 4 KiB",
        atOnce,
        bytes: 0,
        run: () => far.put(id, { block: small, seal }, { signal }),
      },
      {
        name: "read 4 KiB",
        atOnce,
        bytes: 0,
        run: () => far.read(id, { offset: 0, length: 4 * KIB }, { signal }),
      },
    ]),
    { name: "stat", atOnce: 64, bytes: 0, run: () => far.stat(id, signal) },
    ...[1, 4, 12].flatMap((atOnce) => [
      {
        name: "write 64 blocks of 1 MiB",
        atOnce,
        bytes: 64 * MIB,
        run: async () => {
          const writer = far.write(id, { signal });
          for (let block = 0; block < 64; block++) await writer.append(large);
          await writer.seal(seal);
        },
      },
      {
        name: "read 1 MiB",
        atOnce,
        bytes: MIB,
        run: intoBuffers((into) => far.read(id, { offset: 0, length: MIB }, { signal, into })),
      },
      {
        name: "read 4 MiB",
        atOnce,
        bytes: 4 * MIB,
        run: intoBuffers((into) => far.read(id, { offset: 0, length: 4 * MIB }, { signal, into })),
      },
    ]),
  ];
  for (const each of cases.filter((one) => titleOf(one).includes(ONLY))) {
    await repeat(each, 300);
    child.send("cpu");
    const before = await next<Usage>();
    const here = process.cpuUsage();
    const { count, ms } = await repeat(each, SECONDS * 1000);
    const client = micros(process.cpuUsage(here));
    child.send("cpu");
    const after = await next<Usage>();
    const server = micros(after.cpu) - micros(before.cpu);
    say(each, { count, ms, client, server });
  }
  await node[Symbol.asyncDispose]();
  child.disconnect();
}

interface Case {
  readonly name: string;
  readonly atOnce: number;
  /** Of one run; 0: count runs, not bytes. */
  readonly bytes: number;
  readonly run: () => Promise<unknown>;
}

interface Usage {
  readonly cpu: NodeJS.CpuUsage;
}

function intoBuffers(read: (into: Buffer) => Promise<unknown>): () => Promise<void> {
  const free: Buffer[] = [];
  return async () => {
    const into = free.pop() ?? Buffer.alloc(4 * MIB);
    await read(into);
    free.push(into);
  };
}

async function repeat(
  { atOnce, run }: Case,
  forMs: number,
): Promise<{ count: number; ms: number }> {
  const started = performance.now();
  let count = 0;
  const one = async () => {
    while (performance.now() - started < forMs) {
      await run();
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, one));
  return { count, ms: performance.now() - started };
}

function titleOf({ name, atOnce }: Case): string {
  return `${name}, ${atOnce} at once`;
}

function micros({ user, system }: NodeJS.CpuUsage): number {
  return user + system;
}

function say(
  each: Case,
  { count, ms, client, server }: { count: number; ms: number; client: number; server: number },
): void {
  const { bytes } = each;
  const title = titleOf(each).padEnd(40);
  const perSecond = (count / ms) * 1000;
  const [rate, unit, share] =
    bytes === 0
      ? [perSecond.toFixed(0), "/s", 1 / count]
      : [((perSecond * bytes) / MIB).toFixed(0), "MiB/s", 1000 / (count * bytes)];
  const cost = bytes === 0 ? "µs" : "ns/B";
  const figures = [client * share, server * share].map((one) => one.toFixed(bytes === 0 ? 1 : 2));
  process.stdout.write(
    `${title} ${rate.padStart(6)} ${unit.padEnd(6)} client ${figures[0]} ${cost}, server ${figures[1]} ${cost}\n`,
  );
}

/** A disk that takes everything and gives zeros. */
function nothing(): ShardStore {
  const zeros = Buffer.alloc(4 * MIB);
  const info = {
    ...seal,
    id: { group: 1, writeId: Buffer.alloc(16), index: 0 },
    length: 0,
    blocks: 0,
    digest: 0,
  };
  return {
    diskId: "nothing",
    write: () => ({
      append: async () => undefined,
      seal: async () => undefined,
      abort: async () => undefined,
    }),
    put: async () => undefined,
    read: async (_, { length }) => zeros.subarray(0, length),
    stat: async () => info,
    verify: async () => "good",
    link: async () => undefined,
    remove: async () => undefined,
    list: async () => ({ shards: [], next: undefined }),
    health: async () => ({ state: "writable", capacity: 1, free: 1, live: 0, used: 0 }),
    [Symbol.asyncDispose]: async () => undefined,
  };
}
