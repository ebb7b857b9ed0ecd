/** Bytes of one shard, from whichever disk has it: its member of the group, or an earlier one while the group moves. */
import { Unavailable } from "#lib/unavailable.ts";
import { type PlacementGroup, placesOf } from "#placement/placement-map.ts";
import { ShardCorrupt, type ShardId, ShardMissing, type ShardStore } from "#shards/shard-store.ts";

/** Why a shard gave no bytes. "missing": every disk that may have it says that it has not. */
export type ReadFault = "missing" | "corrupt" | "away";

export class ShardFault extends Error {
  override readonly name = "ShardFault";
  readonly fault: ReadFault;
  readonly diskId: string | undefined;

  constructor(fault: ReadFault, diskId: string | undefined, cause: unknown) {
    super(`Cannot read shard: ${fault} on disk ${diskId ?? "none"}`, { cause });
    this.fault = fault;
    this.diskId = diskId;
  }
}

export interface ShardRange {
  readonly id: ShardId;
  readonly offset: number;
  readonly length: number;
}

/** Throws ShardFault, or the signal's reason. */
export async function readShard(
  stores: ReadonlyMap<string, ShardStore>,
  group: PlacementGroup,
  {
    range: { id, offset, length },
    signal,
    into,
  }: { range: ShardRange; signal: AbortSignal; into?: Uint8Array | undefined },
): Promise<Uint8Array> {
  let found: ShardFault | undefined;
  for (const diskId of placesOf(group, id.index)) {
    try {
      const store = stores.get(diskId);
      if (!store) throw new Unavailable(`Disk ${diskId} is away`);
      return await store.read(id, { offset, length }, into ? { signal, into } : { signal });
    } catch (error) {
      signal.throwIfAborted();
      const fault = new ShardFault(faultOf(error), diskId, error);
      // What one disk lacks another may have; only when all lack it is it missing.
      if (!found || found.fault === "missing") found = fault;
    }
  }
  throw found ?? new ShardFault("away", undefined, undefined);
}

export function faultOf(error: unknown): ReadFault {
  if (error instanceof ShardMissing) return "missing";
  return error instanceof ShardCorrupt ? "corrupt" : "away";
}
