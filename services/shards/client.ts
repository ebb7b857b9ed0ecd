/** A far node: its disks as ShardStores, and its control. */
import { Client, credentials } from "@grpc/grpc-js";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { ClusterTls } from "#shards/cluster-tls.ts";
import type { NodeControl } from "#shards/node-control.ts";
import { PROVISIONAL } from "#shards/server.ts";
import {
  type Block,
  ShardConflict,
  ShardCorrupt,
  ShardMissing,
  type ShardStore,
  ShardStoreFull,
  ShardStoreUnavailable,
} from "#shards/shard-store.ts";

export interface NodeConnectionOptions {
  /** `host:port`. */
  readonly address: string;
  readonly nodeId: string;
  readonly clusterId: string;
  readonly tls?: ClusterTls;
  readonly clock: Clock;
  readonly log: Logger;
}

/** "idle": nothing was asked yet. */
export interface ConnectionState {
  readonly kind: "idle" | "up" | "down";
  /** By the clock's `now`. */
  readonly sinceMs: number;
  /** Why it is down. */
  readonly reason?: string;
}

export interface NodeConnection extends AsyncDisposable {
  readonly nodeId: string;
  readonly address: string;
  readonly state: ConnectionState;
  readonly control: NodeControl;
  /** The same one each time for a disk. Whether the node has the disk shows when it is used. Its end ends nothing of the connection. */
  store(diskId: string): ShardStore;
}

/** Connects when it is first used, and again, with growing pauses, when the connection is lost. */
export function connectNode(options: NodeConnectionOptions): NodeConnection {
  const client = new Client(options.address, credentials.createInsecure(), {
    "grpc.max_receive_message_length": -1,
    "grpc.max_send_message_length": -1,
  });
  const call = (
    diskId: string | undefined,
    method: string,
    args: unknown[],
    signal?: AbortSignal,
  ) => {
    signal?.throwIfAborted();
    // biome-ignore lint/suspicious/noExplicitAny: provisional
    return new Promise<any>((resolve, reject) => {
      const { path, requestSerialize, responseDeserialize } = PROVISIONAL["call"] as never as {
        path: string;
        requestSerialize: (value: unknown) => Buffer;
        responseDeserialize: (bytes: Buffer) => {
          value: unknown;
          error?: { type: string; message: string };
        };
      };
      const deadline = Date.now() + 30_000;
      client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        { diskId, method, args },
        { deadline },
        (error, answer) => {
          if (error) reject(new ShardStoreUnavailable(error.message, { cause: error }));
          else if (answer?.error) reject(errorOf(answer.error));
          else resolve(answer?.value);
        },
      );
    });
  };
  const stores = new Map<string, ShardStore>();
  return {
    nodeId: options.nodeId,
    address: options.address,
    state: { kind: "idle", sinceMs: options.clock.now() },
    control: {
      status: (signal) => call(undefined, "status", [], signal),
      setDraining: (isDraining, signal) => call(undefined, "setDraining", [isDraining], signal),
    },
    store: (diskId) => {
      const known = stores.get(diskId) ?? provisionalStore(diskId, call);
      stores.set(diskId, known);
      return known;
    },
    [Symbol.asyncDispose]: async () => client.close(),
  };
}

function errorOf({ type, message }: { type: string; message: string }): Error {
  const kinds = {
    ShardConflict,
    ShardCorrupt,
    ShardMissing,
    ShardStoreFull,
    ShardStoreUnavailable,
    RangeError,
  };
  const Kind = kinds[type as keyof typeof kinds] ?? ShardStoreUnavailable;
  return new Kind(message);
}

function provisionalStore(
  diskId: string,
  // biome-ignore lint/suspicious/noExplicitAny: provisional
  call: (diskId: string, method: string, args: unknown[], signal?: AbortSignal) => Promise<any>,
): ShardStore {
  const owned = (block: Block | undefined) =>
    block && {
      ...block,
      pieces: [Buffer.concat(block.pieces)],
      checksums: block.checksums.slice(),
    };
  return {
    diskId,
    write: (id, { signal, forRepair }) => {
      const blocks: unknown[] = [];
      let state = "open";
      return {
        append: async (block) => {
          blocks.push(owned(block));
        },
        seal: async (seal) => {
          if (state !== "open") throw new Error(`The shard is ${state}`);
          state = "sealed";
          await call(diskId, "writeAll", [id, blocks, seal, forRepair], signal);
        },
        abort: async () => {
          if (state === "open") state = "aborted";
        },
      };
    },
    put: (id, { block, seal }, { signal, forRepair }) =>
      call(diskId, "put", [id, { block: owned(block), seal }, forRepair], signal),
    read: async (id, range, { signal, into }) => {
      const bytes = Buffer.from(await call(diskId, "read", [id, range], signal));
      if (!into) return bytes;
      into.set(bytes);
      return into.subarray(0, range.length);
    },
    stat: (id, signal) => call(diskId, "stat", [id], signal),
    verify: (id, signal) => call(diskId, "verify", [id], signal),
    link: (ids, seal, signal) => call(diskId, "link", [ids, seal], signal),
    remove: (ids, signal) => call(diskId, "remove", [ids], signal),
    list: (request, signal) => call(diskId, "list", [request], signal),
    health: () => call(diskId, "health", []),
    [Symbol.asyncDispose]: async () => undefined,
  };
}
