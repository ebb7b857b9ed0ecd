/** Any set of ShardStores, served over gRPC. */
import { promisify } from "node:util";
import { deserialize, serialize } from "node:v8";
import { Server, ServerCredentials, type ServiceDefinition } from "@grpc/grpc-js";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { ClusterTls } from "#shards/cluster-tls.ts";
import type { NodeControl } from "#shards/node-control.ts";
import type { ShardStore } from "#shards/shard-store.ts";

export interface ShardServerOptions {
  /** By disk id; disks may come and go. */
  readonly stores: ReadonlyMap<string, ShardStore>;
  readonly identity: { readonly clusterId: string; readonly nodeId: string };
  /** `host:port`; port 0: any that is free. */
  readonly address: string;
  /** Without it everybody who knows the cluster's id is served: for clusters on one machine. */
  readonly tls?: ClusterTls;
  readonly control: NodeControl;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface ShardServer extends AsyncDisposable {
  readonly port: number;
}

/** PROVISIONAL: replaced by proto/shard.proto. */
export const PROVISIONAL: ServiceDefinition = {
  call: {
    path: "/anybucket.Provisional/Call",
    requestStream: false,
    responseStream: false,
    requestSerialize: (value: unknown) => serialize(value),
    requestDeserialize: (bytes: Buffer) => deserialize(bytes) as unknown,
    responseSerialize: (value: unknown) => serialize(value),
    responseDeserialize: (bytes: Buffer) => deserialize(bytes) as unknown,
  },
};

export async function serveShards(options: ShardServerOptions): Promise<ShardServer> {
  const server = new Server({
    "grpc.max_receive_message_length": -1,
    "grpc.max_send_message_length": -1,
  });
  server.addService(PROVISIONAL, {
    // biome-ignore lint/suspicious/noExplicitAny: provisional
    call: async (call: any, callback: any) => {
      const { diskId, method, args } = call.request;
      const { signal } = new AbortController();
      try {
        if (diskId === undefined) {
          const control = options.control as never as Record<
            string,
            (...args: unknown[]) => unknown
          >;
          callback(null, { value: await control[method]?.(...args, signal) });
          return;
        }
        const store = options.stores.get(diskId);
        if (!store) throw new Error(`No disk ${diskId}`);
        const value = await run(store, method, args, signal);
        callback(null, { value });
      } catch (error) {
        const { name, message } = error as Error;
        callback(null, { error: { name, message, type: (error as Error).constructor.name } });
      }
    },
  });
  const bind = promisify(server.bindAsync.bind(server));
  const port = await bind(options.address, ServerCredentials.createInsecure());
  return {
    port,
    [Symbol.asyncDispose]: async () => server.forceShutdown(),
  };
}

// biome-ignore lint/suspicious/noExplicitAny: provisional
async function run(store: ShardStore, method: string, args: any[], signal: AbortSignal) {
  switch (method) {
    case "writeAll": {
      const [id, blocks, seal, forRepair] = args;
      const writer = store.write(id, { signal, forRepair });
      for (const block of blocks) await writer.append(block);
      return writer.seal(seal);
    }
    case "put":
      return store.put(args[0], args[1], { signal, forRepair: args[2] });
    case "read":
      return store.read(args[0], args[1], { signal });
    case "stat":
      return store.stat(args[0], signal);
    case "verify":
      return store.verify(args[0], signal);
    case "link":
      return store.link(args[0], args[1], signal);
    case "remove":
      return store.remove(args[0], signal);
    case "list":
      return store.list(args[0], signal);
    case "health":
      return store.health();
    default:
      throw new Error(method);
  }
}
