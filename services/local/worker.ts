/** One gateway process: opens index and disks, serves S3 on the shared port, does the background work when elected. */
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { User } from "#access/users.ts";
import { readUsersFile, UserTable } from "#access/users-file.ts";
import { type HttpServer, SERVER_OPTIONS } from "#gateway/connections.ts";
import type { RequestRecord } from "#gateway/exchange.ts";
import { Gateway } from "#gateway/server.ts";
import { systemClock } from "#lib/clock.ts";
import { createLog, type Logger } from "#lib/log.ts";
import { createMetrics, type Metrics } from "#lib/metrics.ts";
import { systemRandom } from "#lib/random.ts";
import { parseAddress } from "#local/address.ts";
import { firstUser } from "#local/credentials.ts";
import type { ToSupervisor, ToWorker, WorkerPlan } from "#local/messages.ts";
import { type LocalNode, openNode } from "#local/node.ts";
import { createTlsServer } from "#local/tls.ts";

/** Errors that say who may not, or how it was signed: worth a metric of their own. */
const AUTH_ERRORS = new Set([
  "AccessDenied",
  "InvalidAccessKeyId",
  "SignatureDoesNotMatch",
  "RequestTimeTooSkewed",
  "AuthorizationHeaderMalformed",
  "AuthorizationQueryParametersError",
]);

const FAULT_CHECK_MS = 1000;

/** Runs until the supervisor tells it to drain. */
export async function runWorker(): Promise<void> {
  const plan = await askForPlan();
  const { settings } = plan;
  const log = createLog({ level: settings.logLevel, format: settings.logFormat });
  const metrics = createMetrics({ processMetrics: true });
  const node = await openNode({ plan, log, clock: systemClock, random: systemRandom });
  tell({ kind: "session", session: node.session.id });
  const users = new UserTable(await readUsers(plan));
  let isDraining = false;
  const gateway = new Gateway(
    {
      objects: node.objects,
      users,
      settings: settings,
      clock: systemClock,
      random: systemRandom,
    },
    {
      log,
      isReady: () => !isDraining,
      onRequest: (record) => {
        count(metrics, record);
        if (settings.accessLog) log.info(accessLine(record), "request");
      },
    },
  );
  const server = await createHttpServer(plan, log);
  gateway.attach(server);
  const stopped = Promise.withResolvers<void>();
  process.on("message", (message: ToWorker) => {
    switch (message.kind) {
      case "plan":
        break;
      case "elected":
        node.startKeeper();
        break;
      case "worker-ended":
        void node
          .takeOver()
          .catch((error: unknown) =>
            log.error({ err: error }, "Cannot close the volumes of a process that ended"),
          );
        break;
      case "reload-users":
        void reloadUsers(plan, users, log);
        break;
      case "report":
        void report(message.id, metrics, gateway, node);
        break;
      case "drain":
        isDraining = true;
        stopped.resolve();
        break;
    }
  });
  // The supervisor is gone: nobody would start this process again or end its session.
  process.on("disconnect", () => process.exit(1));
  const watch = setInterval(() => endOnFault(node, log), FAULT_CHECK_MS);
  const address = parseAddress(settings.address);
  await listen(server, address.port, address.host);
  tell({ kind: "ready" });
  await stopped.promise;
  clearInterval(watch);
  await gateway.drain(AbortSignal.timeout(settings.drain));
  await node[Symbol.asyncDispose]();
  log.flush();
  process.exit(0);
}

/** The supervisor starts another process, which finds the index as it durably is. */
function endOnFault(node: LocalNode, log: ReturnType<typeof createLog>): void {
  const fault = node.fault();
  if (fault === undefined) return;
  log.error({ err: fault }, "The index takes no more commits from this process: ending it");
  log.flush();
  process.exit(1);
}

async function askForPlan(): Promise<WorkerPlan> {
  const answer = Promise.withResolvers<WorkerPlan>();
  const onMessage = (message: ToWorker) => {
    if (message.kind === "plan") answer.resolve(message.plan);
  };
  process.on("message", onMessage);
  // The terminal's Ctrl-C goes to the whole group; the supervisor tells us when to stop.
  process.on("SIGINT", () => undefined);
  process.on("SIGTERM", () => undefined);
  process.on("SIGHUP", () => undefined);
  tell({ kind: "hello" });
  const plan = await answer.promise;
  process.off("message", onMessage);
  return plan;
}

async function createHttpServer({ settings }: WorkerPlan, log: Logger): Promise<HttpServer> {
  const { tlsCertFile, tlsKeyFile } = settings;
  if (tlsCertFile === undefined || tlsKeyFile === undefined) return createServer(SERVER_OPTIONS);
  return createTlsServer({ certFile: tlsCertFile, keyFile: tlsKeyFile }, SERVER_OPTIONS, log);
}

async function listen(server: HttpServer, port: number, host: string | undefined): Promise<void> {
  const listening = Promise.withResolvers<void>();
  server.once("error", (error: NodeJS.ErrnoException) => {
    tell({ kind: "fault", message: error.message, code: error.code });
    listening.reject(error);
  });
  server.listen({ port, host, backlog: 1024 }, listening.resolve);
  await listening.promise;
}

async function readUsers({ settings, credentials }: WorkerPlan): Promise<readonly User[]> {
  const first = firstUser(credentials);
  if (settings.usersFile === undefined) return [first];
  return [first, ...(await readUsersFile(settings.usersFile, (path) => readFile(path, "utf8")))];
}

async function reloadUsers(plan: WorkerPlan, users: UserTable, log: Logger): Promise<void> {
  try {
    users.replace(await readUsers(plan));
    log.info("Users reloaded");
  } catch (error) {
    log.error({ err: error }, "Users not reloaded: the earlier ones stay");
  }
}

async function report(
  id: number,
  metrics: Metrics,
  gateway: Gateway,
  node: LocalNode,
): Promise<void> {
  metrics.inFlight.set(gateway.inFlight);
  await node.measure(metrics);
  tell({
    kind: "report",
    id,
    metrics: await metrics.registry.getMetricsAsJSON(),
    jobs: node.jobs(),
  });
}

function count(metrics: Metrics, record: RequestRecord): void {
  const operation = record.operation ?? "unknown";
  metrics.requests.inc({ operation, status: record.status });
  metrics.requestSeconds.observe({ operation }, record.ms / 1000);
  if (record.bytesIn > 0) metrics.bytes.inc({ direction: "in" }, record.bytesIn);
  if (record.bytesOut > 0) metrics.bytes.inc({ direction: "out" }, record.bytesOut);
  if (record.errorCode !== undefined && AUTH_ERRORS.has(record.errorCode)) {
    metrics.authFailures.inc({ reason: record.errorCode });
  }
}

function accessLine(record: RequestRecord): object {
  return {
    req_id: record.requestId,
    op: record.operation,
    method: record.method,
    bucket: record.bucket,
    key: record.key,
    user: record.caller,
    status: record.status,
    code: record.errorCode,
    complete: record.isComplete ? undefined : false,
    in: record.bytesIn,
    out: record.bytesOut,
    ms: Math.round(record.ms * 100) / 100,
    remote: record.remote,
    agent: record.userAgent,
  };
}

function tell(message: ToSupervisor): void {
  if (process.connected) process.send?.(message);
}
