/**
 * The supervising process of one machine: prepares the folders once, starts a gateway process a core, starts again the ones
 * that end, answers health and metrics, and stops all of them in good order. It serves no S3 itself.
 */
import cluster, { type Worker } from "node:cluster";
import { once } from "node:events";
import type { Server } from "node:http";
import type { Logger } from "#lib/log.ts";
import { parseAddress } from "#local/address.ts";
import { createAdminServer } from "#local/admin-server.ts";
import { Doorman } from "#local/doorman.ts";
import type { ToSupervisor, ToWorker, WorkerPlan } from "#local/messages.ts";
import { EXIT_FAULT, listenFault, OperatorFault } from "#local/operator-fault.ts";
import type { Spread } from "#local/spread.ts";

export interface SupervisorOptions {
  /** A worker's plan by its number; called again for each start. */
  readonly plan: (worker: string) => WorkerPlan;
  readonly workers: number;
  /** Unique to this start, so that no worker's name is used twice. */
  readonly bootId: string;
  readonly address: string;
  readonly spread: Spread;
  readonly adminAddress: string;
  readonly drainMs: number;
  readonly notes: () => Promise<readonly string[]>;
  /** Called when a worker has been reaped: its session can never commit again. */
  readonly endSession: (session: string) => Promise<void>;
  readonly log: Logger;
}

/** A worker that ends this soon after its start is started again more slowly each time. */
const HEALTHY_MS = 10_000;
const RESTART_DELAY_MAX_MS = 10_000;
const REPORT_TIMEOUT_MS = 2000;
/** There is a process a core: V8's helpers, four a process, would mostly wait for each other (5 to 10 % of the CPU time). */
const WORKER_FLAGS = ["--v8-pool-size=1"];
/** What a worker gets beyond the drain time to close its files. */
const CLOSE_MS = 5000;

interface Member {
  readonly name: string;
  readonly process: Worker;
  readonly startedAt: number;
  session: string | undefined;
  /** It has been told what to do: all that came before was in that. */
  hasPlan: boolean;
  isReady: boolean;
}

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #members = new Map<number, Member>();
  readonly #doorman: Doorman;
  readonly #reports = new Map<
    number,
    (report: Extract<ToSupervisor, { kind: "report" }>) => void
  >();
  /** Of the start, until it is over. */
  readonly #failed = Promise.withResolvers<never>();
  #elected: number | undefined;
  #admin: Server | undefined;
  #started = 0;
  #reportId = 0;
  #restartDelay = 0;
  #hasStarted = false;
  #isStopping = false;
  /** Every worker that has ended since the start, and how many of them the elected one has been told of. */
  readonly #ended: string[] = [];
  #endedTold = 0;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#doorman = new Doorman(options);
    this.#failed.promise.catch(() => undefined);
  }

  /** Resolves when every worker listens; rejects, with none left, when one cannot. */
  async start(): Promise<void> {
    await this.#listenAdmin();
    await this.#listen();
    cluster.setupPrimary({ execArgv: [...process.execArgv, ...WORKER_FLAGS] });
    cluster.on("exit", (process, code, signal) => void this.#onExit(process, code, signal));
    const ready = Array.from({ length: this.#options.workers }, () => this.#startWorker());
    try {
      await Promise.race([Promise.all(ready), this.#failed.promise]);
    } catch (error) {
      await this.#end();
      throw error;
    }
    this.#hasStarted = true;
    this.#elect();
  }

  /** Tells every worker to finish what it has begun; those that do not are killed after the drain time. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#doorman.close();
    for (const { hasPlan, process } of this.#members.values()) if (!hasPlan) kill(process);
    this.tell({ kind: "drain" });
    const timer = setTimeout(() => {
      this.#options.log.warn("Drain time is over: ending the requests still under way");
      for (const { process } of this.#members.values()) kill(process);
    }, this.#options.drainMs + CLOSE_MS);
    await this.#allGone();
    clearTimeout(timer);
    this.#closeAdmin();
  }

  tell(message: ToWorker): void {
    for (const { hasPlan, process } of this.#members.values()) if (hasPlan) send(process, message);
  }

  async #end(): Promise<void> {
    this.#isStopping = true;
    this.#doorman.close();
    for (const { process } of this.#members.values()) kill(process);
    await this.#allGone();
    this.#closeAdmin();
  }

  async #allGone(): Promise<void> {
    const members = [...this.#members.values()];
    await Promise.all(members.map(({ process }) => once(process, "exit")));
  }

  #closeAdmin(): void {
    this.#admin?.close();
    this.#admin?.closeAllConnections();
  }

  #startWorker(): Promise<void> {
    const process = cluster.fork();
    const name = `${this.#options.bootId}-${++this.#started}`;
    const member: Member = {
      name,
      process,
      startedAt: Date.now(),
      session: undefined,
      hasPlan: false,
      isReady: false,
    };
    this.#members.set(process.id, member);
    const ready = Promise.withResolvers<void>();
    process.on("message", (message: ToSupervisor) => {
      switch (message.kind) {
        case "hello":
          member.hasPlan = true;
          send(process, { kind: "plan", plan: this.#options.plan(name) });
          break;
        case "session":
          member.session = message.session;
          break;
        case "ready":
          member.isReady = true;
          this.#doorman.open(process);
          ready.resolve();
          break;
        case "taken":
          this.#doorman.taken(process);
          break;
        case "load":
          this.#doorman.report(process, message);
          break;
        case "report":
          this.#reports.get(message.id)?.(message);
          break;
        case "fault":
          this.#onFault(member, message);
          break;
      }
    });
    return ready.promise;
  }

  /** Nothing was begun, so it can be killed; after the start another one is tried, and more slowly each time. */
  #onFault(member: Member, { message, exitCode }: Extract<ToSupervisor, { kind: "fault" }>): void {
    this.#failed.reject(new OperatorFault(message, exitCode));
    if (this.#hasStarted) {
      this.#options.log.error(
        { worker: member.name, reason: message },
        "A gateway process cannot serve",
      );
    }
    kill(member.process);
  }

  async #onExit(process: Worker, code: number | null, signal: string | null): Promise<void> {
    const member = this.#members.get(process.id);
    this.#members.delete(process.id);
    this.#doorman.shut(process);
    if (member === undefined) return;
    // The process has been reaped, so none of its transactions can land any more.
    if (member.session !== undefined) await this.#options.endSession(member.session);
    if (this.#isStopping) return;
    this.#options.log.error(
      { worker: member.name, code, signal },
      "A gateway process has ended: starting another",
    );
    if (!this.#hasStarted) {
      const message = `A gateway process ended with ${signal ?? code} before it was ready`;
      this.#failed.reject(new OperatorFault(message, EXIT_FAULT));
      return;
    }
    this.#ended.push(member.name);
    if (this.#elected === process.id) this.#elected = undefined;
    this.#elect();
    const wasHealthy = Date.now() - member.startedAt > HEALTHY_MS;
    this.#restartDelay = wasHealthy
      ? 0
      : Math.min(RESTART_DELAY_MAX_MS, this.#restartDelay * 2 + 100);
    setTimeout(
      () => {
        if (this.#isStopping) return;
        void this.#startWorker().then(() => this.#elect());
      },
      wasHealthy ? 0 : this.#restartDelay,
    );
  }

  /** One worker does the background work, and closes the volumes of those that have ended. */
  #elect(): void {
    if (this.#elected === undefined) {
      const chosen = [...this.#members.values()].find(({ isReady }) => isReady);
      if (chosen === undefined) return;
      this.#elected = chosen.process.id;
      this.#endedTold = 0;
      send(chosen.process, { kind: "elected" });
    }
    const elected = this.#members.get(this.#elected);
    if (elected === undefined) return;
    while (this.#endedTold < this.#ended.length) {
      const worker = this.#ended[this.#endedTold++] ?? "";
      send(elected.process, { kind: "worker-ended", worker });
    }
  }

  /** Before there is a process to serve: who comes early waits, and an address that cannot be had is known at once. */
  async #listen(): Promise<void> {
    try {
      await this.#doorman.listen();
    } catch (error) {
      this.#closeAdmin();
      throw error;
    }
  }

  async #listenAdmin(): Promise<void> {
    const { adminAddress: address } = this.#options;
    const server = createAdminServer({
      processes: () => ({
        ready: this.#isStopping
          ? 0
          : [...this.#members.values()].filter(({ isReady }) => isReady).length,
        wanted: this.#options.workers,
      }),
      notes: this.#options.notes,
      reports: () => this.#collectReports(),
    });
    try {
      server.listen(parseAddress(address));
      await once(server, "listening");
    } catch (error) {
      throw listenFault(error as NodeJS.ErrnoException, { address, flag: "--admin-address" });
    }
    this.#admin = server;
  }

  async #collectReports(): Promise<readonly { metrics: object; jobs: readonly unknown[] }[]> {
    const ready = [...this.#members.values()].filter(({ isReady }) => isReady);
    const reports = await Promise.all(ready.map((member) => this.#report(member)));
    return reports.filter((report) => report !== undefined);
  }

  async #report(
    member: Member,
  ): Promise<{ metrics: object; jobs: readonly unknown[] } | undefined> {
    const id = ++this.#reportId;
    const answer = Promise.withResolvers<
      { metrics: object; jobs: readonly unknown[] } | undefined
    >();
    this.#reports.set(id, answer.resolve);
    const timer = setTimeout(() => answer.resolve(undefined), REPORT_TIMEOUT_MS);
    send(member.process, { kind: "report", id });
    const report = await answer.promise;
    clearTimeout(timer);
    this.#reports.delete(id);
    return report;
  }
}

/** A worker that has just ended is told nothing; its exit is handled on its own. */
function send(process: Worker, message: ToWorker): void {
  if (process.isConnected()) process.send(message);
}

function kill(process: Worker): void {
  process.process.kill("SIGKILL");
}
