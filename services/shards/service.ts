/** The Exchange stream of proto/shard.proto as grpc-js takes it: messages go in and out as bytes, which are read elsewhere. */
import { serialized } from "#shards/message.ts";
import { BLOCK_BYTES_MAX } from "#shards/shard-store.ts";

/** A block, and beside it a head: a seal of a megabyte, the checksums, the names. */
export const MESSAGE_BYTES_MAX = BLOCK_BYTES_MAX + 2 * 1024 * 1024;

const asIs = (message: Buffer) => message;

export const SHARDS_SERVICE = {
  exchange: {
    path: "/anybucket.shards.Shards/Exchange",
    requestStream: true,
    responseStream: true,
    requestSerialize: serialized,
    requestDeserialize: asIs,
    responseSerialize: serialized,
    responseDeserialize: asIs,
  },
} as const;
