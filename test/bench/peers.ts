/**
 * Other stores as clusters of processes on this machine, to be measured beside ours in the same run: MinIO as four nodes with a
 * drive each (2+2), Garage as three that keep three copies. Their defaults, but for addresses, folders and keys.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { freePort } from "../../deploy/process-cluster.ts";
import type { Target } from "./load.ts";

export interface Peer extends AsyncDisposable {
  readonly name: string;
  readonly target: Target;
  readonly processes: readonly number[];
}

export interface PeerOptions {
  readonly binary: string;
  /** A fresh one. */
  readonly folder: string;
}

const MINIO_NODES = 4;
const GARAGE_NODES = 3;
const READY_MS = 60_000;
/** What both do after they say that they are ready: agree on who is there, scan what they have. */
const SETTLE_MS = 4000;
const REGION = "us-east-1";
const LOOPBACK = "127.0.0.1";
/** Garage takes no others than such. */
const GARAGE_KEY = { accessKey: `GK${"0b".repeat(12)}`, secretKey: "a1".repeat(32) };
const MINIO_KEY = { accessKey: "anybucket", secretKey: "anybucket-secret" };

export async function startMinio({ binary, folder }: PeerOptions): Promise<Peer> {
  const host = ownAddress();
  const ports = await Promise.all(Array.from({ length: MINIO_NODES }, freePort));
  const drives = ports.map((port, at) => `http://${host}:${port}${join(folder, `drive${at}`)}`);
  const env = {
    MINIO_ROOT_USER: MINIO_KEY.accessKey,
    MINIO_ROOT_PASSWORD: MINIO_KEY.secretKey,
    // All drives may be folders of one disk.
    MINIO_CI_CD: "1",
  };
  const nodes = new PeerProcesses("MinIO");
  for (const port of ports) {
    const args = ["server", "--quiet", "--address", `${host}:${port}`, ...drives];
    nodes.start(binary, args, env);
  }
  const endpoint = new URL(`http://${host}:${ports[0]}`);
  await nodes.until(async () => (await fetch(new URL("/minio/health/cluster", endpoint))).ok);
  await sleep(SETTLE_MS);
  return nodes.as("MinIO, 4 nodes, 2+2", { endpoint, ...MINIO_KEY, region: REGION });
}

export async function startGarage({ binary, folder }: PeerOptions): Promise<Peer> {
  const nodes = new PeerProcesses("Garage");
  const garages: { file: string; port: number; ask: (...args: string[]) => Promise<string> }[] = [];
  for (let at = 0; at < GARAGE_NODES; at++) {
    const own = join(folder, String(at));
    await mkdir(own, { recursive: true });
    const port = await freePort();
    const file = join(own, "garage.toml");
    await writeFile(file, garageSettings({ folder: own, port, rpcPort: await freePort() }));
    nodes.start(binary, ["-c", file, "server"], { RUST_LOG: "garage=warn" });
    const ask = async (...args: string[]) => {
      return (await promisify(execFile)(binary, ["-c", file, ...args])).stdout.trim();
    };
    garages.push({ file, port, ask });
  }
  const [first] = garages;
  if (first === undefined) throw new Error("Cannot start Garage: it has no nodes");
  for (const { ask } of garages) await nodes.until(async () => (await ask("status")) !== "");
  const ids = await Promise.all(garages.map(({ ask }) => ask("node", "id", "-q")));
  for (const id of ids.slice(1)) await first.ask("node", "connect", id);
  await nodes.until(async () => {
    const status = await first.ask("status");
    return ids.every((id) => status.includes(id.slice(0, 16)));
  });
  for (const [at, id] of ids.entries()) {
    const [node = ""] = id.split("@");
    await first.ask("layout", "assign", "-z", `zone${at}`, "-c", "50G", node);
  }
  await first.ask("layout", "apply", "--version", "1");
  await sleep(SETTLE_MS);
  const { accessKey, secretKey } = GARAGE_KEY;
  await first.ask("key", "import", "--yes", "-n", "bench", accessKey, secretKey);
  await first.ask("key", "allow", "--create-bucket", accessKey);
  const endpoint = new URL(`http://${LOOPBACK}:${first.port}`);
  return nodes.as("Garage, 3 nodes, 3 copies", { endpoint, ...GARAGE_KEY, region: REGION });
}

function garageSettings({
  folder,
  port,
  rpcPort,
}: {
  folder: string;
  port: number;
  rpcPort: number;
}): string {
  return `metadata_dir = "${join(folder, "meta")}"
data_dir = "${join(folder, "data")}"
db_engine = "lmdb"
replication_factor = ${GARAGE_NODES}
rpc_bind_addr = "${LOOPBACK}:${rpcPort}"
rpc_public_addr = "${LOOPBACK}:${rpcPort}"
rpc_secret = "${"5e".repeat(32)}"
allow_world_readable_secrets = true

[s3_api]
api_bind_addr = "${LOOPBACK}:${port}"
s3_region = "${REGION}"
root_domain = ".s3.localhost"
`;
}

/** MinIO in a container refuses to have nodes on the loopback address, so this machine's own is taken where it has one. */
function ownAddress(): string {
  for (const addresses of Object.values(networkInterfaces())) {
    const found = addresses?.find(({ family, internal }) => family === "IPv4" && !internal);
    if (found !== undefined) return found.address;
  }
  return LOOPBACK;
}

class PeerProcesses {
  readonly #name: string;
  readonly #children: ChildProcess[] = [];
  #output = "";

  constructor(name: string) {
    this.#name = name;
    // However this process ends, none of them stays behind.
    process.on("exit", () => {
      for (const child of this.#children) child.kill("SIGKILL");
    });
  }

  start(binary: string, args: readonly string[], env: Readonly<Record<string, string>>): void {
    const child = spawn(binary, args, {
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: process.env["PATH"], HOME: process.env["HOME"], ...env },
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (text: Buffer) => {
        this.#output = (this.#output + text.toString()).slice(-4000);
      });
    }
    child.once("error", (error) => {
      this.#output += error.message;
    });
    this.#children.push(child);
  }

  /** Waits until the question is answered with yes; what fails meanwhile is asked again. */
  async until(isSo: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + READY_MS;
    for (;;) {
      if (await isSo().catch(() => false)) return;
      const isGone = this.#children.some(({ exitCode, pid }) => exitCode !== null || !pid);
      if (isGone || performance.now() > deadline) {
        await this.#stop();
        throw new Error(`Cannot start ${this.#name}: ${this.#output}`);
      }
      await sleep(200);
    }
  }

  as(name: string, target: Target): Peer {
    const processes = this.#children.flatMap(({ pid }) => pid ?? []);
    return { name, target, processes, [Symbol.asyncDispose]: () => this.#stop() };
  }

  async #stop(): Promise<void> {
    const ending = this.#children.filter(({ exitCode, pid }) => exitCode === null && pid);
    await Promise.all(
      ending.map((child) => {
        const gone = new Promise((settle) => child.once("exit", settle));
        child.kill("SIGKILL");
        return gone;
      }),
    );
  }
}
