/** One member of an etcd cluster: its connection, by etcd3, and whether it has lately failed. */
import { type Client, connectivityState, type Metadata, type ServiceError } from "@grpc/grpc-js";
import { EtcdAuthenticationFailedError, type IOptions, type Services } from "etcd3";
import { ConnectionPool } from "etcd3/lib/connection-pool.js";
import type { Clock } from "#lib/clock.ts";
import type { Renewable } from "#lib/renewable.ts";
import { EtcdFailure, failureOf, needsNewToken } from "#metadata/etcd-failure.ts";
import { type UnaryCall, UnaryConnection } from "#metadata/etcd-unary.ts";

/** PEM. */
export interface EtcdTls {
  readonly ca: Buffer;
  readonly certificate?: Buffer;
  readonly key?: Buffer;
}

export interface EtcdAccess {
  /** Connections made from now on have what there is then. */
  readonly tls?: Renewable<EtcdTls>;
  readonly user?: { readonly name: string; readonly password: string };
}

/** A member's client for one service, ready to send. */
export interface Connection {
  readonly client: Client;
  readonly metadata: Metadata;
}

/** For calls whose requests and answers are bytes, ready to send. */
export type CallRaw = (call: Omit<UnaryCall, "headers">) => Promise<Buffer>;

export type ServiceName = keyof typeof Services;

/** The largest answer of one read: 128 values of 1 MiB with their keys. Larger pages are read in pieces. */
const ANSWER_BYTES_MAX = 132 * 1024 * 1024;
/** A page of records in one go; HTTP/2's own 64 KiB takes a round trip for each. */
const WINDOW_BYTES = 1024 * 1024;
/** How long a member that failed is asked last. */
const SUSPECT_MS = 3_000;
/** A new token is not asked for more often. */
const TOKEN_MS = 1_000;
const RECONNECT_MS_MAX = 1_000;
const WHY_NOT_MS = 100;
/** A silent peer is noticed; etcd refuses pings more often than every 5 s. */
const PING_MS = 10_000;
const PING_ANSWER_MS = 3_000;

type Policy = NonNullable<NonNullable<IOptions["faultHandling"]>["global"]>;

/** Runs a call once. etcd3 would try again up to three times by itself, transactions included. */
const ONCE = {
  execute: (call: (context: { signal: AbortSignal }) => unknown) =>
    Promise.resolve(call({ signal: NEVER })),
  onSuccess: () => ({ dispose: () => undefined }),
  onFailure: () => ({ dispose: () => undefined }),
} as unknown as Policy;
const NEVER = new AbortController().signal;

export class Member {
  readonly endpoint: string;
  readonly #access: EtcdAccess;
  readonly #clock: Clock;
  readonly #unary: UnaryConnection;
  #pool: ConnectionPool;
  /** The pool before the last renewal: no more than one is kept. */
  #left: ConnectionPool | undefined;
  /** What the pool's connections show and believe. */
  #shown: EtcdTls | undefined;
  #suspectUntil = 0;
  #tokenRenewed = Number.NEGATIVE_INFINITY;

  constructor(endpoint: string, access: EtcdAccess, clock: Clock) {
    this.endpoint = endpoint;
    this.#access = access;
    this.#clock = clock;
    this.#pool = this.#open();
    this.#unary = new UnaryConnection({
      endpoint,
      ...(access.tls && { tls: access.tls }),
      windowBytes: WINDOW_BYTES,
      answerBytesMax: ANSWER_BYTES_MAX,
    });
  }

  get isSuspect(): boolean {
    return this.#clock.monotonic() < this.#suspectUntil;
  }

  /** Resolves when a request can be sent at once; whatever fails here was not sent. */
  async connect(service: ServiceName, waitMs: number): Promise<Connection> {
    const deadline = Date.now() + waitMs;
    const { client, metadata } = await this.#authenticated(service);
    // A member without a leader then says so at once, instead of waiting for one.
    metadata.set("hasleader", "true");
    await this.#becomeReady(client, deadline);
    return { client, metadata };
  }

  /** As `connect`, for calls of the hot path. */
  async connectRaw(waitMs: number): Promise<CallRaw> {
    const deadline = Date.now() + waitMs;
    const headers = this.#access.user === undefined ? undefined : await this.#token();
    try {
      if (!this.#unary.isReady) await this.#unary.ready(Math.max(1, deadline - Date.now()));
    } catch (error) {
      this.suspect();
      throw error;
    }
    return (call) => this.#unary.call(headers === undefined ? call : { ...call, headers });
  }

  /** What an error of a call says, and what follows for this member. */
  learnFrom(error: unknown): EtcdFailure {
    if (error instanceof EtcdFailure) return error;
    const service = error as Partial<ServiceError>;
    if (needsNewToken(service)) {
      this.#renewToken();
      return new EtcdFailure("unsent", found(error), { cause: error });
    }
    const failure = failureOf(service);
    if (failure.kind === "unsent" || failure.kind === "unknown") this.suspect();
    return failure;
  }

  suspect(): void {
    this.#suspectUntil = this.#clock.monotonic() + SUSPECT_MS;
  }

  close(): void {
    this.#pool.close();
    this.#left?.close();
    this.#unary.close();
  }

  async #token(): Promise<Readonly<Record<string, string>>> {
    const { metadata } = await this.#authenticated("KV");
    const entries = Object.entries(metadata.getMap());
    return Object.fromEntries(entries.map(([name, value]) => [name, value.toString()]));
  }

  async #authenticated(service: ServiceName): Promise<Connection> {
    if (this.#access.tls?.current !== this.#shown) this.#showRenewed();
    try {
      return await this.#pool.withConnection(service, (parts) => parts);
    } catch (error) {
      this.suspect();
      // No other member will take a wrong password, and no waiting mends it.
      const kind = error instanceof EtcdAuthenticationFailedError ? "refused" : "unsent";
      throw new EtcdFailure(kind, `${this.endpoint}: ${found(error)}`, { cause: error });
    }
  }

  /** The token cannot be taken from etcd3's authenticator, so all of it begins anew; once for all calls that had the old one. */
  #renewToken(): void {
    const now = this.#clock.monotonic();
    if (now < this.#tokenRenewed + TOKEN_MS) return;
    this.#tokenRenewed = now;
    this.#pool.close();
    this.#pool = this.#open();
  }

  /** A pool cannot be given another certificate. The one before is left to the streams on it, which closing it would cut. */
  #showRenewed(): void {
    this.#left?.close();
    this.#left = this.#pool;
    this.#pool = this.#open();
  }

  async #becomeReady(client: Client, deadline: number): Promise<void> {
    const channel = client.getChannel();
    let isTried = false;
    for (;;) {
      const state = channel.getConnectivityState(true);
      if (state === connectivityState.READY) return;
      if (state === connectivityState.SHUTDOWN) {
        throw new EtcdFailure("unsent", `${this.endpoint}: its connections are being made anew`);
      }
      if (state === connectivityState.TRANSIENT_FAILURE && isTried) break;
      if (state === connectivityState.CONNECTING) isTried = true;
      const { promise, resolve } = Promise.withResolvers<boolean>();
      channel.watchConnectivityState(state, deadline, (error) => resolve(error === undefined));
      if (!(await promise)) break;
    }
    this.suspect();
    const reason = await whyNot(client);
    throw new EtcdFailure("unsent", `${this.endpoint} cannot be reached: ${reason}`);
  }

  #open(): ConnectionPool {
    const { user } = this.#access;
    const tls = this.#access.tls?.current;
    this.#shown = tls;
    const options: IOptions = {
      hosts: [this.endpoint],
      faultHandling: { host: () => ONCE, global: ONCE },
      grpcOptions: {
        "grpc.enable_retries": 0,
        "grpc.enable_http_proxy": 0,
        "grpc.max_receive_message_length": ANSWER_BYTES_MAX,
        "grpc-node.flow_control_window": WINDOW_BYTES,
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": RECONNECT_MS_MAX,
        "grpc.keepalive_time_ms": PING_MS,
        "grpc.keepalive_timeout_ms": PING_ANSWER_MS,
      },
    };
    if (tls !== undefined) {
      options.credentials = {
        rootCertificate: tls.ca,
        ...(tls.key && { privateKey: tls.key }),
        ...(tls.certificate && { certChain: tls.certificate }),
      };
    }
    if (user !== undefined) {
      const callOptions = () => ({ deadline: Date.now() + SUSPECT_MS });
      options.auth = { username: user.name, password: user.password, callOptions };
    }
    return new ConnectionPool(options);
  }
}

/** The channel does not tell why it fails, but a call on it does: one that changes nothing. */
function whyNot(client: Client): Promise<string> {
  const path = "/etcdserverpb.Maintenance/Status";
  return new Promise((resolve) => {
    const options = { deadline: Date.now() + WHY_NOT_MS };
    client.makeUnaryRequest(path, nothing, nothing, undefined, options, (error) => {
      resolve(error?.details ?? "it can by now");
    });
  });
}

function nothing(): Buffer {
  return Buffer.alloc(0);
}

function found(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
