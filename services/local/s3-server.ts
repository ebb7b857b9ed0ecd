/** S3 on one address: the gateway behind an HTTP or HTTPS server, its requests counted and logged. */
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { Socket } from "node:net";
import type { UserTable } from "#access/users-file.ts";
import { type HttpServer, SERVER_OPTIONS } from "#gateway/connections.ts";
import type { Parts } from "#gateway/context.ts";
import { Gateway } from "#gateway/server.ts";
import { systemClock } from "#lib/clock.ts";
import { isForPeople, type Logger } from "#lib/log.ts";
import type { Metrics } from "#lib/metrics.ts";
import { systemRandom } from "#lib/random.ts";
import { accessLog } from "#local/access-log.ts";
import { parseAddress } from "#local/address.ts";
import { expiryOf } from "#local/certificate-expiry.ts";
import { listenFault } from "#local/operator-fault.ts";
import type { Certificate } from "#local/pem.ts";
import { RequestTally } from "#local/request-tally.ts";
import type { ObjectLayer } from "#objects/object-layer.ts";
import type { Settings } from "#settings.ts";

const TLS_OPTIONS = { minVersion: "TLSv1.2" } as const;

export interface S3ServerParts {
  readonly settings: Settings;
  readonly users: UserTable;
  /** Asked with each request, as another may take its place. */
  readonly objects: () => ObjectLayer;
  readonly certificate: Certificate | undefined;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly room?: Parts["room"];
}

export class S3Server {
  readonly #settings: Settings;
  readonly #metrics: Metrics;
  readonly #tally: RequestTally;
  readonly #gateway: Gateway;
  readonly #server: HttpServer;
  readonly #useCertificate: (certificate: Certificate) => void;
  #isReady = true;
  #utilization = performance.eventLoopUtilization();

  constructor({ settings, users, objects, certificate, metrics, log, room }: S3ServerParts) {
    this.#settings = settings;
    this.#metrics = metrics;
    this.#tally = new RequestTally(metrics);
    const logRequest = settings.accessLog
      ? accessLog(log, { isForPeople: isForPeople({ format: settings.logFormat }) })
      : undefined;
    const parts = {
      get objects() {
        return objects();
      },
      users,
      settings,
      clock: systemClock,
      random: systemRandom,
      room,
    };
    this.#gateway = new Gateway(parts, {
      log,
      isReady: () => this.#isReady,
      onRequest: (record) => {
        this.#tally.count(record);
        logRequest?.(record);
      },
    });
    const { server, useCertificate } = createHttpServer(certificate);
    this.#server = server;
    this.#useCertificate = useCertificate;
    this.#gateway.attach(server);
    if (certificate) this.#measureExpiry(certificate);
  }

  async listen(): Promise<void> {
    const { address } = this.#settings;
    const listening = Promise.withResolvers<void>();
    this.#server.once("error", listening.reject);
    this.#server.listen({ ...parseAddress(address), backlog: 1024 }, listening.resolve);
    try {
      await listening.promise;
    } catch (error) {
      throw listenFault(error as NodeJS.ErrnoException, { address, flag: "--address" });
    }
  }

  /** Instead of listening: connections are accepted elsewhere and handed over. */
  takeHandedOver(): void {
    // As a server does that listens: only then it looks after heads that do not come.
    this.#server.emit("listening");
    // What starting took is nothing that connections will take.
    this.#utilization = performance.eventLoopUtilization();
  }

  /** A connection that another process accepted, as if this one had. */
  take(socket: Socket): void {
    socket.allowHalfOpen = true;
    this.#server.emit("connection", socket);
    socket.resume();
  }

  /** Closes so many connections with their next answers. */
  shed(connections: number): void {
    this.#gateway.shed(connections);
  }

  /** Since it was asked last: the share of the time in which the event loop did not wait. */
  load(): { busy: number; connections: number } {
    const now = performance.eventLoopUtilization();
    const { utilization: busy } = performance.eventLoopUtilization(now, this.#utilization);
    this.#utilization = now;
    return { busy, connections: this.#gateway.connections };
  }

  /** Shown to connections from now on. */
  useCertificate(certificate: Certificate): void {
    this.#useCertificate(certificate);
    this.#measureExpiry(certificate);
  }

  /** Says that it is not ready any more, and goes on serving. */
  announceEnd(): void {
    this.#isReady = false;
  }

  async drain(): Promise<void> {
    this.#isReady = false;
    await this.#gateway.drain(AbortSignal.timeout(this.#settings.drain));
  }

  /** Brings the metrics up to date. */
  measure(): void {
    this.#tally.handOver();
    this.#metrics.inFlight.set(this.#gateway.inFlight);
  }

  #measureExpiry(certificate: Certificate): void {
    this.#metrics.certificateExpires.set({ certificate: "s3" }, expiryOf(certificate).atMs / 1000);
  }
}

function createHttpServer(certificate: Certificate | undefined): {
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
