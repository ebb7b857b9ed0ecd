/** A far node: its disks as ShardStores, and its control. */
import { X509Certificate } from "node:crypto";
import type { ClientOptions } from "@grpc/grpc-js";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { Renewable } from "#lib/renewable.ts";
import { type ClusterTls, channelCredentials } from "#shards/cluster-tls.ts";
import { FarControl } from "#shards/control.ts";
import { FarShardStore } from "#shards/far-store.ts";
import { WINDOW_BYTES } from "#shards/http2-windows.ts";
import { type ConnectionState, Lane } from "#shards/lane.ts";
import type { NodeControl } from "#shards/node-control.ts";
import { helloTo } from "#shards/peer.ts";
import { RareLog } from "#shards/rare-log.ts";
import { describe, roleNamesOf } from "#shards/role-names.ts";
import { MESSAGE_BYTES_MAX } from "#shards/service.ts";
import type { ShardStore } from "#shards/shard-store.ts";

export interface NodeConnectionOptions {
  /** `host:port`. */
  readonly address: string;
  readonly nodeId: string;
  readonly clusterId: string;
  readonly tls?: Renewable<ClusterTls>;
  /** For the node's log, where there are no certificates that say it. */
  readonly caller?: string;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface NodeConnection extends AsyncDisposable {
  readonly nodeId: string;
  readonly address: string;
  readonly state: ConnectionState;
  readonly control: NodeControl;
  /** The same one each time for a disk. Whether the node has the disk shows when it is used. Its end ends nothing of the connection. */
  store(diskId: string): ShardStore;
}

/** More than this goes over connections of its own, so that no small request waits behind a block. */
const SMALL_BYTES = 64 * 1024;
/** Connections for what is large: more gain nothing on one machine, and hold a window of memory each. */
const BULK_LANES = 2;
/** A node that answers no ping is gone, or is no better than one: known within the time in which a client must have an answer. */
const PING_MS = 2000;
const PING_ANSWER_MS = 2500;

/** Connects when it is first used, and again, with growing pauses, when the connection is lost. */
export function connectNode(options: NodeConnectionOptions): NodeConnection {
  return new GrpcNodeConnection(options);
}

class GrpcNodeConnection implements NodeConnection {
  readonly nodeId: string;
  readonly address: string;
  readonly control: FarControl;
  readonly #small: Lane;
  readonly #bulk: readonly Lane[];
  readonly #stores = new Map<string, ShardStore>();
  readonly #rare: RareLog;
  #turn = 0;

  constructor(options: NodeConnectionOptions) {
    const { address, nodeId, clusterId, tls, clock } = options;
    this.nodeId = nodeId;
    this.address = address;
    const log = options.log.child({ node: nodeId, address });
    this.#rare = new RareLog(log, clock);
    const caller = tls ? describe(roleNamesOf(new X509Certificate(tls.current.certificate))) : "";
    const parts = {
      address,
      nodeId,
      credentials: channelCredentials(tls, nodeId),
      options: CHANNEL,
      hello: helloTo({ clusterId, nodeId }, options.caller ?? caller),
      clock,
    };
    this.control = new FarControl(address, parts);
    this.#small = new Lane({
      ...parts,
      onState: (state) => {
        if (state.kind === "up") log.info("node reached");
        else this.#rare.warn("down", { reason: state.reason }, "node cannot be reached");
      },
    });
    this.#bulk = Array.from({ length: BULK_LANES }, () => {
      return new Lane({ ...parts, onState: () => undefined });
    });
  }

  get state(): ConnectionState {
    return this.#small.state;
  }

  store(diskId: string): ShardStore {
    const known = this.#stores.get(diskId);
    if (known) return known;
    const store = new FarShardStore({
      diskId,
      nodeId: this.nodeId,
      stream: (bytes) => this.#laneFor(bytes).stream,
      onWrongAnswer: (what) =>
        this.#rare.warn("wrong", { disk: diskId, what }, "node gave a wrong answer"),
    });
    this.#stores.set(diskId, store);
    return store;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#small, ...this.#bulk].map((lane) => lane[Symbol.asyncDispose]()));
    this.control.close();
  }

  #laneFor(bytes: number): Lane {
    if (bytes <= SMALL_BYTES) return this.#small;
    this.#turn = (this.#turn + 1) % this.#bulk.length;
    return this.#bulk[this.#turn] ?? this.#small;
  }
}

const CHANNEL: ClientOptions = {
  "grpc.max_receive_message_length": MESSAGE_BYTES_MAX,
  "grpc.max_send_message_length": MESSAGE_BYTES_MAX,
  "grpc-node.flow_control_window": WINDOW_BYTES,
  "grpc.keepalive_time_ms": PING_MS,
  "grpc.keepalive_timeout_ms": PING_ANSWER_MS,
  // Each connection is its own, and tried again by us: blocks must not be kept for a second try.
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_retries": 0,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 2000,
  // A node that comes back may have another address.
  "grpc.dns_min_time_between_resolutions_ms": 1000,
  "grpc.service_config_disable_resolution": 1,
  "grpc.enable_http_proxy": 0,
  "grpc.enable_channelz": 0,
  // Certificates name nodes, not hosts; see cluster-tls.ts.
  "grpc.ssl_target_name_override": "anybucket",
};
