/**
 * Makes the first placement map and every later one.
 *
 * The order makes it safe to stop anywhere: first the dirty marks of the places that change hands, then the map, then
 * the marks once more, as repair may have cleared them by the map before, then the fences of the groups that moved. Until a group's fence is raised writes planned by the old map may still be
 * committed; their shards lie on earlier members, which readers still ask. Repair raises fences that are behind
 * before it lists a group, so what it then finds is all there will be (DESIGN §5).
 */
import type { Expectation, MetadataStore, Put } from "#metadata/metadata-store.ts";
import { assign } from "#placement/assign.ts";
import type { PlacedDisk, PlacementGroup, PlacementMap } from "#placement/placement-map.ts";
import {
  DIRTY_MARK,
  decodeFence,
  decodeMap,
  dirtyKey,
  encodeFence,
  encodeMap,
  fenceKey,
  MAP_KEY,
} from "#placement/placement-record.ts";

/** Keys of one commit, well below what any driver allows together with what it compares. */
const KEYS_A_COMMIT = 40;

export interface MapRequest {
  readonly clusterId: string;
  /** All disks that the cluster shall have. One of the map before that is not among them counts as gone. */
  readonly disks: readonly PlacedDisk[];
  readonly width: number;
  /** Of the first map; later ones keep its number. */
  readonly groupCount: number;
  /** What the request was made from: no map comes of it once that has changed. */
  readonly expect?: readonly Expectation[];
}

/** The request was made from what is no longer so. */
export class RequestOutdated extends Error {
  override readonly name = "RequestOutdated";
}

/** Answers the map in force. Asking for what is already so changes nothing. */
export async function changeMap(
  metadata: MetadataStore,
  request: MapRequest,
  signal?: AbortSignal,
): Promise<PlacementMap> {
  for (;;) {
    const stored = await metadata.get(MAP_KEY, signal);
    const old = stored && decodeMap(stored.value);
    if (old && old.clusterId !== request.clusterId) {
      throw new Error(
        `Cannot change the placement map: it is of cluster ${old.clusterId}, the disks of ${request.clusterId}`,
      );
    }
    const next = nextMap(old, request);
    if (old && isSame(old, next)) {
      await raiseFences(metadata, old, signal);
      return old;
    }
    const marks = dirtyMarks(old, next);
    await putAll(metadata, marks, signal);
    const expect = [{ key: MAP_KEY, revision: stored?.revision ?? 0 }, ...(request.expect ?? [])];
    const put = [{ key: MAP_KEY, value: encodeMap(next) }];
    const outcome = await metadata.commit({ expect, put, remove: [] }, signal);
    if (outcome.kind === "conflict") {
      const failed = expect.findIndex(({ revision }, place) => {
        return place > 0 && (outcome.current[place]?.revision ?? 0) !== revision;
      });
      if (failed < 0) continue;
      throw new RequestOutdated(
        "Cannot change the placement map: the nodes have changed meanwhile",
      );
    }
    await putAll(metadata, marks, signal);
    await raiseFences(metadata, next, signal);
    return next;
  }
}

/** Forgets earlier members of groups whose shards are all where the map says. */
export async function forgetEarlier(
  metadata: MetadataStore,
  { groups, epoch }: { groups: ReadonlySet<number>; epoch: number },
  signal?: AbortSignal,
): Promise<void> {
  const stored = await metadata.get(MAP_KEY, signal);
  const map = stored && decodeMap(stored.value);
  // A later map may have moved the groups again.
  if (map?.epoch !== epoch) return;
  const next: PlacementMap = withoutUnused({
    ...map,
    epoch: epoch + 1,
    groups: map.groups.map((group, number) =>
      groups.has(number) ? { ...group, earlier: [] } : group,
    ),
  });
  await metadata.commit(
    {
      expect: [{ key: MAP_KEY, revision: stored?.revision ?? 0 }],
      put: [{ key: MAP_KEY, value: encodeMap(next) }],
      remove: [],
    },
    signal,
  );
}

/** After this no write planned before a group's last move can be committed. */
export async function raiseFences(
  metadata: MetadataStore,
  map: PlacementMap,
  signal?: AbortSignal,
): Promise<void> {
  const moved = [...map.groups.entries()].filter(([, group]) => group.movedEpoch > 0);
  for (let start = 0; start < moved.length; start += KEYS_A_COMMIT) {
    await raiseSome(metadata, moved.slice(start, start + KEYS_A_COMMIT), signal);
  }
}

async function raiseSome(
  metadata: MetadataStore,
  moved: readonly (readonly [number, PlacementGroup])[],
  signal: AbortSignal | undefined,
): Promise<void> {
  for (;;) {
    const keys = moved.map(([number]) => fenceKey(number));
    const found = await metadata.getMany(keys, signal);
    const behind = moved.flatMap(([number, group], place) => {
      const entry = found[place];
      const raised = entry ? decodeFence(entry.value) : 0;
      if (raised >= group.movedEpoch) return [];
      return [{ key: fenceKey(number), revision: entry?.revision ?? 0, epoch: group.movedEpoch }];
    });
    if (behind.length === 0) return;
    const outcome = await metadata.commit(
      {
        expect: behind.map(({ key, revision }) => ({ key, revision })),
        put: behind.map(({ key, epoch }) => ({ key, value: encodeFence(epoch) })),
        remove: [],
      },
      signal,
    );
    if (outcome.kind === "committed") return;
  }
}

/** What the map would become. Pure. */
export function nextMap(old: PlacementMap | undefined, request: MapRequest): PlacementMap {
  const given = new Set(request.disks.map((disk) => disk.id));
  const lost = (old?.disks ?? [])
    .filter((disk) => !given.has(disk.id))
    .map((disk) => ({ ...disk, state: "gone" as const }));
  const disks = [...request.disks, ...lost];
  const epoch = (old?.epoch ?? 0) + 1;
  const width = Math.max(request.width, old?.width ?? 0);
  const groupCount = old?.groups.length ?? request.groupCount;
  const groups = assign({
    disks,
    width,
    groupCount,
    old: old?.groups,
    epoch,
    returning: returningDisks(old, request.disks),
  });
  return withoutUnused({ epoch, clusterId: request.clusterId, width, disks, groups });
}

function returningDisks(
  old: PlacementMap | undefined,
  disks: readonly PlacedDisk[],
): ReadonlySet<string> {
  const drained = new Set(
    old?.disks.filter(({ state }) => state === "draining").map(({ id }) => id),
  );
  const returning = disks.filter(({ id, state }) => state === "active" && drained.has(id));
  return new Set(returning.map(({ id }) => id));
}

function withoutUnused(map: PlacementMap): PlacementMap {
  const used = new Set<string>();
  for (const group of map.groups) {
    for (const diskId of group.members) used.add(diskId);
    for (const { diskId } of group.earlier) used.add(diskId);
  }
  return { ...map, disks: map.disks.filter(({ id, state }) => state !== "gone" || used.has(id)) };
}

function isSame(old: PlacementMap, next: PlacementMap): boolean {
  return encodeMap({ ...next, epoch: old.epoch }).equals(encodeMap(old));
}

function dirtyMarks(old: PlacementMap | undefined, next: PlacementMap): readonly Put[] {
  if (!old) return [];
  return next.groups.flatMap(({ members }, group) => {
    const before = old.groups[group]?.members ?? [];
    return members
      .filter((diskId, index) => before[index] !== diskId)
      .map((diskId) => ({ key: dirtyKey({ group, diskId }), value: DIRTY_MARK }));
  });
}

async function putAll(
  metadata: MetadataStore,
  puts: readonly Put[],
  signal: AbortSignal | undefined,
): Promise<void> {
  for (let start = 0; start < puts.length; start += KEYS_A_COMMIT) {
    const put = puts.slice(start, start + KEYS_A_COMMIT);
    await metadata.commit({ expect: [], put, remove: [] }, signal);
  }
}
