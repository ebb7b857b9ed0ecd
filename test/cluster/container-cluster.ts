/** A cluster of containers on one network: etcd, storage nodes, gateways and keepers, and all that can be done to them. */
import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { GenericContainer } from "testcontainers";
import { docker, isThere } from "../support/docker.ts";
import type { Images } from "../support/images.ts";
import { NodeDisk } from "./disk.ts";
import { LABEL, removeLeftovers, SCRATCH_PREFIX } from "./leftovers.ts";
import { ContainerNetwork } from "./network.ts";

export const ACCESS_KEY = "anybucket";
export const SECRET_KEY = "anybucket-secret";
const ADMIN_TOKEN = randomBytes(18).toString("base64url");
const S3_PORT = 9000;
const ADMIN_PORT = 9001;
const SHARD_PORT = 9002;
const ETCD_PORT = 2379;
const PEER_PORT = 2380;
/** A start takes seconds; the rest is for a machine with other things to do, or that stood still. */
const READY_MS = 480_000;
/** Above ANYBUCKET_DRAIN. */
const STOP_S = 40;

export type MemberKind = "etcd" | "storage" | "keeper" | "gateway";

export interface Member {
  readonly name: string;
  readonly kind: MemberKind;
}

export interface Shape {
  readonly nodes: number;
  readonly storageClass: string;
}

/** As documented for etcd where members are slow to answer: no election only because the machine is busy. */
const ETCD_TIMES = ["--heartbeat-interval=250", "--election-timeout=2500"];

/** What an operator sets in months comes round in a run's minutes. */
const HURRIED = { ANYBUCKET_TRASH_RETENTION: "1m", ANYBUCKET_SCRUB_INTERVAL: "30s" };

export class ContainerCluster implements AsyncDisposable {
  readonly members: readonly Member[];
  readonly folder: string;
  readonly #shape: Shape;
  readonly #images: Images;
  readonly #name: string;
  readonly #closing = new AsyncDisposableStack();
  readonly #disks = new Map<string, NodeDisk>();
  readonly #ids = new Map<string, string>();
  #network: ContainerNetwork | undefined;

  private constructor(images: Images, shape: Shape, folder: string) {
    this.#images = images;
    this.#shape = shape;
    this.folder = folder;
    this.#name = `anybucket-${process.pid}-${randomBytes(3).toString("hex")}`;
    this.members = [
      ...named("etcd", 3),
      ...named("storage", shape.nodes),
      ...named("keeper", 2),
      ...named("gateway", 2),
    ];
  }

  /** All of it, ready to serve. */
  static async start(images: Images, shape: Shape): Promise<ContainerCluster> {
    await removeLeftovers();
    const folder = await mkdtemp(join(tmpdir(), `${SCRATCH_PREFIX}${process.pid}-`));
    const cluster = new ContainerCluster(images, shape, folder);
    try {
      await cluster.#start();
    } catch (error) {
      const logs = `${folder}-logs`;
      await cluster.keepLogs(logs);
      await cluster[Symbol.asyncDispose]();
      throw new Error(`Cannot start the cluster; its containers' logs are in ${logs}`, {
        cause: error,
      });
    }
    return cluster;
  }

  get network(): ContainerNetwork {
    if (!this.#network) throw new Error("Cannot give the network: the cluster is not started");
    return this.#network;
  }

  of(kind: MemberKind): readonly string[] {
    return this.members.filter((member) => member.kind === kind).map(({ name }) => name);
  }

  endpoint(gateway: string): string {
    return `http://${this.network.address(gateway)}:${S3_PORT}`;
  }

  get etcdEndpoints(): readonly string[] {
    return this.of("etcd").map((name) => `http://${this.network.address(name)}:${ETCD_PORT}`);
  }

  disk(node: string): NodeDisk {
    const disk = this.#disks.get(node);
    if (!disk) throw new Error(`Cannot find the disk of ${node}: it has none`);
    return disk;
  }

  async kill(name: string): Promise<void> {
    await docker("kill", "--signal=KILL", this.#id(name));
  }

  /** SIGTERM, and SIGKILL when it has had its time. */
  async stop(name: string): Promise<void> {
    await docker("stop", `--time=${STOP_S}`, this.#id(name));
  }

  async start(name: string): Promise<void> {
    await docker("start", this.#id(name));
  }

  /** Docker's own pause gives up on a process that waits for its disk. */
  async pause(name: string): Promise<void> {
    await docker("kill", "--signal=STOP", this.#id(name));
  }

  async resume(name: string): Promise<void> {
    await docker("kill", "--signal=CONT", this.#id(name));
  }

  /** Its interface goes, and with it all its connections. */
  async disconnect(name: string): Promise<void> {
    await docker("network", "disconnect", this.network.name, this.#id(name));
  }

  async connect(name: string): Promise<void> {
    const address = this.network.address(name);
    await docker("network", "connect", `--ip=${address}`, this.network.name, this.#id(name));
  }

  /** As it should be, whatever was done to it. */
  async restore(name: string): Promise<void> {
    const [status, address] = (
      await this.#inspect(
        name,
        "{{.State.Status}} {{range .NetworkSettings.Networks}}{{.NetworkID}}{{end}}",
      )
    ).split(" ");
    if (address === "") await this.connect(name);
    await (status === "running" ? this.resume(name) : this.start(name));
  }

  /** The member whose word counts; undefined while there is none. */
  async etcdLeader(): Promise<string | undefined> {
    for (const name of this.of("etcd")) {
      const flags = ["--command-timeout=2s", "--write-out=json", "endpoint", "status"];
      const [answer] = await docker("exec", this.#id(name), "etcdctl", ...flags)
        .then((text) => JSON.parse(text) as EtcdStatus[])
        .catch(() => []);
      if (answer && answer.Status.leader === answer.Status.header.member_id) return name;
    }
    return undefined;
  }

  async untilReady(names: readonly string[] = this.members.map(({ name }) => name)): Promise<void> {
    const deadline = performance.now() + READY_MS;
    await Promise.all(
      names.map(async (name) => {
        while (!(await this.isReady(name))) {
          if (performance.now() > deadline) {
            throw new Error(`${name} was not ready within ${READY_MS} ms`);
          }
          await sleep(200);
        }
      }),
    );
  }

  async isReady(name: string): Promise<boolean> {
    const isEtcd = this.of("etcd").includes(name);
    const path = isEtcd ? `${ETCD_PORT}/health` : `${ADMIN_PORT}/readyz`;
    try {
      const url = `http://${this.network.address(name)}:${path}`;
      const answer = await fetch(url, { signal: AbortSignal.timeout(3000) });
      await answer.arrayBuffer();
      return answer.ok;
    } catch {
      return false;
    }
  }

  /** Whether a connection from one to another comes about: what a cut is tried with. */
  async reaches(from: string, to: string): Promise<boolean> {
    const port = this.of("etcd").includes(to) ? ETCD_PORT : ADMIN_PORT;
    const program = `
      const socket = require("node:net").connect(${port}, "${this.network.address(to)}");
      socket.once("connect", () => process.exit(0));
      socket.once("error", () => process.exit(1));
      setTimeout(() => process.exit(1), 3000);`;
    return isThere("exec", this.#id(from), "node", "--eval", program);
  }

  /** `anybucket NOUN VERB` as an operator types it, in a keeper's container. */
  async operator(...argv: readonly string[]): Promise<string> {
    return docker("exec", this.#id("keeper1"), "anybucket", ...argv);
  }

  /** How often a member ended by itself and was started again. */
  async restarts(): Promise<ReadonlyMap<string, number>> {
    const counts = new Map<string, number>();
    for (const { name } of this.members) {
      counts.set(name, Number(await this.#inspect(name, "{{.RestartCount}}")));
    }
    return counts;
  }

  /** What each container wrote since it was made. */
  async keepLogs(folder: string): Promise<void> {
    await mkdir(folder, { recursive: true });
    for (const [name, id] of this.#ids) {
      const text = await docker("logs", "--timestamps", id).catch(String);
      await writeFile(join(folder, `${name}.log`), text);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#closing[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true, force: true });
  }

  async #start(): Promise<void> {
    this.#network = this.#closing.use(await ContainerNetwork.make(this.#name));
    for (const node of this.of("storage")) {
      this.#disks.set(node, this.#closing.use(await NodeDisk.make(this.folder, node)));
    }
    this.#closing.defer(async () => {
      for (const id of this.#ids.values()) await docker("rm", "--force", "--volumes", id);
    });
    for (const { name } of this.members) this.network.address(name);
    await Promise.all(this.members.map(async (member) => this.#run(member)));
    await this.untilReady();
  }

  async #run(member: Member): Promise<void> {
    const { name, kind } = member;
    const container = new AddressedContainer(
      kind === "etcd" ? this.#images.etcd : this.#images.anybucket,
      { network: this.network.name, address: this.network.address(name) },
    )
      .withName(`${this.#name}-${name}`)
      .withLabels({ [LABEL]: String(process.pid) })
      .withHostname(name)
      .withAutoCleanup(false)
      .withNetworkMode(this.network.name)
      .withCommand(kind === "etcd" ? this.#etcd(name) : [kind])
      .withEnvironment(kind === "etcd" ? { ETCDCTL_API: "3" } : this.#environment(member));
    if (kind === "storage") {
      container.withBindMounts([{ source: this.disk(name).folder, target: "/data" }]);
    }
    const started = await container.start();
    this.#ids.set(name, started.getId());
  }

  #etcd(name: string): string[] {
    const peer = (one: string) => `http://${this.network.address(one)}:${PEER_PORT}`;
    const cluster = this.of("etcd").map((one) => `${one}=${peer(one)}`);
    return [
      `--name=${name}`,
      "--data-dir=/var/lib/etcd",
      `--listen-client-urls=http://0.0.0.0:${ETCD_PORT}`,
      `--advertise-client-urls=http://${this.network.address(name)}:${ETCD_PORT}`,
      `--listen-peer-urls=http://0.0.0.0:${PEER_PORT}`,
      `--initial-advertise-peer-urls=${peer(name)}`,
      `--initial-cluster=${cluster.join(",")}`,
      `--initial-cluster-token=${this.#name}`,
      ...ETCD_TIMES,
    ];
  }

  #environment({ name, kind }: Member): Record<string, string> {
    const shared = {
      ANYBUCKET_ETCD: this.etcdEndpoints.join(","),
      ANYBUCKET_INITIAL_NODES: String(this.#shape.nodes),
      ANYBUCKET_STORAGE_CLASS: this.#shape.storageClass,
      ANYBUCKET_PLACEMENT_GROUPS: "64",
      ANYBUCKET_ADMIN_TOKEN: ADMIN_TOKEN,
      ANYBUCKET_LOG_FORMAT: "json",
      ...HURRIED,
    };
    if (kind === "storage") {
      const address = `${this.network.address(name)}:${SHARD_PORT}`;
      return {
        ...shared,
        ANYBUCKET_NODE: name,
        ANYBUCKET_NODE_ADDRESS: address,
        ANYBUCKET_ZONE: name,
      };
    }
    if (kind === "keeper") return shared;
    return { ...shared, ANYBUCKET_ACCESS_KEY: ACCESS_KEY, ANYBUCKET_SECRET_KEY: SECRET_KEY };
  }

  #id(name: string): string {
    const id = this.#ids.get(name);
    if (id === undefined) throw new Error(`Cannot find ${name}: it was not started`);
    return id;
  }

  #inspect(name: string, format: string): Promise<string> {
    return docker("inspect", `--format=${format}`, this.#id(name));
  }
}

interface EtcdStatus {
  readonly Status: { readonly leader: number; readonly header: { readonly member_id: number } };
}

/** Testcontainers' own, at an address that stays, and without the image's health check: it starts a process every ten seconds. */
class AddressedContainer extends GenericContainer {
  constructor(image: string, { network, address }: { network: string; address: string }) {
    super(image);
    this.createOpts.Healthcheck = { Test: ["NONE"] };
    // As wherever it is deployed: what ends with a fault, such as no etcd at the start, is started again. What a test kills is not.
    this.hostConfig.RestartPolicy = { Name: "on-failure" };
    this.createOpts.NetworkingConfig = {
      EndpointsConfig: { [network]: { IPAMConfig: { IPv4Address: address } } },
    };
  }
}

function named(kind: MemberKind, count: number): readonly Member[] {
  const word = kind === "storage" ? "node" : kind;
  return Array.from({ length: count }, (_, at) => ({ name: `${word}${at + 1}`, kind }));
}
