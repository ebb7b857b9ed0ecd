import { expect, test } from "vitest";
import { MemoryMetadata } from "#metadata/memory.ts";
import type { WatchEvent } from "#metadata/metadata-store.ts";
import { ExtentGone } from "#objects/data-plane.ts";
import { DataPlaneBench, pattern } from "#objects/testing/data-plane-bench.ts";
import type { EarlierMember, PlacementMap } from "#placement/placement-map.ts";
import { decodeMap, encodeMap, MAP_KEY } from "#placement/placement-record.ts";

test("bytes are not called gone while the newest map knows another earlier member than the reader's", async () => {
  const metadata = new UnwatchedMetadata();
  const shape = { codec: "replica-1", disks: 3, groupCount: 1 };
  await using bench = await DataPlaneBench.open({ ...shape, metadata });
  const bytes = pattern(700);
  const extents = await bench.write(bytes);
  const holder = bench.disks.find(({ size }) => size > 0);
  const [member, asked] = bench.disks.filter((disk) => disk !== holder);
  if (!holder || !member || !asked) throw new Error("no disk");
  const { diskId } = member;
  await place(bench, diskId, { index: 0, diskId: asked.diskId });
  await bench.map.refresh();
  // As many as before, so that only their names differ.
  asked.before = async () => {
    asked.before = undefined;
    await place(bench, diskId, { index: 0, diskId: holder.diskId });
  };
  expect((await bench.read(extents, 0, bytes.length)).equals(bytes)).toBe(true);
  expect(asked.before).toBeUndefined();
  await place(bench, diskId, { index: 0, diskId: asked.diskId });
  await bench.map.refresh();
  await expect(bench.read(extents, 0, bytes.length)).rejects.toThrow(ExtentGone);
});

/** Nobody hears of a change who does not look. */
class UnwatchedMetadata extends MemoryMetadata {
  override async *watch(_prefix: Uint8Array, signal: AbortSignal): AsyncGenerator<WatchEvent> {
    await new Promise((resolve) => {
      signal.addEventListener("abort", resolve, { once: true });
    });
    yield* [];
  }
}

async function place(
  { metadata }: DataPlaneBench,
  member: string,
  earlier: EarlierMember,
): Promise<void> {
  const stored = await metadata.get(MAP_KEY);
  if (!stored) throw new Error("no map");
  const map = decodeMap(stored.value);
  const groups = [{ members: [member], earlier: [earlier], movedEpoch: 0 }];
  const next: PlacementMap = { ...map, epoch: map.epoch + 1, groups };
  const put = [{ key: MAP_KEY, value: encodeMap(next) }];
  await metadata.commit({ expect: [], put, remove: [] });
}
