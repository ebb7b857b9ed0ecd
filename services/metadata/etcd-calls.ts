/** Calls as promises, through the client that etcd3 generates; the paths of those in our own encoding. */
import type { CallOptions, ClientDuplexStream, Metadata, ServiceError } from "@grpc/grpc-js";
import type {
  IAlarmRequest,
  IAlarmResponse,
  ICompactionRequest,
  ICompactionResponse,
  ILeaseGrantRequest,
  ILeaseGrantResponse,
  ILeaseKeepAliveResponse,
  ILeaseRevokeRequest,
  ILeaseRevokeResponse,
  IWatchRequest,
  IWatchResponse,
} from "etcd3";
import { EtcdFailure } from "#metadata/etcd-failure.ts";
import type { Connection } from "#metadata/etcd-member.ts";

interface Requests {
  compact: [ICompactionRequest, ICompactionResponse];
  leaseGrant: [ILeaseGrantRequest, ILeaseGrantResponse];
  leaseRevoke: [ILeaseRevokeRequest, ILeaseRevokeResponse];
  alarm: [IAlarmRequest, IAlarmResponse];
}

type Callback<Reply> = (error: ServiceError | null, reply: Reply) => void;

/** Calls of the hot path. */
export const TXN_PATH = "/etcdserverpb.KV/Txn";
export const RANGE_PATH = "/etcdserverpb.KV/Range";

export function callGenerated<Method extends keyof Requests>(
  { client, metadata }: Connection,
  options: CallOptions,
  [method, request]: [Method, Requests[Method][0]],
): Promise<Requests[Method][1]> {
  const generated = client as unknown as Record<
    Method,
    (
      request: Requests[Method][0],
      metadata: Metadata,
      options: CallOptions,
      callback: Callback<Requests[Method][1]>,
    ) => void
  >;
  return new Promise((resolve, reject) => {
    generated[method](request, metadata, options, (error, reply) => {
      if (error) reject(error);
      else resolve(reply);
    });
  });
}

/** One beat on a stream of its own, so that each can go to another member. Answers the seconds left; 0 when the lease is gone. */
export function keepLease(
  { client, metadata }: Connection,
  options: CallOptions,
  lease: number,
): Promise<number> {
  const generated = client as unknown as {
    leaseKeepAlive(
      metadata: Metadata,
      options: CallOptions,
    ): ClientDuplexStream<{ ID: string }, ILeaseKeepAliveResponse>;
  };
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const stream = generated.leaseKeepAlive(metadata, options);
  stream.on("data", ({ TTL }: ILeaseKeepAliveResponse) => {
    resolve(Number(TTL));
    stream.cancel();
  });
  stream.on("error", reject);
  stream.on("end", () => reject(new EtcdFailure("unknown", "the stream ended without an answer")));
  stream.write({ ID: String(lease) });
  return promise;
}

export type WatchStream = ClientDuplexStream<
  { create_request: NonNullable<IWatchRequest["create_request"]> },
  IWatchResponse
>;

export function openWatch({ client, metadata }: Connection): WatchStream {
  return (client as unknown as { watch(metadata: Metadata): WatchStream }).watch(metadata);
}
