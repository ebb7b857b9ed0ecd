/** As `startServer`, but the server is a cluster of its own: three storage nodes, a keeper, etcd, two gateways that take turns. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { S3Client } from "@aws-sdk/client-s3";
import { ProcessCluster } from "../../deploy/process-cluster.ts";
import { alternate } from "../support/alternating.ts";
import { ACCESS_KEY, makeCertificate, SECRET_KEY } from "./credentials.ts";
import type { ServerOptions, TestServer } from "./server.ts";

const NODES = 3;
const GATEWAYS = 2;

export async function startClusterServer(options: ServerOptions): Promise<TestServer> {
  const folder = await mkdtemp(join(tmpdir(), "anybucket-cluster-"));
  const certificate = options.https === true ? makeCertificate(folder) : undefined;
  const tls =
    certificate === undefined
      ? {}
      : { ANYBUCKET_TLS_CERT_FILE: certificate.cert, ANYBUCKET_TLS_KEY_FILE: certificate.key };
  const accessKey = options.env?.["ANYBUCKET_ACCESS_KEY"] ?? ACCESS_KEY;
  const secretKey = options.env?.["ANYBUCKET_SECRET_KEY"] ?? SECRET_KEY;
  const cluster = await ProcessCluster.start({
    folder,
    nodes: NODES,
    gateways: GATEWAYS,
    accessKey,
    secretKey,
    env: {
      ANYBUCKET_LOG_LEVEL: "warn",
      ANYBUCKET_ACCESS_LOG: "false",
      ANYBUCKET_PLACEMENT_GROUPS: "32",
      ...tls,
      ...options.env,
    },
  });
  const gateways = cluster.of("gateway");
  const [gateway] = gateways;
  const child = gateway?.process;
  if (!gateway || !child) throw new Error("The gateway has ended");
  const front = await alternate(
    gateways.map(({ port }) => port),
    certificate,
  );
  const endpoint = `${certificate === undefined ? "http" : "https"}://127.0.0.1:${front.port}`;
  const adminPorts = [...gateways, ...cluster.of("storage")].map(({ adminPort }) => adminPort);
  const stop = async () => {
    let code: number | null = null;
    child.once("exit", (left) => {
      code = left;
    });
    await front[Symbol.asyncDispose]();
    await cluster.stop();
    await rm(folder, { recursive: true, force: true });
    return code;
  };
  return {
    endpoint,
    adminEndpoint: `http://127.0.0.1:${gateway.adminPort}`,
    port: front.port,
    accessKey,
    secretKey,
    process: child,
    folders: [],
    certificate: certificate?.cert,
    client: (overrides) =>
      new S3Client({
        endpoint,
        region: "us-east-1",
        forcePathStyle: true,
        credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
        maxAttempts: 1,
        ...overrides,
      }),
    metrics: async () => {
      const answers = adminPorts.map(async (port) => {
        const answer = await fetch(`http://127.0.0.1:${port}/metrics`);
        return answer.text();
      });
      return (await Promise.all(answers)).join("\n");
    },
    output: () => gateways.map(({ output }) => output).join(""),
    stop,
    kill: async () => {
      await stop();
    },
  };
}
