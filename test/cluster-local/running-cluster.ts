/** A cluster of processes with its clients, its operator and a look into its index. */
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  CreateBucketCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { ProcessCluster } from "../../deploy/process-cluster.ts";
import { type CliOutcome, runAdminCommand } from "../../services/admin/cli.ts";
import type { NodeList, NodeView } from "../../services/admin/node-api.ts";
import { systemClock } from "../../services/lib/clock.ts";
import { silentLog } from "../../services/lib/log.ts";
import { systemRandom } from "../../services/lib/random.ts";
import { type EtcdMetadata, openEtcd } from "../../services/metadata/etcd.ts";
import { DIRTY_MARKS } from "../../services/placement/placement-record.ts";

export const ACCESS_KEY = "anybucket";
export const SECRET_KEY = "anybucket-secret";
/** What takes seconds may take many times that on a busy machine. */
const PATIENCE_MS = 240_000;

export interface Shape {
  readonly nodes: number;
  readonly gateways: number;
  readonly keepers?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly envOf?: (member: string) => Readonly<Record<string, string>>;
}

export class RunningCluster implements AsyncDisposable {
  readonly processes: ProcessCluster;
  readonly folder: string;
  readonly metadata: EtcdMetadata;
  readonly bucket = "test";
  /** Digest of what was acknowledged under each key. */
  readonly stored = new Map<string, string>();

  private constructor(processes: ProcessCluster, folder: string, metadata: EtcdMetadata) {
    this.processes = processes;
    this.folder = folder;
    this.metadata = metadata;
  }

  static async start({ env = {}, ...shape }: Shape): Promise<RunningCluster> {
    const folder = await mkdtemp(join(tmpdir(), "anybucket-cluster-"));
    const processes = await ProcessCluster.start({
      ...shape,
      folder,
      accessKey: ACCESS_KEY,
      secretKey: SECRET_KEY,
      env: { ANYBUCKET_ACCESS_LOG: "false", ANYBUCKET_PLACEMENT_GROUPS: "32", ...env },
    });
    const [etcd] = processes.of("etcd");
    const metadata = await openEtcd({
      endpoints: [`http://127.0.0.1:${etcd?.port}`],
      namespace: "anybucket/",
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
    });
    const cluster = new RunningCluster(processes, folder, metadata);
    await cluster.client("gateway1").send(new CreateBucketCommand({ Bucket: cluster.bucket }));
    return cluster;
  }

  /** By its name, or by its URL. */
  client(gateway: string): S3Client {
    const isUrl = gateway.startsWith("http://");
    return new S3Client({
      endpoint: isUrl ? gateway : `http://127.0.0.1:${this.processes.member(gateway).port}`,
      region: "us-east-1",
      forcePathStyle: true,
      credentials: { accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY },
      maxAttempts: 1,
    });
  }

  async put(gateway: string, key: string, size: number): Promise<void> {
    const body = bytesOf(key, size);
    await this.client(gateway).send(
      new PutObjectCommand({ Bucket: this.bucket, Key: key, Body: body }),
    );
    this.stored.set(key, digestOf(body));
  }

  async list(gateway: string): Promise<readonly string[]> {
    const command = new ListObjectsV2Command({ Bucket: this.bucket });
    const { Contents = [] } = await this.client(gateway).send(command);
    return Contents.map(({ Key = "" }) => Key);
  }

  /** Keys whose bytes are not what was acknowledged, with what was found. */
  async unreadable(gateway: string): Promise<readonly string[]> {
    const client = this.client(gateway);
    const bad: string[] = [];
    for (const [key, digest] of this.stored) {
      try {
        const { Body } = await client.send(new GetObjectCommand({ Bucket: this.bucket, Key: key }));
        const bytes = await Body?.transformToByteArray();
        if (digestOf(bytes ?? new Uint8Array(0)) !== digest) bad.push(`${key}: other bytes`);
      } catch (error) {
        bad.push(`${key}: ${(error as Error).name} ${(error as Error).message}`);
      }
    }
    return bad;
  }

  /** `anybucket node …` as the operator types it. */
  async node(...argv: readonly string[]): Promise<CliOutcome> {
    const keeper = this.processes.of("keeper").find((member) => member.process !== undefined);
    return runAdminCommand({
      argv: ["node", ...argv],
      environment: {
        ANYBUCKET_ADMIN_ADDRESS: `127.0.0.1:${keeper?.adminPort}`,
        ANYBUCKET_ADMIN_TOKEN: this.processes.adminToken,
      },
    });
  }

  async view(id: string): Promise<NodeView | undefined> {
    const { out, err } = await this.node("list", "--json");
    if (err !== "") throw new Error(err);
    return (JSON.parse(out) as NodeList).nodes.find((node) => node.id === id);
  }

  async holds(id: string): Promise<number> {
    const node = await this.view(id);
    return (node?.disks ?? []).reduce((sum, { live }) => sum + live, 0);
  }

  async dirtyMarks(): Promise<number> {
    return (await this.metadata.range({ ...DIRTY_MARKS, limit: 1000 })).entries.length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.metadata[Symbol.asyncDispose]();
    await this.processes.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Resolves once it is so. */
export async function eventually(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (performance.now() < deadline) {
    if (await isSo()) return;
    await sleep(500);
  }
  throw new Error(`In ${PATIENCE_MS} ms it did not happen that ${what}`);
}

/** The same for the same key and size. */
export function bytesOf(key: string, size: number): Buffer {
  const seed = createHash("sha256").update(`${key} ${size}`).digest();
  const bytes = Buffer.alloc(size);
  for (let at = 0; at < size; at += seed.length) {
    seed.copy(bytes, at);
    seed.writeUInt32LE(at, 0);
  }
  return bytes;
}

function digestOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
