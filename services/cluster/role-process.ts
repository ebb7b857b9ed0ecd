/** What the processes of all roles have in common: a log, an admin server that tells how far they are, an end in good order. */
import { once } from "node:events";
import { createLog, type Logger } from "#lib/log.ts";
import { createMetrics, type Metrics } from "#lib/metrics.ts";
import { parseAddress } from "#local/address.ts";
import { type AdminSource, createAdminServer } from "#local/admin-server.ts";
import { listenFault } from "#local/operator-fault.ts";
import { nextStopSignal } from "#local/stop-signal.ts";
import type { Settings } from "#settings.ts";

export class RoleProcess implements AsyncDisposable {
  readonly settings: Settings;
  readonly version: string;
  readonly log: Logger & { flush(): void };
  readonly metrics: Metrics = createMetrics({ processMetrics: true });
  /** What is opened stays so until the process ends. */
  readonly closing = new AsyncDisposableStack();
  /** Ends once the process has been asked to stop. */
  readonly signal: AbortSignal;
  readonly stopped: Promise<string>;
  isReady = false;
  /** What keeps it from being ready; or what else the operator should know, a line each. */
  readonly notes = new Map<string, string>();
  jobs: () => readonly unknown[] = () => [];
  /** Called before metrics are read. */
  readonly measures: (() => Promise<void> | void)[] = [];
  /** Called on SIGHUP: what reads the operator's files again. */
  readonly reloads: (() => Promise<unknown>)[] = [];
  api: NonNullable<AdminSource["api"]> = () => undefined;

  private constructor(settings: Settings, version: string) {
    this.settings = settings;
    this.version = version;
    this.log = createLog({ level: settings.logLevel, format: settings.logFormat });
    const stop = new AbortController();
    this.signal = stop.signal;
    this.stopped = nextStopSignal().then((signal) => {
      stop.abort(new Error(`The process was asked to stop (${signal})`));
      return signal;
    });
    globalThis.process.on("SIGHUP", () => {
      for (const reload of this.reloads) void reload();
    });
  }

  /** Its admin server answers from now on. */
  static async open(settings: Settings, version: string): Promise<RoleProcess> {
    const process = new RoleProcess(settings, version);
    await process.#listenAdmin();
    return process;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.closing.disposeAsync();
    this.log.flush();
  }

  async #listenAdmin(): Promise<void> {
    const { adminAddress: address } = this.settings;
    const server = createAdminServer({
      processes: () => ({ ready: this.isReady && !this.signal.aborted ? 1 : 0, wanted: 1 }),
      notes: () => Promise.resolve([...this.notes.values()]),
      reports: async () => {
        for (const measure of this.measures) await measure();
        const metrics = await this.metrics.registry.getMetricsAsJSON();
        return [{ metrics, jobs: this.jobs() }];
      },
      api: (request) => this.api(request),
    });
    try {
      server.listen(parseAddress(address));
      await once(server, "listening");
    } catch (error) {
      throw listenFault(error as NodeJS.ErrnoException, { address, flag: "--admin-address" });
    }
    this.closing.defer(() => {
      server.close();
      server.closeAllConnections();
    });
  }
}
