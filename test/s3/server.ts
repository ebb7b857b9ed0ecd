/**
 * A real server process on a fresh folder, for tests that speak S3 over HTTP; or, with ANYBUCKET_TEST_CLUSTER=true, a
 * gateway of a fresh cluster, for the same tests.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { S3Client, type S3ClientConfig } from "@aws-sdk/client-s3";
import { startClusterServer } from "./cluster-server.ts";
import { ACCESS_KEY, makeCertificate, SECRET_KEY } from "./credentials.ts";

export { ACCESS_KEY, makeCertificate, SECRET_KEY } from "./credentials.ts";

const LAUNCHER = resolve(import.meta.dirname, "../../services/main.ts");

export interface ServerOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Data folders; one fresh one, removed at stop, when not given. */
  readonly folders?: readonly string[];
  readonly https?: boolean;
  readonly port?: number;
}

export interface TestServer {
  readonly endpoint: string;
  readonly adminEndpoint: string;
  readonly port: number;
  readonly accessKey: string;
  readonly secretKey: string;
  readonly process: ChildProcess;
  readonly folders: readonly string[];
  /** PEM file of the certificate, with https. */
  readonly certificate: string | undefined;
  client(options?: Partial<S3ClientConfig>): S3Client;
  /** Of the process that serves S3, then, in a cluster, of the storage nodes. */
  metrics(): Promise<string>;
  /** Everything it wrote. */
  output(): string;
  /** SIGTERM, and wait; answers the exit code. */
  stop(): Promise<number | null>;
  /** SIGKILL to the whole process group, and wait. The folders stay. */
  kill(): Promise<void>;
}

export async function startServer(options: ServerOptions = {}): Promise<TestServer> {
  const isOfCluster = process.env["ANYBUCKET_TEST_CLUSTER"] === "true";
  // Folders that are given are one machine's.
  if (isOfCluster && options.folders === undefined) return startClusterServer(options);
  const scratch = await mkdtemp(join(tmpdir(), "anybucket-test-"));
  const folders = options.folders ?? [join(scratch, "data")];
  const port = options.port ?? (await freePort());
  const adminPort = await freePort();
  const certificate = options.https === true ? makeCertificate(scratch) : undefined;
  const child = spawn(process.execPath, [LAUNCHER, ...folders], {
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      PATH: process.env["PATH"],
      HOME: scratch,
      ANYBUCKET_ADDRESS: `127.0.0.1:${port}`,
      ANYBUCKET_ADMIN_ADDRESS: `127.0.0.1:${adminPort}`,
      ANYBUCKET_ACCESS_KEY: ACCESS_KEY,
      ANYBUCKET_SECRET_KEY: SECRET_KEY,
      ANYBUCKET_LOG_LEVEL: "warn",
      ANYBUCKET_ACCESS_LOG: "false",
      // Few connections, and yet every process shall have some.
      ANYBUCKET_CONNECTION_SPREAD: "even",
      ...(certificate === undefined
        ? {}
        : { ANYBUCKET_TLS_CERT_FILE: certificate.cert, ANYBUCKET_TLS_KEY_FILE: certificate.key }),
      ...options.env,
    },
  });
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => chunks.push(chunk));
  const output = () => Buffer.concat(chunks).toString("utf8");
  const exited = new Promise<number | null>((settle) => child.once("exit", settle));
  const scheme = certificate === undefined ? "http" : "https";
  const server: TestServer = {
    endpoint: `${scheme}://127.0.0.1:${port}`,
    adminEndpoint: `http://127.0.0.1:${adminPort}`,
    port,
    accessKey: options.env?.["ANYBUCKET_ACCESS_KEY"] ?? ACCESS_KEY,
    secretKey: options.env?.["ANYBUCKET_SECRET_KEY"] ?? SECRET_KEY,
    process: child,
    folders,
    certificate: certificate?.cert,
    output,
    client: (overrides) =>
      new S3Client({
        endpoint: `${scheme}://127.0.0.1:${port}`,
        region: "us-east-1",
        forcePathStyle: true,
        credentials: { accessKeyId: server.accessKey, secretAccessKey: server.secretKey },
        maxAttempts: 1,
        ...overrides,
      }),
    metrics: async () => {
      const answer = await fetch(`${server.adminEndpoint}/metrics`);
      return answer.text();
    },
    stop: async () => {
      child.kill("SIGTERM");
      const code = await exited;
      await rm(scratch, { recursive: true, force: true });
      return code;
    },
    kill: async () => {
      if (child.pid !== undefined) {
        try {
          process.kill(-child.pid, "SIGKILL");
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
        }
      }
      await exited;
    },
  };
  await waitUntilReady(server, exited);
  return server;
}

async function waitUntilReady(server: TestServer, exited: Promise<number | null>): Promise<void> {
  const { process: child } = server;
  let hasExited = false;
  child.once("exit", () => {
    hasExited = true;
  });
  const deadline = Date.now() + 30_000;
  while (Date.now() < deadline) {
    if (hasExited) throw new Error(`Server ended with ${await exited}: ${server.output()}`);
    try {
      const answer = await fetch(`${server.adminEndpoint}/readyz`);
      await answer.arrayBuffer();
      if (answer.ok) return;
    } catch {
      // Not listening yet.
    }
    await new Promise((settle) => setTimeout(settle, 25));
  }
  throw new Error(`Server was not ready within 30 s: ${server.output()}`);
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((settle) => server.listen(0, "127.0.0.1", settle));
  const address = server.address();
  await new Promise((settle) => server.close(settle));
  if (address === null || typeof address === "string") throw new Error("No port was given");
  return address.port;
}
