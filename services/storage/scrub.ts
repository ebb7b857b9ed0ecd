/** Reads everything that is kept, to find what rotted while the copies that can mend it are still good. */
import type { ShardId, ShardStore } from "#shards/shard-store.ts";
import { decodeEntry, shardKey, shardOfKey, shardRange } from "#storage/index-rows.ts";
import type { IndexView } from "#storage/index-store.ts";

export interface ScrubPage {
  /** Shards and bytes that were read. */
  readonly shards: number;
  readonly bytes: number;
  /** Shards of which some byte, or the seal, is wrong or unreadable. */
  readonly bad: readonly ShardId[];
  /** Where to go on; undefined when all is read. */
  readonly next: ShardId | undefined;
}

export async function scrubPage(
  store: Pick<ShardStore, "verify">,
  index: IndexView,
  request: { after?: ShardId; limit: number },
  signal: AbortSignal,
): Promise<ScrubPage> {
  const { from, to } = shardRange(undefined);
  const start =
    request.after === undefined ? from : Buffer.concat([shardKey(request.after), Buffer.of(0)]);
  const page = index
    .range(start, to, request.limit)
    .map(([key, value]) => ({ id: shardOfKey(key), value }))
    .map(({ id, value }) => ({ id, entry: decodeEntry(id, value) }));
  // In the order that they stand on the disk, which is faster where a disk has to seek.
  const inPlace = page.toSorted(
    (left, right) =>
      left.entry.seal.volume - right.entry.seal.volume ||
      left.entry.seal.offset - right.entry.seal.offset,
  );
  const bad: ShardId[] = [];
  let bytes = 0;
  for (const { id, entry } of inPlace) {
    signal.throwIfAborted();
    bytes += entry.length;
    // Read twice before it is condemned: the first fault may have been the wire's.
    if ((await store.verify(id, signal)) !== "bad") continue;
    if ((await store.verify(id, signal)) === "bad") bad.push(id);
  }
  const isLast = page.length < request.limit;
  return { shards: page.length, bytes, bad, next: isLast ? undefined : page.at(-1)?.id };
}
