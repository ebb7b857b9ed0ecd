import { describe, expect, test } from "vitest";
import { Unavailable } from "#lib/unavailable.ts";
import { ExtentGone } from "#objects/data-plane.ts";
import type { Extent } from "#objects/model.ts";
import { writeQuorum } from "#objects/quorum.ts";
import { DataPlaneBench, pattern, request, TestBody } from "#objects/testing/data-plane-bench.ts";
import { DIRTY_MARKS } from "#placement/placement-record.ts";
import { ShardStoreFull } from "#shards/shard-store.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZES = [
  0,
  1,
  5,
  4 * KIB,
  65_536,
  65_537,
  128 * KIB - 1,
  128 * KIB,
  MIB,
  MIB + 1,
  4 * MIB,
  4 * MIB + 3,
  9 * MIB + 7,
];
const CODECS = [
  { codec: "replica-1", disks: 1 },
  { codec: "replica-3", disks: 3 },
  { codec: "ec-4+2", disks: 6 },
];

describe.each(CODECS)("with $codec on $disks disks", ({ codec, disks }) => {
  test.each(SIZES)("a body of %i bytes is read back whole and in ranges", async (size) => {
    await using bench = await DataPlaneBench.open({ codec, disks });
    const bytes = pattern(size);
    const extents = await bench.write(bytes, 50_000);
    expect(extents.reduce((sum, extent) => sum + extent.size, 0)).toBe(size);
    expect((await bench.read(extents, 0, size)).equals(bytes)).toBe(true);
    for (const [start, end] of ranges(size)) {
      expect((await bench.read(extents, start, end)).equals(bytes.subarray(start, end))).toBe(true);
    }
  });

  test("a small range within one stripe comes at once, a longer one or one across stripes does not", async () => {
    await using bench = await DataPlaneBench.open({ codec, disks });
    const bytes = pattern(9 * MIB);
    const extents = await bench.write(bytes);
    const stripe = codec === "ec-4+2" ? 4 * MIB : MIB;
    const read = (start: number, end: number) =>
      bench.data.readSmall({ extents, start, end, signal: soon() });
    for (const [start, end] of [
      [0, 0],
      [0, 1],
      [stripe - 10, stripe],
      [9 * MIB - 4096, 9 * MIB],
    ] as const) {
      const pieces = await read(start, end);
      expect(Buffer.concat(pieces ?? []).equals(bytes.subarray(start, end))).toBe(true);
      expect(pieces).toBeDefined();
    }
    expect(await read(stripe - 10, stripe + 10)).toBeUndefined();
    expect(await read(0, MIB)).toBeUndefined();
  });

  test("a body of unknown size is stored as one of known size is", async () => {
    await using bench = await DataPlaneBench.open({ codec, disks });
    for (const size of [0, 1, 128 * KIB - 1, 128 * KIB, MIB, 5 * MIB]) {
      const bytes = pattern(size, 3);
      const known = await bench.data.write(request(new TestBody(bytes)));
      const unknown = await bench.data.write(request(new TestBody(bytes, { isSizeKnown: false })));
      expect(unknown.extents.map(shape)).toEqual(known.extents.map(shape));
      expect((await bench.read(unknown.extents, 0, size)).equals(bytes)).toBe(true);
    }
  });

  test.each([1, 200 * KIB, 6 * MIB])(
    "a body of %i bytes that turns out wrong at its end leaves nothing, and its error is passed on",
    async (size) => {
      await using bench = await DataPlaneBench.open({ codec, disks });
      const body = new TestBody(pattern(size), { failure: new Error("BadDigest") });
      await expect(bench.data.write(request(body))).rejects.toThrow("BadDigest");
      await bench.data.quiesce();
      expect(bench.shards).toBe(0);
      expect(bench.disks.map((disk) => disk.openWriters)).toEqual(bench.disks.map(() => 0));
    },
  );

  test("a write whose commit came to nothing is taken away", async () => {
    await using bench = await DataPlaneBench.open({ codec, disks });
    for (const size of [4 * KIB, 6 * MIB]) {
      const written = await bench.data.write(request(new TestBody(pattern(size))));
      expect(bench.shards).toBeGreaterThan(0);
      written.settle("not-committed");
      await bench.data.quiesce();
      expect(bench.shards).toBe(0);
    }
  });

  test("second names read the same and outlive the first", async () => {
    await using bench = await DataPlaneBench.open({ codec, disks });
    for (const size of [4 * KIB, 6 * MIB]) {
      const bytes = pattern(size);
      const extents = await bench.write(bytes);
      const linked = await bench.data.link({ ...request(new TestBody(bytes)), extents });
      expect(linked?.extents.map(({ group }) => group)).toEqual(extents.map(({ group }) => group));
      for (const disk of bench.disks) {
        const ids = disk.ids().filter((id) => extents.some((one) => isOf(one, id.writeId)));
        await disk.remove(ids, soon());
      }
      expect((await bench.read(linked?.extents ?? [], 0, size)).equals(bytes)).toBe(true);
      await expect(bench.read(extents, 0, size)).rejects.toThrow(ExtentGone);
    }
  });
});

describe("with ec-4+2 on six disks", () => {
  test("small bodies are copies on three disks, large ones are cut up", async () => {
    await using bench = await DataPlaneBench.open({ codec: "ec-4+2", disks: 6 });
    expect((await bench.write(pattern(128 * KIB - 1)))[0]?.codec).toBe("replica-3");
    expect((await bench.write(pattern(128 * KIB)))[0]?.codec).toBe("ec-4+2");
  });

  test.each([4 * KIB, 300 * KIB, 9 * MIB + 7])(
    "%i bytes are read with any two disks gone",
    async (size) => {
      await using bench = await DataPlaneBench.open({ codec: "ec-4+2", disks: 6 });
      const bytes = pattern(size);
      const extents = await bench.write(bytes);
      for (let one = 0; one < 6; one++) {
        for (let other = 0; other < one; other++) {
          const gone = [bench.disks[one], bench.disks[other]];
          for (const disk of gone) bench.stores.delete(disk?.diskId ?? "");
          expect((await bench.read(extents, 0, size)).equals(bytes)).toBe(true);
          const middle = Math.floor(size / 2);
          const part = await bench.read(extents, middle - 100, middle + 100);
          expect(part.equals(bytes.subarray(middle - 100, middle + 100))).toBe(true);
          for (const disk of gone) if (disk) bench.stores.set(disk.diskId, disk);
        }
      }
    },
  );

  test("with three disks away a read is refused, and the extent not called gone", async () => {
    await using bench = await DataPlaneBench.open({ codec: "ec-4+2", disks: 6 });
    const extents = await bench.write(pattern(MIB));
    for (const disk of bench.disks.slice(0, 3)) bench.stores.delete(disk.diskId);
    await expect(bench.read(extents, 0, MIB)).rejects.toThrow(Unavailable);
  });

  test("flipped bytes are never given out: two bad shards are made good, three break the read", async () => {
    await using bench = await DataPlaneBench.open({ codec: "ec-4+2", disks: 6 });
    const bytes = pattern(3 * MIB);
    const extents = await bench.write(bytes);
    const flip = (at: number) => {
      for (const id of bench.disks[at]?.ids() ?? []) bench.disks[at]?.corrupt(id, 1000);
    };
    flip(0);
    flip(1);
    expect((await bench.read(extents, 0, 3 * MIB)).equals(bytes)).toBe(true);
    flip(2);
    await expect(bench.read(extents, 0, 3 * MIB)).rejects.toThrow(/too many shards are bad/);
  });

  test("a healthy read of a range touches only the bytes wanted of the block that holds them", async () => {
    await using bench = await DataPlaneBench.open({ codec: "ec-4+2", disks: 6 });
    const extents = await bench.write(pattern(8 * MIB));
    await bench.read(extents, 5 * MIB + 10, 5 * MIB + 1010);
    expect(bench.disks.map((disk) => disk.bytesRead).filter((read) => read > 0)).toEqual([1000]);
  });

  test("a disk that hangs is overtaken by the others", async () => {
    await using bench = await DataPlaneBench.open({ codec: "ec-4+2", disks: 6 });
    const bytes = pattern(MIB);
    const extents = await bench.write(bytes);
    const hung = bench.disks[2];
    if (hung) hung.before = (step) => (step === "read" ? new Promise(() => undefined) : undefined);
    expect((await bench.read(extents, 0, MIB)).equals(bytes)).toBe(true);
  });

  test.each([100 * KIB, 9 * MIB])(
    "%i bytes: a disk that lags is left out, the write goes on and the commit marks its group",
    async (size) => {
      const times = { laggardMs: 60 };
      await using bench = await DataPlaneBench.open({
        codec: "ec-4+2",
        disks: 6,
        times,
        groupCount: 1,
      });
      const slow = bench.disks.find(({ diskId }) => diskId === bench.map.group(0).members[0]);
      if (!slow) throw new Error("no disk");
      const held = Promise.withResolvers<void>();
      slow.before = (step) => (step === "append" || step === "put" ? held.promise : undefined);
      const bytes = pattern(size);
      const extents = await bench.write(bytes);
      expect((await bench.read(extents, 0, size)).equals(bytes)).toBe(true);
      expect(await dirtyMarks(bench)).toBe(1);
      held.resolve();
    },
  );

  test("with fewer than five disks a large write is refused and leaves nothing", async () => {
    await using bench = await DataPlaneBench.open({ codec: "ec-4+2", disks: 6 });
    for (const disk of bench.disks.slice(0, 2)) {
      disk.before = (step) => {
        if (step !== "remove") throw new ShardStoreFull("full");
      };
    }
    for (const size of [MIB, 9 * MIB]) {
      await expect(bench.data.write(request(new TestBody(pattern(size))))).rejects.toThrow(
        Unavailable,
      );
      await bench.data.quiesce();
      expect(bench.shards).toBe(0);
    }
  });

  test("however many readers dawdle, each gets its bytes, and together they hold what is allowed", async () => {
    const readBytesMax = 8 * MIB;
    await using bench = await DataPlaneBench.open({ codec: "ec-4+2", disks: 6, readBytesMax });
    const bytes = pattern(9 * MIB);
    const extents = await bench.write(bytes);
    for (const disk of bench.disks) disk.bytesRead = 0;
    const slow = Array.from({ length: 20 }, () =>
      bench.data.read({ extents, start: 0, end: 9 * MIB, signal: soon() })[Symbol.asyncIterator](),
    );
    const firsts = await Promise.all(slow.map((reader) => reader.next()));
    const held = bench.disks.reduce((sum, disk) => sum + disk.bytesRead, 0);
    expect(held).toBeLessThan(readBytesMax + 20 * 256 * KIB);
    for (const [place, reader] of slow.entries()) {
      const pieces = [firsts[place]?.value as Uint8Array];
      for (let next = await reader.next(); next.done !== true; next = await reader.next()) {
        pieces.push(next.value);
      }
      expect(Buffer.concat(pieces).equals(bytes)).toBe(true);
    }
  });
});

test("two disks lag in one write, one after the other: both are left out, and the write goes on", async () => {
  const times = { laggardMs: 60 };
  await using bench = await DataPlaneBench.open({
    codec: "ec-4+4",
    disks: 8,
    times,
    groupCount: 1,
  });
  const [first, second] = bench.map.group(0).members.map((id) => bench.stores.get(id));
  if (!first || !second) throw new Error("no disks");
  const firstHeld = Promise.withResolvers<void>();
  const secondHeld = Promise.withResolvers<void>();
  first.before = (step) => (step === "append" ? firstHeld.promise : undefined);
  let appends = 0;
  second.before = async (step) => {
    if (step !== "append") return;
    appends += 1;
    if (appends === 3) firstHeld.resolve();
    if (appends >= 5) await secondHeld.promise;
  };
  const bytes = pattern(39 * MIB);
  const extents = await bench.write(bytes);
  expect((await bench.read(extents, 0, bytes.length)).equals(bytes)).toBe(true);
  expect(await dirtyMarks(bench)).toBe(2);
  secondHeld.resolve();
});

test("copies on single disks: a small write that its disk refuses goes to another", async () => {
  await using bench = await DataPlaneBench.open({ codec: "replica-1", disks: 4, groupCount: 16 });
  const [bad] = bench.disks;
  if (bad) {
    bad.before = () => {
      throw new ShardStoreFull("full");
    };
  }
  for (let turn = 0; turn < 30; turn++) await bench.write(pattern(4 * KIB, turn + 1));
  expect(bench.shards).toBe(30);
});

test("the write quorum leaves a shard to spare, except on one disk", () => {
  expect(writeQuorum({ k: 1, m: 0 })).toBe(1);
  expect(writeQuorum({ k: 1, m: 1 })).toBe(2);
  expect(writeQuorum({ k: 1, m: 2 })).toBe(2);
  expect(writeQuorum({ k: 4, m: 2 })).toBe(5);
  expect(writeQuorum({ k: 8, m: 4 })).toBe(10);
});

test("a body is read no further than two stripes ahead of the disks", async () => {
  await using bench = await DataPlaneBench.open({ codec: "replica-1", disks: 1 });
  const [disk] = bench.disks;
  const held = Promise.withResolvers<void>();
  if (disk) disk.before = (step) => (step === "append" ? held.promise : undefined);
  let taken = 0;
  const bytes = pattern(10 * MIB);
  const body = new TestBody(bytes);
  const counted = {
    size: body.size,
    digests: () => body.digests(),
    async *[Symbol.asyncIterator]() {
      for await (const piece of body) {
        taken += piece.length;
        yield piece;
      }
    },
  };
  const writing = bench.data.write(request(counted));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(taken).toBeLessThanOrEqual(2 * MIB + 2 * 64 * KIB);
  held.resolve();
  const { extents } = await writing;
  expect((await bench.read(extents, 0, 10 * MIB)).equals(bytes)).toBe(true);
});

function ranges(size: number): readonly (readonly [number, number])[] {
  const edges = [0, 1, 4095, 65_535, 65_536, MIB - 1, MIB, MIB + 1, 4 * MIB, size - 1, size];
  const inside = edges.filter((edge) => edge >= 0 && edge <= size);
  return inside.flatMap((start) =>
    inside.filter((end) => end > start).map((end) => [start, end] as const),
  );
}

function shape({ codec, size, unit }: Extent) {
  return { codec, size, unit };
}

function isOf(extent: Extent, writeId: Uint8Array): boolean {
  return Buffer.from(extent.writeId).equals(writeId);
}

async function dirtyMarks(bench: DataPlaneBench): Promise<number> {
  const page = await bench.metadata.range({ ...DIRTY_MARKS, limit: 100 });
  return page.entries.length;
}

function soon(): AbortSignal {
  return AbortSignal.timeout(10_000);
}
