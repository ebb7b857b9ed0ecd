/**
 * A cluster of plain processes on this machine: etcd, storage nodes, gateways, keepers, each with a folder and ports of its
 * own. `npm run dev:cluster` is one, and the tests of the cluster start, kill and restart its members.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const LAUNCHER = resolve(import.meta.dirname, "../services/anybucket.js");
/** A start takes a second or two; the rest is for a machine with other things to do. */
const READY_MS = 180_000;
/** What a member gets to end in good order. */
const STOP_MS = 40_000;

export type MemberKind = "etcd" | "storage" | "gateway" | "keeper";

export interface Member {
  readonly name: string;
  readonly kind: MemberKind;
  /** Where it serves what it is for: S3, shards, etcd's clients. */
  readonly port: number;
  /** 0: etcd has none. */
  readonly adminPort: number;
  /** Its own, beyond what all of them have. */
  readonly env: Readonly<Record<string, string>>;
  /** Not set while it is not running. */
  process: ChildProcess | undefined;
  /** What it wrote, since its first start. */
  output: string;
}

export interface ProcessClusterOptions {
  readonly folder: string;
  readonly nodes: number;
  readonly gateways: number;
  readonly keepers?: number;
  readonly zones?: number;
  readonly accessKey: string;
  readonly secretKey: string;
  /** For all of ours, beyond what the cluster needs. */
  readonly env?: Readonly<Record<string, string>>;
  /** For one of ours, beyond that. */
  readonly envOf?: (member: string) => Readonly<Record<string, string>>;
  /** S3 of the first gateway; the others' follow in steps of ten. Not set: whatever is free. */
  readonly firstPort?: number;
  readonly onLine?: (member: string, line: string) => void;
}

export class ProcessCluster {
  readonly members = new Map<string, Member>();
  readonly adminToken = randomBytes(18).toString("base64url");
  readonly #options: ProcessClusterOptions;

  private constructor(options: ProcessClusterOptions) {
    this.#options = options;
    // However this process ends, none of its own stays behind.
    process.on("exit", () => {
      for (const { process: child } of this.members.values()) child?.kill("SIGKILL");
    });
  }

  /** All of it, ready to serve. */
  static async start(options: ProcessClusterOptions): Promise<ProcessCluster> {
    const cluster = new ProcessCluster(options);
    try {
      await cluster.add("etcd", "etcd");
      const ours: Promise<Member>[] = [];
      for (let at = 1; at <= options.nodes; at++) ours.push(cluster.add("storage", `node${at}`));
      for (let at = 1; at <= (options.keepers ?? 1); at++) {
        ours.push(cluster.add("keeper", `keeper${at}`));
      }
      for (let at = 1; at <= options.gateways; at++) {
        const { firstPort } = options;
        const port = firstPort === undefined ? {} : { port: firstPort + 10 * (at - 1) };
        ours.push(cluster.add("gateway", `gateway${at}`, port));
      }
      await Promise.all(ours);
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  of(kind: MemberKind): readonly Member[] {
    return [...this.members.values()].filter((member) => member.kind === kind);
  }

  member(name: string): Member {
    const member = this.members.get(name);
    if (!member)
      throw new Error(`Cannot find ${name}: there are ${[...this.members.keys()].join(", ")}`);
    return member;
  }

  get endpoints(): readonly string[] {
    return this.of("gateway").map(({ port }) => `http://127.0.0.1:${port}`);
  }

  /** A new member, once it is ready. */
  async add(
    kind: MemberKind,
    name: string,
    wanted: { port?: number; env?: Readonly<Record<string, string>> } = {},
  ): Promise<Member> {
    const port = wanted.port ?? (await freePort());
    const nextPort = wanted.port === undefined ? await freePort() : wanted.port + 1;
    const adminPort = kind === "etcd" ? 0 : nextPort;
    const { env = {} } = wanted;
    const member: Member = { name, kind, port, adminPort, env, process: undefined, output: "" };
    this.members.set(name, member);
    await this.start(name);
    return member;
  }

  /** Starts it, on the same folder and ports as before. */
  async start(name: string): Promise<void> {
    const member = this.member(name);
    await mkdir(join(this.#options.folder, name), { recursive: true });
    const [program, ...args] = member.kind === "etcd" ? this.#etcd(member) : this.#ours(member);
    const child = spawn(program ?? "", args, {
      stdio: ["ignore", "pipe", "pipe"],
      // A Ctrl-C is this process's to pass on, in order.
      detached: true,
      env: {
        PATH: process.env["PATH"],
        HOME: this.#options.folder,
        ...this.environment(name),
        ...member.env,
      },
    });
    member.process = child;
    for (const stream of [child.stdout, child.stderr]) this.#listen(member, stream);
    const failed = Promise.withResolvers<never>();
    child.once("error", (error) =>
      failed.reject(new Error(`Cannot start ${name}: ${error.message}`)),
    );
    child.once("exit", (code, signal) => {
      if (member.process === child) member.process = undefined;
      failed.reject(new Error(`${name} ended with ${signal ?? code}:\n${member.output}`));
    });
    failed.promise.catch(() => undefined);
    await Promise.race([this.#ready(member), failed.promise]);
  }

  /** SIGKILL, and wait. */
  async kill(name: string): Promise<void> {
    await this.#end(this.member(name), "SIGKILL");
  }

  /** SIGTERM, and wait. */
  async end(name: string): Promise<void> {
    await this.#end(this.member(name), "SIGTERM");
  }

  /** SIGSTOP or SIGCONT. */
  signal(name: string, signal: NodeJS.Signals): void {
    this.member(name).process?.kill(signal);
  }

  /** All of it, etcd last. */
  async stop(): Promise<void> {
    for (const kinds of [["gateway", "keeper"], ["storage"], ["etcd"]] as const) {
      const ending = kinds.flatMap((kind) => this.of(kind));
      await Promise.all(ending.map((member) => this.#end(member, "SIGTERM")));
    }
  }

  async #end(member: Member, signal: NodeJS.Signals): Promise<void> {
    const child = member.process;
    if (!child) return;
    const gone = new Promise((settle) => child.once("exit", settle));
    child.kill(signal);
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
    await gone;
    clearTimeout(timer);
  }

  #etcd({ name, port }: Member): readonly string[] {
    const client = `http://127.0.0.1:${port}`;
    return [
      "etcd",
      "--name",
      name,
      "--data-dir",
      join(this.#options.folder, name),
      "--listen-client-urls",
      client,
      "--advertise-client-urls",
      client,
      // It has no peers: any free port will do.
      "--listen-peer-urls",
      "http://127.0.0.1:0",
      "--log-level",
      "warn",
    ];
  }

  #ours({ name, kind }: Member): readonly string[] {
    const folders = kind === "storage" ? [join(this.#options.folder, name, "disk1")] : [];
    return [process.execPath, LAUNCHER, kind, ...folders];
  }

  /** What it is started with. */
  environment(member: string): Readonly<Record<string, string>> {
    const { name, kind, port, adminPort } = this.member(member);
    // It shares the machine with all the others: a second core only makes it spin, and its heap is small.
    if (kind === "etcd") return { GOMAXPROCS: "1", GOGC: "200" };
    const { nodes, zones = 1, accessKey, secretKey, env, envOf } = this.#options;
    const etcd = this.of("etcd").map((one) => `http://127.0.0.1:${one.port}`);
    const shared = {
      ANYBUCKET_ETCD: etcd.join(","),
      ANYBUCKET_ADMIN_ADDRESS: `127.0.0.1:${adminPort}`,
      ANYBUCKET_ADMIN_TOKEN: this.adminToken,
      ANYBUCKET_INITIAL_NODES: String(nodes),
      ANYBUCKET_LOG_FORMAT: "json",
      ...env,
      ...envOf?.(name),
    };
    if (kind === "storage") {
      const at = [...this.members.keys()].indexOf(name);
      return {
        ...shared,
        ANYBUCKET_NODE: name,
        ANYBUCKET_ZONE: zones === 1 ? "default" : `zone${(at % zones) + 1}`,
        ANYBUCKET_GRPC_ADDRESS: `127.0.0.1:${port}`,
        ANYBUCKET_NODE_ADDRESS: `127.0.0.1:${port}`,
      };
    }
    if (kind === "keeper") return shared;
    return {
      ...shared,
      ANYBUCKET_ADDRESS: `127.0.0.1:${port}`,
      ANYBUCKET_ACCESS_KEY: accessKey,
      ANYBUCKET_SECRET_KEY: secretKey,
    };
  }

  #listen(member: Member, stream: NodeJS.ReadableStream | null): void {
    let rest = "";
    stream?.setEncoding("utf8");
    stream?.on("data", (text: string) => {
      member.output += text;
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#options.onLine?.(member.name, line);
    });
  }

  async #ready(member: Member): Promise<void> {
    const deadline = performance.now() + READY_MS;
    while (performance.now() < deadline) {
      if (await isReady(member)) return;
      await sleep(50);
    }
    throw new Error(`${member.name} was not ready within ${READY_MS} ms:\n${member.output}`);
  }
}

async function isReady({ kind, port, adminPort }: Member): Promise<boolean> {
  if (kind === "etcd") return takesConnections(port);
  try {
    const answer = await fetch(`http://127.0.0.1:${adminPort}/readyz`);
    await answer.arrayBuffer();
    return answer.ok;
  } catch {
    return false;
  }
}

async function takesConnections(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  const isOpen = await new Promise<boolean>((settle) => {
    socket.once("connect", () => settle(true));
    socket.once("error", () => settle(false));
  });
  socket.destroy();
  return isOpen;
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((settle) => server.listen(0, "127.0.0.1", settle));
  const address = server.address();
  await new Promise((settle) => server.close(settle));
  if (address === null || typeof address === "string") throw new Error("No port was given");
  return address.port;
}
