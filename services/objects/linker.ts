/**
 * Second names for the same bytes on the same disks: what CopyObject and UploadPartCopy need, and no byte moves.
 * The new write's id is drawn in the group of the source, so shard i of both lies on the same disk.
 */
import { encodeAbout } from "#objects/about.ts";
import type { ExtentOwner, WrittenExtents } from "#objects/data-plane.ts";
import type { Extent } from "#objects/model.ts";
import { writeQuorum } from "#objects/quorum.ts";
import { type ShardPlace, type WritePlan } from "#objects/write-plan.ts";
import type { WriterParts } from "#objects/writer.ts";
import { type DoneWrite, Written } from "#objects/written.ts";
import { writeIdIn } from "#placement/placement-group.ts";
import type { ShardId, ShardInfo, ShardSeal } from "#shards/shard-store.ts";

export interface LinkRequest {
  readonly extents: readonly Extent[];
  readonly owner: ExtentOwner;
  readonly storageClass: string;
  readonly signal: AbortSignal;
}

/** undefined: the class asks for another codec, or fewer than W disks could do it; then the bytes have to be copied. */
export async function linkExtents(
  parts: WriterParts,
  request: LinkRequest,
): Promise<WrittenExtents | undefined> {
  const { extents, storageClass } = request;
  const agree = extents.every((extent) => {
    return parts.classes.forSize(storageClass, extent.size).name === extent.codec;
  });
  if (!agree) return undefined;
  const sequence = parts.sequences.begin();
  const done: DoneWrite[] = [];
  try {
    for (const extent of extents) {
      const linked = await linkOne(parts, request, { extent, sequence });
      if (!linked) {
        parts.sequences.settle(sequence);
        await Promise.all(done.map(({ plan }) => parts.undo.remove(plan.places)));
        return undefined;
      }
      done.push(linked);
    }
    return new Written(parts, { sequence, writes: done });
  } catch (error) {
    parts.sequences.settle(sequence);
    await Promise.all(done.map(({ plan }) => parts.undo.remove(plan.places)));
    throw error;
  }
}

async function linkOne(
  parts: WriterParts,
  { owner, signal }: LinkRequest,
  { extent, sequence }: { extent: Extent; sequence: number },
): Promise<DoneWrite | undefined> {
  const codec = parts.classes.ofExtent(extent);
  const needed = writeQuorum(codec);
  const plan = planBeside(parts, extent, codec.k + codec.m);
  const present = plan.places.filter(({ store }) => store !== undefined);
  const source = await anyShard(present, { extent, signal });
  if (!source) return undefined;
  const { name, unit } = codec;
  const about = encodeAbout({
    clusterId: parts.clusterId,
    owner,
    codec: name,
    unit,
    size: extent.size,
    described: new Uint8Array(0),
  });
  const { siblings } = source;
  const seal: ShardSeal = { session: parts.session.id, sequence, siblings, about };
  const tries = present.map(async ({ id, store }) => {
    await store?.link({ source: sourceOf(extent, id.index), target: id }, seal, signal);
  });
  const waited = await parts.waits.wait(tries, needed);
  if (waited.done < needed) {
    await parts.undo.remove(present);
    parts.undo.removeLater(present, Promise.allSettled(tries));
    signal.throwIfAborted();
    return undefined;
  }
  const sealed = present.filter((_, place) => waited.outcomes[place] === "done");
  const indexes = new Set(sealed.map(({ index }) => index));
  return { plan, sealed: indexes, codec: name, unit, size: extent.size };
}

function planBeside(parts: WriterParts, { group }: Extent, shards: number): WritePlan {
  const { map, random, stores } = parts;
  const writeId = writeIdIn(group, { groupCount: map.groupCount, random });
  const { members } = map.group(group);
  const places = Array.from({ length: shards }, (_, index): ShardPlace => {
    const diskId = members[index];
    const store = diskId === undefined ? undefined : stores.get(diskId);
    return { index, id: { group, writeId, index }, diskId, store };
  });
  return { group, writeId, fence: map.expectation(group), places };
}

/** What one of the source's shards says of all. */
async function anyShard(
  places: readonly ShardPlace[],
  { extent, signal }: { extent: Extent; signal: AbortSignal },
): Promise<ShardInfo | undefined> {
  for (const { index, store } of places) {
    try {
      const info = await store?.stat(sourceOf(extent, index), signal);
      if (info) return info;
    } catch {
      // Another disk may answer; if none does, the bytes are copied.
      signal.throwIfAborted();
    }
  }
  return undefined;
}

function sourceOf({ group, writeId }: Extent, index: number): ShardId {
  return { group, writeId, index };
}
