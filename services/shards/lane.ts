/** One connection to a node, with the stream on it: made when first needed, made again when lost, until it is closed. */
import {
  type ChannelCredentials,
  Client,
  type ClientDuplexStream,
  type ClientOptions,
  type Metadata,
  type StatusObject,
} from "@grpc/grpc-js";
import type { Clock } from "#lib/clock.ts";
import { LaneStream } from "#shards/lane-stream.ts";
import { SHARDS_SERVICE } from "#shards/service.ts";
import { ShardStoreUnavailable } from "#shards/shard-store.ts";
import { Malformed } from "#shards/wire.ts";

/** A node that is there accepts a connection at once. */
const CONNECT_MS = 2000;
const BACKOFF_MS_MIN = 50;
const BACKOFF_MS_MAX = 2000;

/** "idle": nothing was asked yet. */
export interface ConnectionState {
  readonly kind: "idle" | "up" | "down";
  /** By the clock's `now`. */
  readonly sinceMs: number;
  /** Why it is down. */
  readonly reason?: string;
}

export interface LaneParts {
  readonly address: string;
  readonly nodeId: string;
  readonly credentials: ChannelCredentials;
  readonly options: ClientOptions;
  readonly hello: Metadata;
  readonly clock: Clock;
  readonly onState: (state: ConnectionState) => void;
}

type Call = ClientDuplexStream<never, Buffer>;

export class Lane implements AsyncDisposable {
  readonly #parts: LaneParts;
  readonly #stop = new AbortController();
  #state: ConnectionState;
  #stream: LaneStream | undefined;
  #call: Call | undefined;
  #keeping: Promise<void> | undefined;

  constructor(parts: LaneParts) {
    this.#parts = parts;
    this.#state = { kind: "idle", sinceMs: parts.clock.now() };
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** What to ask on, while it lasts. Throws ShardStoreUnavailable while the node cannot be reached. */
  get stream(): LaneStream {
    const { signal } = this.#stop;
    if (!this.#keeping && !signal.aborted) this.#keeping = this.#keep(signal);
    if (this.#stream) return this.#stream;
    throw new ShardStoreUnavailable(
      `Node ${this.#parts.nodeId} cannot be reached: ${this.#state.reason ?? "the connection is closed"}`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error("The connection is closed"));
    this.#call?.cancel();
    await this.#keeping;
  }

  async #keep(signal: AbortSignal): Promise<void> {
    const { clock } = this.#parts;
    let backoffMs = BACKOFF_MS_MIN;
    while (!signal.aborted) {
      const { reason, wasUp } = await this.#connect(signal);
      if (signal.aborted) break;
      backoffMs = wasUp ? BACKOFF_MS_MIN : Math.min(2 * backoffMs, BACKOFF_MS_MAX);
      this.#become({ kind: "down", reason });
      await clock.sleep(backoffMs, signal).catch(() => undefined);
    }
    this.#become({ kind: "down", reason: "the connection is closed" });
  }

  /** One connection from its beginning to its end. Up to the first wait it is synchronous: then there is a stream. */
  async #connect(signal: AbortSignal): Promise<{ reason: string; wasUp: boolean }> {
    const { address, credentials, options, hello, clock, nodeId } = this.#parts;
    const client = new Client(address, credentials, options);
    const ended = Promise.withResolvers<string>();
    const { path, requestSerialize, responseDeserialize } = SHARDS_SERVICE.exchange;
    const call: Call = client.makeBidiStreamRequest(
      path,
      requestSerialize as never,
      responseDeserialize,
      hello,
    );
    let fault: string | undefined;
    const cut = (why: string) => {
      fault ??= why;
      ended.resolve(fault);
      call.cancel();
    };
    const stream = new LaneStream({ stream: call as never, nodeId, clock, onBroken: cut });
    this.#stream = stream;
    this.#call = call;
    const connecting = new AbortController();
    let wasUp = false;
    call.on("metadata", () => {
      wasUp = true;
      connecting.abort();
      this.#become({ kind: "up" });
    });
    call.on("data", (message: Buffer) => {
      try {
        stream.receive(message);
      } catch (error) {
        if (!(error instanceof Malformed)) throw error;
        cut(error.message);
      }
    });
    call.on("error", () => undefined);
    call.on("status", ({ details }: StatusObject) => ended.resolve(fault ?? details));
    clock.sleep(CONNECT_MS, AbortSignal.any([connecting.signal, signal])).then(
      () => cut(`no connection within ${CONNECT_MS} ms`),
      () => undefined,
    );
    const reason = await ended.promise;
    connecting.abort();
    this.#stream = undefined;
    this.#call = undefined;
    stream.end(new ShardStoreUnavailable(`Node ${nodeId} cannot be reached: ${reason}`));
    client.close();
    return { reason, wasUp };
  }

  #become(state: { kind: "up" | "down"; reason?: string }): void {
    const { kind, reason } = this.#state;
    // A node that stays down is down since it first was.
    const sinceMs = kind === state.kind ? this.#state.sinceMs : this.#parts.clock.now();
    this.#state = { ...state, sinceMs };
    if (kind !== state.kind || reason !== state.reason) this.#parts.onState(this.#state);
  }
}
