/**
 * After the faults: everything comes up, the keepers get time, and then nothing may be left to do. Every shard of what the
 * index names is in its place and good (I10), nothing else is on any disk (I8), and every version reads (I1, I6).
 */

import { CodecByName } from "#codec/codec-by-name.ts";
import { confirmGarbage } from "#keeper/garbage-question.ts";
import { KEY, kindRange } from "#metadata/keys.ts";
import { decodeVersion, type VersionRecord } from "#metadata/record-version.ts";
import { decodeAbout } from "#objects/about.ts";
import type { Bucket, Extent } from "#objects/model.ts";
import { SUSPICIONS, suspicionKey } from "#objects/suspicions.ts";
import { all, brokenInvariants } from "#objects/testing/invariants.ts";
import { DIRTY_MARKS, decodeMap, dirtyKey, MAP_KEY } from "#placement/placement-record.ts";
import type { ShardInfo } from "#shards/shard-store.ts";
import type { Cluster } from "./cluster.ts";
import type { Machine } from "./gateway.ts";
import { DiskNode } from "./node.ts";

/** The keepers have so long; in it every job comes round several times. */
const CONVERGE_MS_MAX = 60 * 60_000;
const LOOK_MS = 30_000;
const CODECS = new CodecByName();

/** Ends every fault. */
export async function heal(cluster: Cluster): Promise<void> {
  const { world, network, index, nodes, wanted } = cluster;
  network.heal();
  index.heal();
  for (const node of nodes.values()) {
    if (node instanceof DiskNode) node.failingShare = 0;
    node.process.resume();
    if (!node.process.isAlive) await node.start();
  }
  for (const machine of cluster.machines) {
    machine.process.resume();
    machine.skewMs = 0;
    if (!machine.process.isAlive) machine.start();
  }
  for (const [diskId, state] of wanted) if (state === "gone") wanted.delete(diskId);
  while (cluster.machines.some(({ layer }) => layer === undefined)) await world.sleep(500, "heal");
}

/** Aborts what uploads the clients left open, so that nothing is kept for them. */
export async function endUploads(cluster: Cluster, buckets: readonly Bucket[]): Promise<void> {
  for (let turn = 0; ; turn++) {
    const gateway = cluster.gateways[turn % cluster.gateways.length];
    try {
      let left = 0;
      for (const bucket of buckets)
        left += await unlessKilled(gateway, abortUploads(gateway, bucket));
      if (left === 0) return;
    } catch {
      // A gateway whose session was taken away does not know it yet.
      await cluster.world.sleep(1000, "uploads");
    }
  }
}

/** A gateway that is started again, as it lost its session, answers nothing any more. */
async function unlessKilled<T>(gateway: Machine | undefined, work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const forget = gateway?.process.onDeath(() => reject(new Error("The gateway was killed")));
  try {
    return await Promise.race([work, promise]);
  } finally {
    forget?.();
  }
}

/** Answers how many there were. */
async function abortUploads(gateway: Machine | undefined, bucket: Bucket): Promise<number> {
  const { layer } = gateway ?? {};
  if (layer === undefined) throw new Error("The gateway is not open");
  const { signal } = new AbortController();
  const request = { bucket, prefix: "", delimiter: "", after: "", limit: 1000, signal };
  const { entries } = await layer.uploads.list({ ...request, afterUploadId: undefined });
  for (const entry of entries) {
    if (entry.kind !== "item") continue;
    const { key, uploadId } = entry.item;
    await layer.uploads.abort({ bucket, key, uploadId, signal });
  }
  return entries.length;
}

/** Gives the keepers time until nothing is left to do; answers what still is when they have had enough. */
export async function converge(
  cluster: Cluster,
  buckets: readonly Bucket[],
): Promise<readonly string[]> {
  const { world } = cluster;
  const end = world.now + CONVERGE_MS_MAX;
  for (;;) {
    for (const { keeper } of cluster.keepers) {
      // The operator has looked at what a sweep asks about.
      if (keeper?.status().some(({ fault }) => fault?.startsWith("Garbage collection asks"))) {
        if ((await confirmGarbage(cluster.store)) === undefined) continue;
        world.count("garbage confirmed");
        keeper.runNow("garbage");
      }
    }
    for (const machine of cluster.machines) machine.hurry();
    await world.sleep(LOOK_MS, "converge");
    const left = await unfinished(cluster, buckets);
    if (left.length === 0 || world.now > end) return left;
  }
}

/**
 * Shards that a member lacks although nobody has noted it: then only luck would find them before more are lost. Bytes that the
 * nemesis destroyed are for scrub to find.
 */
export async function unmarked(
  cluster: Cluster,
  { buckets, victim }: { buckets: readonly Bucket[]; victim: string | undefined },
): Promise<readonly string[]> {
  const { store, nodes } = cluster;
  const { signal } = new AbortController();
  const found: string[] = [];
  for (const bucket of buckets) {
    for (const extent of await extentsOf(cluster, bucket)) {
      const { k, m } = CODECS.codec(extent.codec, extent.unit);
      for (let index = 0; index < k + m; index++) {
        // Read for each shard anew: repair is at work.
        const map = await store.get(MAP_KEY);
        const group = map && decodeMap(map.value).groups[extent.group];
        const diskId = group?.members[index];
        const node = nodes.get(diskId ?? "");
        if (diskId === undefined || node === undefined || diskId === victim) continue;
        const id = { group: extent.group, writeId: extent.writeId, index };
        const marks = [dirtyKey({ group: extent.group, diskId }), suspicionKey(id)];
        const before = await store.getMany(marks);
        const isNoted = before.some((entry) => entry !== undefined);
        if (isNoted || (await node.store.verify(id, signal)) !== "missing") continue;
        const now = await store.get(MAP_KEY);
        if (now?.revision !== map?.revision) continue;
        found.push(`I10: ${node.name} lacks shard ${index} of ${hex(id.writeId)}, unmarked`);
      }
    }
  }
  return found;
}

async function unfinished(
  cluster: Cluster,
  buckets: readonly Bucket[],
): Promise<readonly string[]> {
  const { store } = cluster;
  const left: string[] = [];
  const dirty = await store.range({ ...DIRTY_MARKS, limit: 1000 });
  if (dirty.entries.length > 0) left.push(`I10: ${dirty.entries.length} groups are marked dirty`);
  const suspects = await store.range({ ...SUSPICIONS, limit: 1000 });
  if (suspects.entries.length > 0) left.push(`I10: ${suspects.entries.length} shards are suspect`);
  for (const { id, name } of buckets) {
    const trash = await all(store, KEY.trash, id);
    if (trash.length > 0) left.push(`I8: ${trash.length} trash records are left in ${name}`);
    for (const broken of await brokenInvariants(store, id)) left.push(`index: ${broken}`);
  }
  left.push(...(await misplaced(cluster, buckets)));
  return left;
}

/** What the index names and is not whole in its place, and what lies on disks and is not named. */
async function misplaced(cluster: Cluster, buckets: readonly Bucket[]): Promise<readonly string[]> {
  const { store, nodes } = cluster;
  const { signal } = new AbortController();
  const wrong: string[] = [];
  const stored = await store.get(MAP_KEY);
  const map = stored && decodeMap(stored.value);
  const named = new Map<string, Extent>();
  for (const bucket of buckets) {
    for (const extent of await extentsOf(cluster, bucket)) named.set(hex(extent.writeId), extent);
  }
  for (const [name, extent] of named) {
    const group = map?.groups[extent.group];
    if ((group?.earlier.length ?? 0) > 0) wrong.push(`I10: group ${extent.group} is still moving`);
    const { k, m } = CODECS.codec(extent.codec, extent.unit);
    for (let index = 0; index < k + m; index++) {
      const node = nodes.get(group?.members[index] ?? "");
      const id = { group: extent.group, writeId: extent.writeId, index };
      const state = (await node?.store.verify(id, signal)) ?? "without a disk";
      if (state !== "good") wrong.push(`I10: shard ${index} of ${name} is ${state}`);
    }
  }
  let unnamed = 0;
  for (const node of nodes.values()) {
    const members = (info: ShardInfo) => map?.groups[info.id.group]?.members[info.id.index];
    for await (const info of shardsOf(node.store)) {
      if (!named.has(hex(info.id.writeId))) unnamed += 1;
      else if (members(info) !== node.diskId) {
        const { key } = decodeAbout(info.about).owner;
        wrong.push(`I8: shard ${info.id.index} of ${key} lies on ${node.name} as well`);
      }
    }
  }
  if (unnamed > 0) wrong.push(`I8: ${unnamed} shards are left that nothing names`);
  return [...new Set(wrong)];
}

/** Of all versions, parts and manifests. */
async function extentsOf(cluster: Cluster, bucket: Bucket): Promise<readonly Extent[]> {
  const extents: Extent[] = [];
  for (const kind of [KEY.live, KEY.version]) {
    const range = kindRange(kind, bucket.id);
    const { entries } = await cluster.store.range({ ...range, limit: 100_000 });
    for (const { value } of entries) {
      const version: VersionRecord = decodeVersion("", value);
      extents.push(...version.extents, ...version.parts.flatMap((part) => part.extents));
      if (version.manifest) extents.push(version.manifest);
    }
  }
  return extents;
}

async function* shardsOf(store: {
  list: (
    request: { after?: ShardInfo["id"]; limit: number },
    signal: AbortSignal,
  ) => Promise<{ shards: readonly ShardInfo[]; next: ShardInfo["id"] | undefined }>;
}): AsyncGenerator<ShardInfo> {
  const { signal } = new AbortController();
  let after: ShardInfo["id"] | undefined;
  do {
    const page = await store.list({ ...(after && { after }), limit: 1000 }, signal);
    yield* page.shards;
    after = page.next;
  } while (after !== undefined);
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
