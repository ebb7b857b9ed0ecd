/** Real etcd processes on loopback ports, in a temporary folder: one, or a cluster whose members can be stopped and killed. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "#lib/clock.ts";
import { silentLog } from "#lib/log.ts";
import { SeededRandom } from "#lib/random.ts";
import { type EtcdMetadata, type EtcdOptions, openEtcd } from "#metadata/etcd.ts";

export const hasEtcd = spawnSync("etcd", ["--version"]).status === 0;

export interface EtcdProcessOptions {
  readonly members?: number;
  /** Whether what is acknowledged is on the disk; only measuring needs that. */
  readonly isSynced?: boolean;
  readonly quotaBytes?: number;
  /** Files of certificates. */
  readonly tls?: { readonly ca: string; readonly certificate: string; readonly key: string };
}

interface Place {
  readonly name: string;
  readonly client: string;
  readonly peer: string;
}

const START_MS_MAX = 30_000;

export class EtcdProcesses implements AsyncDisposable {
  readonly #folder: string;
  readonly #places: readonly Place[];
  readonly #options: EtcdProcessOptions;
  readonly #running = new Map<number, ChildProcess>();

  static async start(options: EtcdProcessOptions = {}): Promise<EtcdProcesses> {
    const folder = await mkdtemp(join(tmpdir(), "anybucket-etcd-"));
    const scheme = options.tls ? "https" : "http";
    const ports = await freePorts(2 * (options.members ?? 1));
    const places = Array.from({ length: options.members ?? 1 }, (_, number) => ({
      name: `member${number}`,
      client: `${scheme}://${options.tls ? "localhost" : "127.0.0.1"}:${ports[2 * number]}`,
      peer: `http://127.0.0.1:${ports[2 * number + 1]}`,
    }));
    const processes = new EtcdProcesses(folder, places, options);
    await Promise.all(places.map((_, number) => processes.startMember(number)));
    return processes;
  }

  private constructor(folder: string, places: readonly Place[], options: EtcdProcessOptions) {
    this.#folder = folder;
    this.#places = places;
    this.#options = options;
  }

  get endpoints(): readonly string[] {
    return this.#places.map(({ client }) => client);
  }

  open(options: Partial<EtcdOptions> = {}): Promise<EtcdMetadata> {
    return openEtcd({
      endpoints: this.endpoints,
      clock: systemClock,
      random: new SeededRandom(Math.floor(Math.random() * 2 ** 32)),
      log: silentLog,
      ...options,
    });
  }

  async startMember(number: number): Promise<void> {
    const { name, client, peer } = this.#places[number] as Place;
    const { isSynced, quotaBytes, tls } = this.#options;
    const cluster = this.#places.map((place) => `${place.name}=${place.peer}`).join(",");
    const settings: Readonly<Record<string, string | undefined>> = {
      name,
      "data-dir": join(this.#folder, name),
      logger: "zap",
      "log-level": "warn",
      "log-outputs": join(this.#folder, `${name}.log`),
      // Only addresses can be listened on.
      "listen-client-urls": client.replace("localhost", "127.0.0.1"),
      "advertise-client-urls": client,
      "listen-peer-urls": peer,
      "initial-advertise-peer-urls": peer,
      "initial-cluster": cluster,
      "unsafe-no-fsync": isSynced ? undefined : "true",
      "quota-backend-bytes": quotaBytes?.toString(),
      "cert-file": tls?.certificate,
      "key-file": tls?.key,
      "trusted-ca-file": tls?.ca,
      "client-cert-auth": tls && "true",
    };
    const parameters = Object.entries(settings).flatMap(([setting, value]) =>
      value === undefined ? [] : [`--${setting}=${value}`],
    );
    const child = spawn("etcd", parameters, { stdio: "ignore" });
    this.#running.set(number, child);
    await this.#answers(number, child);
  }

  /** As power is for it: at once. */
  async kill(number: number): Promise<void> {
    const child = this.#child(number);
    this.#running.delete(number);
    const exit = once(child, "exit");
    child.kill("SIGKILL");
    await exit;
  }

  /** Kills it, and takes its data away. */
  async lose(number: number): Promise<void> {
    await this.kill(number);
    await rm(join(this.#folder, (this.#places[number] as Place).name), { recursive: true });
  }

  pause(number: number): void {
    this.#child(number).kill("SIGSTOP");
  }

  resume(number: number): void {
    this.#child(number).kill("SIGCONT");
  }

  /** The member that leads, as the first that answers says. */
  leader(): number {
    for (const { client } of this.#places) {
      const rows = this.#status(client);
      const leader = rows?.findIndex(({ Status }) => Status.leader === Status.header.member_id);
      if (leader !== undefined && leader >= 0) return leader;
    }
    throw new Error("No member of etcd leads");
  }

  /** What etcdctl prints. */
  control(...parameters: string[]): string {
    const { tls } = this.#options;
    const certificates = tls
      ? ["--cacert", tls.ca, "--cert", tls.certificate, "--key", tls.key]
      : [];
    const { stdout, stderr, status } = spawnSync(
      "etcdctl",
      ["--endpoints", this.endpoints.join(","), ...certificates, ...parameters],
      { encoding: "utf8", env: { ...process.env, ETCDCTL_API: "3" } },
    );
    if (status !== 0) throw new Error(`etcdctl ${parameters.join(" ")}: ${stderr}`);
    return stdout;
  }

  /** Of the first member: what its file takes, what of it is in use, and the processor time it has had. */
  async measure(): Promise<{ fileBytes: number; usedBytes: number; processorMs: number }> {
    const status = this.#status(this.#places[0]?.client ?? "")?.[0]?.Status;
    const stat = await readFile(`/proc/${this.#child(0).pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return {
      fileBytes: status?.dbSize ?? 0,
      usedBytes: status?.dbSizeInUse ?? 0,
      processorMs: (Number(fields[11]) + Number(fields[12])) * 10,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const number of this.#running.keys()) await this.kill(number);
    await rm(this.#folder, { recursive: true, force: true });
  }

  #child(number: number): ChildProcess {
    const child = this.#running.get(number);
    if (child === undefined) throw new Error(`Member ${number} of etcd is not running`);
    return child;
  }

  #status(endpoint: string): readonly { Status: Status }[] | undefined {
    try {
      const scope = this.#places.length > 1 ? ["--cluster"] : [];
      const where = ["--endpoints", endpoint, "--command-timeout", "2s"];
      const output = this.control(...where, "endpoint", "status", "-w", "json", ...scope);
      const rows = JSON.parse(output) as { Endpoint: string; Status: Status }[];
      return this.#places.flatMap(({ client }) => rows.filter((row) => row.Endpoint === client));
    } catch {
      return undefined;
    }
  }

  async #answers(number: number, child: ChildProcess): Promise<void> {
    const { client } = this.#places[number] as Place;
    const end = performance.now() + START_MS_MAX;
    while (performance.now() < end && child.exitCode === null) {
      if (await connects(Number(new URL(client).port))) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const log = await readFile(join(this.#folder, `member${number}.log`), "utf8").catch(() => "");
    throw new Error(`etcd did not start: ${log.slice(-2000)}`);
  }
}

interface Status {
  readonly header: { readonly member_id: number };
  readonly leader: number;
  readonly dbSize: number;
  readonly dbSizeInUse: number;
}

/** Below those that the system gives to outgoing connections and to whoever asks for any: none of these takes them meanwhile. */
const PORTS = { from: 12_000, count: 18_000 };

async function freePorts(count: number): Promise<readonly number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = PORTS.from + Math.floor(Math.random() * PORTS.count);
    if (await isFree(port)) ports.add(port);
  }
  return [...ports];
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, "127.0.0.1");
  try {
    await once(server, "listening");
    await once(server.close(), "close");
    return true;
  } catch {
    return false;
  }
}

async function connects(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
