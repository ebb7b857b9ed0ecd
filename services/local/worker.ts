/** One gateway process: opens index and disks, serves S3 on the shared port, does the background work when elected. */
import { on } from "node:events";
import type { Socket } from "node:net";
import { UserTable } from "#access/users-file.ts";
import { systemClock } from "#lib/clock.ts";
import { createLog, type Logger } from "#lib/log.ts";
import { createMetrics, type Metrics } from "#lib/metrics.ts";
import { optimizeSooner } from "#lib/optimize-sooner.ts";
import { systemRandom } from "#lib/random.ts";
import type { ToSupervisor, ToWorker, WorkerPlan } from "#local/messages.ts";
import { type LocalNode, openNode } from "#local/node.ts";
import { asOperatorFault, EXIT_FAULT, OperatorFault } from "#local/operator-fault.ts";
import { S3Server } from "#local/s3-server.ts";

const FAULT_CHECK_MS = 1000;
/** How often the supervising process learns how busy this one is. */
const LOAD_MS = 1000;
const FAULT_HEARD_MS = 5000;

/** What the supervising process says, and the connection that came with it. */
type Inbox = AsyncIterator<[ToWorker, Socket | undefined]>;

/** Runs until the supervisor tells it to drain. */
export async function runWorker(): Promise<void> {
  // The supervisor is gone: nobody would start this process again or end its session.
  process.on("disconnect", () => process.exit(1));
  const inbox = on(process, "message") as Inbox;
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
  { inbox, log }: { inbox: Inbox; log: Logger & { flush(): void } },
): Promise<void> {
  const { settings } = plan;
  const metrics = createMetrics({ processMetrics: true });
  const node = await openNode({ plan, log, clock: systemClock, random: systemRandom });
  tell({ kind: "session", session: node.session.id });
  const users = new UserTable(plan.users);
  const server = new S3Server({
    settings,
    users,
    objects: () => node.objects,
    certificate: plan.certificate,
    metrics,
    log,
  });
  const stopped = Promise.withResolvers<void>();
  const onMessage = (message: ToWorker, socket: Socket | undefined) => {
    switch (message.kind) {
      case "plan":
        break;
      case "connection":
        tell({ kind: "taken" });
        // undefined: it was closed on its way.
        if (socket !== undefined) server.take(socket);
        break;
      case "shed":
        server.shed(message.connections);
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
        server.useCertificate(message.certificate);
        break;
      case "report":
        void report(message.id, metrics, server, node);
        break;
      case "drain":
        server.announceEnd();
        stopped.resolve();
        break;
    }
  };
  void hear(inbox, onMessage);
  const watch = setInterval(() => endOnFault(node, log), FAULT_CHECK_MS);
  server.takeHandedOver();
  const measuring = setInterval(() => tell({ kind: "load", ...server.load() }), LOAD_MS);
  tell({ kind: "ready" });
  optimizeSooner();
  await stopped.promise;
  clearInterval(watch);
  clearInterval(measuring);
  await server.drain();
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

async function askForPlan(inbox: Inbox): Promise<WorkerPlan> {
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
  inbox: Inbox,
  handle: (message: ToWorker, socket: Socket | undefined) => void,
): Promise<void> {
  for (;;) {
    const { value, done } = await inbox.next();
    if (done === true) return;
    handle(...value);
  }
}

async function report(
  id: number,
  metrics: Metrics,
  server: S3Server,
  node: LocalNode,
): Promise<void> {
  server.measure();
  await node.measure(metrics);
  tell({
    kind: "report",
    id,
    metrics: await metrics.registry.getMetricsAsJSON(),
    jobs: node.jobs(),
  });
}

function tell(message: ToSupervisor): void {
  // A supervisor that has just gone is no fault of ours: `disconnect` follows.
  if (process.connected) process.send?.(message, undefined, undefined, () => undefined);
}
