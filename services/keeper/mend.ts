/** Brings one write's shards to where the map says they belong: rebuilds what is missing or bad, takes away surplus. */

import type { Codec } from "#codec/codec.ts";
import type { ListedWrite } from "#keeper/listed-writes.ts";
import type { Pace } from "#keeper/pace.ts";
import { BadSource, rebuildShards, type WantedShard } from "#keeper/rebuild.ts";
import { type About, decodeAbout } from "#objects/about.ts";
import type { WriteName } from "#objects/references.ts";
import type { StorageClasses } from "#objects/storage-classes.ts";
import type { CurrentMap } from "#placement/current-map.ts";
import type { ShardId, ShardInfo, ShardStore } from "#shards/shard-store.ts";

export interface MendParts {
  readonly stores: ReadonlyMap<string, ShardStore>;
  readonly map: CurrentMap;
  readonly classes: StorageClasses;
  readonly clusterId: string;
  readonly references: { isReferenced(write: WriteName, signal: AbortSignal): Promise<boolean> };
  readonly pace: Pace;
  /** Takes away a bad copy, before the good one is sealed. */
  readonly remove: (store: ShardStore, ids: readonly ShardId[]) => Promise<void>;
  /** Told of a shard that turned out bad while others were made from it. */
  readonly onBadSource: (id: ShardId, diskId: string) => void;
}

/** A shard that is listed and known to be bad. */
export interface BadCopy {
  readonly index: number;
  readonly diskId: string;
}

/** Indexes whose member of the group is here and lacks the shard. */
export function absentFrom(
  { stores, map }: Pick<MendParts, "stores" | "map">,
  write: ListedWrite,
): readonly number[] {
  const { members } = map.group(write.group);
  const shards = write.shards[0]?.info.siblings.length ?? 0;
  const absent: number[] = [];
  for (let index = 0; index < shards; index++) {
    const diskId = members[index];
    if (diskId === undefined || !stores.has(diskId)) continue;
    const isThere = write.shards.some(
      (one) => one.info.id.index === index && one.diskId === diskId,
    );
    if (!isThere) absent.push(index);
  }
  return absent;
}

/**
 * Answers the bytes written; undefined when nothing names the write, which then is left to garbage collection.
 * Throws when it cannot be done now: too few good shards, or a disk that does not take them.
 */
export async function mendWrite(
  parts: MendParts,
  { write, bad, signal }: { write: ListedWrite; bad: readonly BadCopy[]; signal: AbortSignal },
): Promise<number | undefined> {
  const isBad = (index: number, diskId: string) =>
    bad.some((copy) => copy.index === index && copy.diskId === diskId);
  const good = write.shards.filter(({ diskId, info }) => {
    return info.digest === info.siblings[info.id.index] && !isBad(info.id.index, diskId);
  });
  const info = good[0]?.info ?? write.shards[0]?.info;
  if (!info) return 0;
  const about = decodeAbout(info.about);
  if (!(await isNamed(parts, { about, writeId: write.writeId, signal }))) return undefined;
  const { members } = parts.map.group(write.group);
  const wanted: WantedShard[] = [];
  for (const index of info.siblings.keys()) {
    const store = parts.stores.get(members[index] ?? "");
    if (!store) continue;
    const isGood = good.some((one) => one.info.id.index === index && one.diskId === store.diskId);
    if (isGood) continue;
    const isReplacement = write.shards.some((one) => {
      return one.info.id.index === index && one.diskId === store.diskId;
    });
    wanted.push({ index, store, isReplacement });
  }
  if (wanted.length === 0) return 0;
  const sources = new Map<number, ShardStore>();
  for (const {
    diskId,
    info: { id },
  } of good) {
    const store = parts.stores.get(diskId);
    if (store && !sources.has(id.index)) sources.set(id.index, store);
  }
  const codec = parts.classes.ofExtent(about);
  return rebuildFrom(parts, { codec, info, sources, wanted, signal });
}

/** Copies on disks that are no members any more, of shards that their members have: all that are here, once it is mended. */
export function surplusOf(
  { map, stores }: Pick<MendParts, "map" | "stores">,
  write: ListedWrite,
  { isMended }: { isMended: boolean },
): readonly { diskId: string; id: ShardId }[] {
  const { members } = map.group(write.group);
  return write.shards.flatMap(({ diskId, info: { id } }) => {
    const member = members[id.index];
    if (member === undefined || member === diskId) return [];
    const isListed = write.shards.some((one) => {
      return one.info.id.index === id.index && one.diskId === member;
    });
    return isListed || (isMended && stores.has(member)) ? [{ diskId, id }] : [];
  });
}

async function isNamed(
  { references, clusterId }: MendParts,
  { about, writeId, signal }: { about: About; writeId: Uint8Array; signal: AbortSignal },
): Promise<boolean> {
  if (about.clusterId !== clusterId) {
    throw new Error(`it is of cluster ${about.clusterId}, not of ${clusterId}`);
  }
  const { bucketId, key, uploadId, partNumber } = about.owner;
  return references.isReferenced({ bucketId, key, uploadId, partNumber, writeId }, signal);
}

/** A source that turns out bad is left out, and the others are tried. */
async function rebuildFrom(
  { pace, onBadSource, remove }: MendParts,
  request: {
    codec: Codec;
    info: ShardInfo;
    sources: Map<number, ShardStore>;
    wanted: readonly WantedShard[];
    signal: AbortSignal;
  },
): Promise<number> {
  const { codec, sources } = request;
  for (;;) {
    const missing = request.wanted.filter(({ index }) => !sources.has(index));
    if (missing.length > 0 && sources.size < codec.k) {
      throw new Error(`${sources.size} good shards are left, ${codec.k} are needed`);
    }
    try {
      return await rebuildShards({ ...request, pace, remove });
    } catch (error) {
      if (!(error instanceof BadSource)) throw error;
      const { group, writeId } = request.info.id;
      const diskId = sources.get(error.index)?.diskId ?? "";
      onBadSource({ group, writeId, index: error.index }, diskId);
      sources.delete(error.index);
    }
  }
}
