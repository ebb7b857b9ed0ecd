/**
 * Health, metrics and the state of background work, for operators and orchestrators; changes nothing, holds no secrets.
 * In a cluster the admin API, which asks for a token, stands beside them.
 */
import { createServer, type IncomingMessage, type Server } from "node:http";
import { AggregatorRegistry } from "@prometheus-io/client";

export interface AdminSource {
  /** How many processes serve, of how many that should. */
  processes(): { readonly ready: number; readonly wanted: number };
  /** What keeps it from being ready, or degrades it, a line each. */
  notes(): Promise<readonly string[]>;
  /** A report from every worker: metrics as JSON, and jobs. */
  reports(): Promise<readonly { readonly metrics: object; readonly jobs: readonly unknown[] }[]>;
  /** undefined: the path is none of its. */
  readonly api?: (request: IncomingMessage) => Promise<AdminAnswer> | undefined;
}

export interface AdminAnswer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

const TEXT = "text/plain; charset=utf-8";
const JSON_TYPE = "application/json";

export function createAdminServer(source: AdminSource): Server {
  const server = createServer((request, response) => {
    const path = (request.url ?? "/").split("?")[0] ?? "/";
    const answering = source.api?.(request) ?? answer(request.method ?? "GET", path, source);
    void answering
      .catch(
        (error: unknown): AdminAnswer => ({ status: 500, type: TEXT, body: `${String(error)}\n` }),
      )
      .then(({ status, type, body }) => {
        response.writeHead(status, {
          "content-type": type,
          "content-length": Buffer.byteLength(body),
        });
        return response.end(request.method === "HEAD" ? undefined : body);
      });
  });
  server.headersTimeout = 10_000;
  server.requestTimeout = 10_000;
  return server;
}

async function answer(method: string, path: string, source: AdminSource): Promise<AdminAnswer> {
  if (method !== "GET" && method !== "HEAD") return { status: 405, type: TEXT, body: "GET only\n" };
  switch (path) {
    case "/livez":
    case "/minio/health/live":
      return { status: 200, type: TEXT, body: "alive\n" };
    case "/readyz":
    case "/minio/health/ready":
    case "/minio/health/cluster": {
      const { ready, wanted } = source.processes();
      const notes = (await source.notes()).map((note) => `${note}\n`);
      return {
        status: ready > 0 ? 200 : 503,
        type: TEXT,
        body: [`${ready} of ${wanted} processes ready\n`, ...notes].join(""),
      };
    }
    case "/metrics": {
      const reports = await source.reports();
      const registry = AggregatorRegistry.aggregate(reports.map(({ metrics }) => metrics));
      return { status: 200, type: registry.contentType, body: await registry.metrics() };
    }
    case "/jobs": {
      const reports = await source.reports();
      const jobs = reports.flatMap((report) => report.jobs);
      return { status: 200, type: JSON_TYPE, body: `${JSON.stringify(jobs, null, 2)}\n` };
    }
    default:
      return { status: 404, type: TEXT, body: "/livez /readyz /metrics /jobs\n" };
  }
}
