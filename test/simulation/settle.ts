/**
 * After the faults: everything comes up, the keepers get time, and then nothing may be left to do. Every shard of what the
 * index names is in its place and good (I10), nothing else is on any disk (I8), and every version reads (I1, I6).
 */

import { CodecByName } from "#codec/codec-by-name.ts";
import { KEY, kindRange } from "#metadata/keys.ts";
import { decodeVersion, type VersionRecord } from "#metadata/record-version.ts";
import { decodeAbout } from "#objects/about.ts";
import type { Bucket, Extent } from "#objects/model.ts";
import { SUSPICIONS } from "#objects/suspicions.ts";
import { all, brokenInvariants } from "#objects/testing/invariants.ts";
import { DIRTY_MARKS, decodeMap, MAP_KEY } from "#placement/placement-record.ts";
import type { ShardInfo } from "#shards/shard-store.ts";
import type { Cluster } from "./cluster.ts";
import { DiskNode } from "./node.ts";

/** The keepers have so long; in it every job comes round several times. */
const CONVERGE_MS_MAX = 60 * 60_000;
const LOOK_MS = 30_000;
const JOBS = ["repair", "trash", "garbage", "scrub", "uploads"] as const;
const { signal } = new AbortController();
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
  const { world } = cluster;
  for (const bucket of buckets) {
    for (;;) {
      const { layer } = cluster.gateways[0] ?? {};
      const request = { bucket, prefix: "", delimiter: "", after: "", limit: 1000, signal };
      const page = await layer?.uploads.list({ ...request, afterUploadId: undefined });
      const open = page?.entries.flatMap((entry) => (entry.kind === "item" ? [entry.item] : []));
      if (open?.length === 0) break;
      for (const { key, uploadId } of open ?? []) {
        await layer?.uploads.abort({ bucket, key, uploadId, signal });
      }
      await world.sleep(100, "uploads");
    }
  }
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
        world.count("garbage confirmed");
        keeper.confirmGarbage();
      }
      for (const job of JOBS) keeper?.runNow(job);
    }
    await world.sleep(LOOK_MS, "converge");
    const left = await unfinished(cluster, buckets);
    if (left.length === 0 || world.now > end) return left;
  }
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
