/** One gateway process: opens index and disks, serves S3 on the shared port, does the background work when elected. */
import { on } from "node:events";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { UserTable } from "#access/users-file.ts";
import { type HttpServer, SERVER_OPTIONS } from "#gateway/connections.ts";
import type { RequestRecord } from "#gateway/exchange.ts";
import { Gateway } from "#gateway/server.ts";
import { systemClock } from "#lib/clock.ts";
import { createLog, isForPeople, type Logger } from "#lib/log.ts";
import { createMetrics, type Metrics } from "#lib/metrics.ts";
import { systemRandom } from "#lib/random.ts";
import { accessLog } from "#local/access-log.ts";
import { parseAddress } from "#local/address.ts";
import type { Certificate } from "#local/certificate.ts";
import type { ToSupervisor, ToWorker, WorkerPlan } from "#local/messages.ts";
import { type LocalNode, openNode } from "#local/node.ts";
import { asOperatorFault, EXIT_FAULT, listenFault, OperatorFault } from "#local/operator-fault.ts";

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
const FAULT_HEARD_MS = 5000;
const TLS_OPTIONS = { minVersion: "TLSv1.2" } as const;

/** Runs until the supervisor tells it to drain. */
export async function runWorker(): Promise<void> {
  // The supervisor is gone: nobody would start this process again or end its session.
  process.on("disconnect", () => process.exit(1));
  const inbox = on(process, "message") as AsyncIterator<[ToWorker]>;
  const plan = await askForPlan(inbox);
  const { logLevel: level, logFormat: format } = plan.settings;
  const log = createLog({ level, format });
  try {
    await serve(plan, { inbox, log });
  } catch (error) {
    if (!(error instanceof OperatorFault)) log.error({ err: error }, "Cannot serve");
    const { message, exitCode } = asOperatorFault(error, EXIT_FAULT);
    tell({ kind: "fault", message, exitCode });
    log.flush();
    // The supervisor ends this process, once it has heard why.
    await systemClock.sleep(FAULT_HEARD_MS);
    process.exit(1);
  }
  log.flush();
  process.exit(0);
}

async function serve(
  plan: WorkerPlan,
  { inbox, log }: { inbox: AsyncIterator<[ToWorker]>; log: Logger & { flush(): void } },
): Promise<void> {
  const { settings } = plan;
  const metrics = createMetrics({ processMetrics: true });
  const node = await openNode({ plan, log, clock: systemClock, random: systemRandom });
  tell({ kind: "session", session: node.session.id });
  const users = new UserTable(plan.users);
  let isDraining = false;
  const logRequest = settings.accessLog
    ? accessLog(log, { isForPeople: isForPeople({ format: settings.logFormat }) })
    : undefined;
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
        logRequest?.(record);
      },
    },
  );
  const { server, useCertificate } = createHttpServer(plan);
  gateway.attach(server);
  const stopped = Promise.withResolvers<void>();
  const onMessage = (message: ToWorker) => {
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
      case "users":
        users.replace(message.users);
        break;
      case "certificate":
        useCertificate(message.certificate);
        break;
      case "report":
        void report(message.id, metrics, gateway, node);
        break;
      case "drain":
        isDraining = true;
        stopped.resolve();
        break;
    }
  };
  void hear(inbox, onMessage);
  const watch = setInterval(() => endOnFault(node, log), FAULT_CHECK_MS);
  await listen(server, settings.address);
  tell({ kind: "ready" });
  await stopped.promise;
  clearInterval(watch);
  await gateway.drain(AbortSignal.timeout(settings.drain));
  await node[Symbol.asyncDispose]();
}

/** The supervisor starts another process, which finds the index as it durably is. */
function endOnFault(node: LocalNode, log: ReturnType<typeof createLog>): void {
  const fault = node.fault();
  if (fault === undefined) return;
  log.error({ err: fault }, "The index takes no more commits from this process: ending it");
  log.flush();
  process.exit(1);
}

async function askForPlan(inbox: AsyncIterator<[ToWorker]>): Promise<WorkerPlan> {
  // The terminal's Ctrl-C goes to the whole group; the supervisor tells us when to stop.
  process.on("SIGINT", () => undefined);
  process.on("SIGTERM", () => undefined);
  process.on("SIGHUP", () => undefined);
  tell({ kind: "hello" });
  const [first] = (await inbox.next()).value as [ToWorker];
  if (first.kind !== "plan")
    throw new Error(`Cannot begin with ${first.kind}: the plan comes first`);
  return first.plan;
}

/** Messages wait their turn: none is lost while the parts that they are for are still being made. */
async function hear(
  inbox: AsyncIterator<[ToWorker]>,
  handle: (message: ToWorker) => void,
): Promise<void> {
  for (;;) {
    const { value, done } = await inbox.next();
    if (done === true) return;
    handle(value[0]);
  }
}

function createHttpServer({ certificate }: WorkerPlan): {
  server: HttpServer;
  useCertificate: (certificate: Certificate) => void;
} {
  if (certificate === undefined) {
    return { server: createServer(SERVER_OPTIONS), useCertificate: () => undefined };
  }
  const server = createTlsServer({ ...SERVER_OPTIONS, ...TLS_OPTIONS, ...certificate });
  // Connections that are open keep theirs.
  const useCertificate = (next: Certificate) =>
    server.setSecureContext({ ...TLS_OPTIONS, ...next });
  return { server, useCertificate };
}

async function listen(server: HttpServer, text: string): Promise<void> {
  const listening = Promise.withResolvers<void>();
  server.once("error", listening.reject);
  server.listen({ ...parseAddress(text), backlog: 1024 }, listening.resolve);
  try {
    await listening.promise;
  } catch (error) {
    throw listenFault(error as NodeJS.ErrnoException, { address: text, flag: "--address" });
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

function tell(message: ToSupervisor): void {
  // A supervisor that has just gone is no fault of ours: `disconnect` follows.
  if (process.connected) process.send?.(message, undefined, undefined, () => undefined);
}
