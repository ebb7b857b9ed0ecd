/** Errors of the ShardStore contract as they cross the wire: the same class comes out as went in. */
import type { FaultKind, Reply } from "#shards/answer-wire.ts";
import { OutOfTurn } from "#shards/half-written.ts";
import {
  ShardConflict,
  ShardCorrupt,
  ShardFenced,
  ShardMissing,
  ShardStoreFull,
  ShardStoreUnavailable,
} from "#shards/shard-store.ts";

/** The caller's role may not ask for this. */
export class Denied extends Error {
  override readonly name = "Denied";
}

/** Subclasses before what they extend. */
const KINDS: readonly (readonly [FaultKind, new (message: string) => Error])[] = [
  ["full", ShardStoreFull],
  ["unavailable", ShardStoreUnavailable],
  ["corrupt", ShardCorrupt],
  ["conflict", ShardConflict],
  ["missing", ShardMissing],
  ["range", RangeError],
  ["denied", Denied],
  ["out-of-turn", OutOfTurn],
];

/** Longer ones carry a stack or a dump, which are for the node's own log. */
const MESSAGE_MAX = 500;

export function faultOf(error: unknown): Reply {
  const [fault] = KINDS.find(([, Kind]) => error instanceof Kind) ?? ["unknown"];
  const text = error instanceof Error ? error.message : String(error);
  const message = text.slice(0, MESSAGE_MAX);
  if (error instanceof ShardFenced) {
    return { kind: "fault", fault: "fenced", message, term: error.seen };
  }
  return { kind: "fault", fault, message };
}

/** What the contract has no word for means that the store cannot be used: never that a shard is absent. */
export function errorOf(reply: Extract<Reply, { kind: "fault" }>, nodeId: string): Error {
  const message = `${reply.message} (node ${nodeId})`;
  switch (reply.fault) {
    case "full":
      return new ShardStoreFull(message);
    case "corrupt":
      return new ShardCorrupt(message);
    case "conflict":
      return new ShardConflict(message);
    case "missing":
      return new ShardMissing(message);
    case "range":
      return new RangeError(message);
    case "unavailable":
      return new ShardStoreUnavailable(message);
    case "fenced":
      return new ShardFenced(reply.term ?? 0, message);
    case "unknown":
    case "denied":
    case "out-of-turn":
      return new ShardStoreUnavailable(`Cannot use the disk: ${message}`);
  }
}
