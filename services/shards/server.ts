/** Any set of ShardStores, served over gRPC to those whom the cluster's certificates let. */
import { promisify } from "node:util";
import {
  Metadata,
  Server,
  type ServerDuplexStream,
  type ServerUnaryCall,
  status,
} from "@grpc/grpc-js";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { Renewable } from "#lib/renewable.ts";
import { ByteBudget } from "#shards/byte-budget.ts";
import { type ClusterTls, requireNodeCertificate, serverCredentials } from "#shards/cluster-tls.ts";
import { controlHandlers, NODE_SERVICE } from "#shards/control.ts";
import { Exchange } from "#shards/exchange.ts";
import { cut, widenConnection, widenStreams } from "#shards/http2-windows.ts";
import type { NodeControl } from "#shards/node-control.ts";
import { admit, type IncomingCall, type Peer, type Refusal } from "#shards/peer.ts";
import { RareLog } from "#shards/rare-log.ts";
import { ScrubCounts } from "#shards/scrub-counts.ts";
import { MESSAGE_BYTES_MAX, SHARDS_SERVICE } from "#shards/service.ts";
import type { ShardStore } from "#shards/shard-store.ts";

export interface ShardServerOptions {
  /** By disk id; disks may come and go. */
  readonly stores: ReadonlyMap<string, ShardStore>;
  readonly identity: { readonly clusterId: string; readonly nodeId: string };
  /** `host:port`; port 0: any that is free. */
  readonly address: string;
  /** Without it everybody who knows the cluster's id is served: for clusters on one machine. */
  readonly tls?: Renewable<ClusterTls>;
  readonly control: NodeControl;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface ShardServer extends AsyncDisposable {
  readonly port: number;
  /** Streams that are open, and bytes that they hold in memory. */
  readonly load: { readonly streams: number; readonly bytes: number };
}

/** Payloads and answers of all streams together. Each stream may have one more request beyond, so that all go on. */
const SERVER_BYTES_MAX = 128 * 1024 * 1024;
/** Calls of one connection: an exchange, and now and then a question of the control plane. */
const CALLS_MAX = 16;
const TEND_MS = 1000;
/** A stopping node answers what it has been asked before. */
const DRAIN_MS = 5000;
const DRAIN_TICK_MS = 20;
/** A peer that is cut off is told why, if it listens. */
const FAREWELL_MS = 500;
/** Pings tell a peer that is gone from one that is silent. */
const KEEPALIVE_MS = 10_000;

type ExchangeCall = ServerDuplexStream<Buffer, Buffer>;

export async function serveShards(options: ShardServerOptions): Promise<ShardServer> {
  const { identity, tls } = options;
  if (tls) requireNodeCertificate(tls.current, identity.nodeId);
  const service = new ShardService(options);
  const server = new Server({
    "grpc.max_receive_message_length": MESSAGE_BYTES_MAX,
    "grpc.max_send_message_length": MESSAGE_BYTES_MAX,
    "grpc.max_concurrent_streams": CALLS_MAX,
    "grpc.keepalive_time_ms": KEEPALIVE_MS,
    "grpc.keepalive_timeout_ms": KEEPALIVE_MS,
    "grpc.enable_channelz": 0,
  });
  widenStreams(server);
  service.register(server);
  const bind = promisify(server.bindAsync.bind(server));
  const port = await bind(options.address, serverCredentials(tls));
  service.start();
  return {
    port,
    get load() {
      return service.load;
    },
    [Symbol.asyncDispose]: async () => {
      await service.stop();
      server.forceShutdown();
    },
  };
}

class ShardService {
  readonly #options: ShardServerOptions;
  readonly #log: RareLog;
  readonly #scrubs: ScrubCounts;
  readonly #budget = new ByteBudget(SERVER_BYTES_MAX);
  readonly #exchanges = new Map<Exchange, ExchangeCall>();
  readonly #closing = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  #tending: Promise<void> | undefined;

  constructor(options: ShardServerOptions) {
    this.#options = options;
    this.#log = new RareLog(options.log, options.clock);
    this.#scrubs = new ScrubCounts(options.clock);
  }

  get load(): { streams: number; bytes: number } {
    return { streams: this.#exchanges.size, bytes: this.#budget.used };
  }

  register(server: Server): void {
    server.addService(SHARDS_SERVICE, {
      exchange: (call: ExchangeCall) => this.#open(call),
    });
    const { control } = this.#options;
    const peerOf = (call: IncomingCall) => this.#admit(call);
    const handlers = controlHandlers({ control, scrubs: this.#scrubs, admit: peerOf });
    server.addService(NODE_SERVICE, { ...handlers });
  }

  start(): void {
    this.#tending = this.#tend();
  }

  /** Answers what is under way, takes nothing new, and forgets what is half written. */
  async stop(): Promise<void> {
    const { clock } = this.#options;
    this.#stop.abort();
    await this.#tending;
    for (const call of this.#exchanges.values()) call.pause();
    const untilMs = clock.monotonic() + DRAIN_MS;
    while (clock.monotonic() < untilMs && [...this.#exchanges.keys()].some((one) => !one.isQuiet)) {
      await clock.sleep(DRAIN_TICK_MS);
    }
    const refusal = { code: status.UNAVAILABLE, details: "The node is stopping" };
    for (const [exchange, call] of this.#exchanges) this.#end(exchange, call, refusal);
    await Promise.all(this.#closing);
  }

  #open(call: ExchangeCall): void {
    call.on("error", () => undefined);
    const peer = this.#admit(call);
    if ("code" in peer || this.#stop.signal.aborted) {
      const stopping = { code: status.UNAVAILABLE, details: "The node is stopping" };
      refuse(call, "code" in peer ? peer : stopping);
      return;
    }
    widenConnection(call);
    const { stores, identity, clock } = this.#options;
    const exchange: Exchange = new Exchange(
      {
        stores,
        scrubs: this.#scrubs,
        nodeId: identity.nodeId,
        clock,
        log: this.#log,
        peer,
        budget: this.#budget,
        end: (refusal) => this.#end(exchange, call, refusal),
      },
      call as never,
    );
    this.#exchanges.set(exchange, call);
    call.on("data", (message: Buffer) => exchange.receive(message));
    const gone = () => this.#close(exchange, new Error("The caller is gone"));
    call.on("end", () => {
      gone();
      call.end();
    });
    call.on("cancelled", gone);
    // Tells the caller that it is listened to.
    call.sendMetadata(new Metadata());
  }

  #end(exchange: Exchange, call: ExchangeCall, refusal: Refusal): void {
    this.#close(exchange, new Error(refusal.details));
    refuse(call, refusal);
    // Behind what the peer does not read no status gets through.
    void this.#options.clock.sleep(FAREWELL_MS).then(() => cut(call));
  }

  #close(exchange: Exchange, reason: Error): void {
    if (!this.#exchanges.delete(exchange)) return;
    const closing = exchange.close(reason).finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }

  #admit(call: IncomingCall): Peer | Refusal {
    const { identity, tls } = this.#options;
    const admission = admit(call, { ...identity, certified: tls?.current.cluster });
    if ("peer" in admission) return admission.peer;
    const { refusal, why, who, said } = admission;
    this.#log.warn(`refused ${why}`, { who, said, why }, "caller refused");
    return refusal;
  }

  async #tend(): Promise<void> {
    const { clock } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await clock.sleep(TEND_MS, signal).catch(() => undefined);
      await Promise.allSettled([...this.#exchanges.keys()].map((exchange) => exchange.tend()));
    }
  }
}

/** Ends a call with a status, behind the answers that are on their way. */
function refuse(call: ExchangeCall | ServerUnaryCall<unknown, unknown>, refusal: Refusal): void {
  call.emit("error", refusal);
}
