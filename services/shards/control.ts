/** Both ends of proto/node.proto. */

import type { ChannelCredentials } from "@grpc/grpc-js";
import {
  Client,
  type ClientOptions,
  type Metadata,
  type ServerUnaryCall,
  type ServiceError,
  type StatusObject,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import {
  type Draining,
  decodeDraining,
  decodeNothing,
  decodeStatus,
  encodeDraining,
  encodeNothing,
  encodeStatus,
  NOTHING,
  type Nothing,
} from "#shards/control-wire.ts";
import { Denied } from "#shards/faults.ts";
import type { NodeControl, NodeStatus } from "#shards/node-control.ts";
import type { IncomingCall, Peer, Refusal } from "#shards/peer.ts";
import { type Method, mayCall } from "#shards/roles.ts";
import type { ScrubCounts } from "#shards/scrub-counts.ts";
import { ShardStoreUnavailable } from "#shards/shard-store.ts";

/** A node that is well answers at once. */
const DEADLINE_MS = 5000;

const unary = { requestStream: false, responseStream: false } as const;

export const NODE_SERVICE = {
  status: {
    path: "/anybucket.node.Node/Status",
    ...unary,
    requestSerialize: encodeNothing,
    requestDeserialize: decodeNothing,
    responseSerialize: encodeStatus,
    responseDeserialize: decodeStatus,
  },
  setDraining: {
    path: "/anybucket.node.Node/SetDraining",
    ...unary,
    requestSerialize: encodeDraining,
    requestDeserialize: decodeDraining,
    responseSerialize: encodeNothing,
    responseDeserialize: decodeNothing,
  },
} as const;

export interface ControlParts {
  readonly control: NodeControl;
  readonly scrubs: ScrubCounts;
  /** Who calls; logs those that it refuses. */
  readonly admit: (call: IncomingCall) => Peer | Refusal;
}

type Call<Q, A> = (call: ServerUnaryCall<Q, A>, answer: sendUnaryData<A>) => void;

/** The node's end. */
export function controlHandlers({ control, scrubs, admit }: ControlParts) {
  const handler =
    <Q, A>(method: Method, run: (question: Q, signal: AbortSignal) => Promise<A>): Call<Q, A> =>
    (call, answer) => {
      const peer = admit(call);
      if ("code" in peer) return answer(peer);
      if (!mayCall(peer.roles, method)) {
        const details = `${peer.name} may not ask for ${method}`;
        return answer({ code: status.PERMISSION_DENIED, details });
      }
      const stop = new AbortController();
      call.on("cancelled", () => stop.abort(new Error("The caller does not wait any more")));
      run(call.request, stop.signal).then(
        (value) => answer(null, value),
        (error: Error) => answer({ code: status.UNAVAILABLE, details: error.message }),
      );
    };
  return {
    status: handler<Nothing, NodeStatus>("status", async (_, signal) => {
      const said = await control.status(signal);
      const disks = said.disks.map((disk) => ({ ...disk, scrub: scrubs.of(disk.diskId) }));
      return { ...said, disks };
    }),
    setDraining: handler<Draining, Nothing>("drain", async ({ isDraining }, signal) => {
      await control.setDraining(isDraining, signal);
      return NOTHING;
    }),
  };
}

/** The caller's end. */
export class FarControl implements NodeControl {
  readonly #client: Client;
  readonly #hello: Metadata;

  constructor(
    address: string,
    {
      credentials,
      options,
      hello,
    }: {
      credentials: ChannelCredentials;
      options: ClientOptions;
      hello: Metadata;
    },
  ) {
    this.#client = new Client(address, credentials, options);
    this.#hello = hello;
  }

  status(signal: AbortSignal): Promise<NodeStatus> {
    return this.#call(NODE_SERVICE.status, NOTHING, signal);
  }

  async setDraining(isDraining: boolean, signal: AbortSignal): Promise<void> {
    await this.#call(NODE_SERVICE.setDraining, { isDraining }, signal);
  }

  close(): void {
    this.#client.close();
  }

  async #call<Q, A>(
    {
      path,
      requestSerialize,
      responseDeserialize,
    }: {
      path: string;
      requestSerialize: (question: Q) => Buffer;
      responseDeserialize: (message: Buffer) => A;
    },
    question: Q,
    signal: AbortSignal,
  ): Promise<A> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<A>();
    const answered = (error: ServiceError | null, answer?: A) => {
      if (error) reject(errorOf(error));
      else resolve(answer as A);
    };
    const call = this.#client.makeUnaryRequest<Q, A>(
      path,
      requestSerialize,
      responseDeserialize,
      question,
      this.#hello,
      { deadline: Date.now() + DEADLINE_MS },
      answered,
    );
    const onAbort = () => {
      reject(signal.reason as Error);
      call.cancel();
    };
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }
}

function errorOf(error: Pick<StatusObject, "code" | "details">): Error {
  const { code, details } = error;
  if (code === status.PERMISSION_DENIED) return new Denied(details);
  return new ShardStoreUnavailable(`The node does not answer: ${details}`, { cause: error });
}
