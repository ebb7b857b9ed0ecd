/** Looks at one shard that was noted as bad, and replaces it when it is. */
import type { ListedShard } from "#keeper/listed-writes.ts";
import { type BadCopy, type MendParts, mendWrite } from "#keeper/mend.ts";
import type { Entry } from "#metadata/metadata-store.ts";
import { decodeSuspicion, suspectOf } from "#objects/suspicions.ts";
import type { CurrentMap } from "#placement/current-map.ts";
import { placesOf, WIDTH_MAX } from "#placement/placement-map.ts";
import type { ShardStore } from "#shards/shard-store.ts";

/** Whether there is anything to look at now: a disk that is away and keeps its place is waited for. */
export function canLookAt(
  { stores, map }: { readonly stores: ReadonlyMap<string, ShardStore>; readonly map: CurrentMap },
  entry: Entry,
): boolean {
  const { group, index } = suspectOf(entry.key);
  const diskId = decodeSuspicion(entry.value);
  if (stores.has(diskId) || group >= map.groupCount) return true;
  return !placesOf(map.group(group), index).includes(diskId);
}

/**
 * Answers the bytes written; undefined when there was nothing to do: it reads well by now, or nothing names it any more.
 * Throws when it cannot be replaced.
 */
export async function mendSuspect(
  parts: MendParts,
  { entry, signal }: { entry: Entry; signal: AbortSignal },
): Promise<number | undefined> {
  const suspect = suspectOf(entry.key);
  const diskId = decodeSuspicion(entry.value);
  const store = parts.stores.get(diskId);
  if (!store) {
    if (canLookAt(parts, entry)) return undefined;
    throw new Error(`Cannot look at a shard of disk ${diskId}: the disk is away`);
  }
  const verdict = await store.verify(suspect, signal);
  if (verdict === "good") return undefined;
  const { group, writeId } = suspect;
  const shards: ListedShard[] = [];
  const faults: unknown[] = [];
  for (const [id, one] of parts.stores) {
    for (let index = 0; index < WIDTH_MAX; index++) {
      try {
        const info = await one.stat({ group, writeId, index }, signal);
        if (info) shards.push({ diskId: id, info });
      } catch (error) {
        // A shard whose seal is bad, or on a disk that does not answer, is no source; others may suffice.
        signal.throwIfAborted();
        faults.push(error);
      }
    }
  }
  if (shards.length === 0 && faults.length > 0) throw faults[0];
  const bad: BadCopy[] = verdict === "bad" ? [{ index: suspect.index, diskId }] : [];
  return mendWrite(parts, { write: { group, writeId, shards }, bad, signal });
}
