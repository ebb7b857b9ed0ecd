/** Looks at one shard that was noted as bad, and replaces it when it is. */
import type { ListedShard } from "#keeper/listed-writes.ts";
import { type BadCopy, type MendParts, mendWrite } from "#keeper/mend.ts";
import type { Entry } from "#metadata/metadata-store.ts";
import { decodeSuspicion, suspectOf } from "#objects/suspicions.ts";
import { WIDTH_MAX } from "#placement/placement-map.ts";

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
  if (!store) return undefined;
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
