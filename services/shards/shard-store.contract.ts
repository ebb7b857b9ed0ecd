/** What every ShardStore promises. Each implementation's test calls this with a way to open a fresh one. */
import { describe, expect, test } from "vitest";
import { chunkChecksums } from "#lib/crc32c.ts";
import { SeededRandom } from "#lib/random.ts";
import { checksummedBlock, ShardDigest } from "#shards/digest.ts";
import {
  type Block,
  CHUNK_BYTES,
  ShardConflict,
  ShardFenced,
  type ShardId,
  ShardMissing,
  type ShardSeal,
  type ShardStore,
} from "#shards/shard-store.ts";

const random = new SeededRandom(20260101);
const { signal } = new AbortController();
const KIB = 1024;

export function shardStoreContract(kind: string, open: () => Promise<ShardStore>): void {
  describe(`${kind} shard store`, () => {
    test("gives back what was put", async () => {
      await using store = await open();
      const shard = sample([5000]);
      await store.put(shard.id, { block: shard.blocks[0], seal: shard.seal }, { signal });
      const bytes = await store.read(shard.id, { offset: 0, length: 5000 }, { signal });
      expect(shard.bytes.equals(bytes)).toBe(true);
    });

    test("keeps an empty shard", async () => {
      await using store = await open();
      const shard = sample([]);
      await store.put(shard.id, { block: undefined, seal: shard.seal }, { signal });
      expect(await store.read(shard.id, { offset: 0, length: 0 }, { signal })).toHaveLength(0);
      expect(await store.stat(shard.id, signal)).toMatchObject({ length: 0, blocks: 0 });
    });

    test("gives back a shard of several blocks, each made of several pieces", async () => {
      await using store = await open();
      const shard = sample([200 * KIB, 200 * KIB, 77_777]);
      await write(store, shard, { pieceBytes: 33_333 });
      expect(await readAll(store, shard)).toEqual(shard.bytes);
    });

    test("reads any range, within a chunk, over chunks and over blocks", async () => {
      await using store = await open();
      // Neither block nor last chunk is a multiple of the chunk, so every edge is met.
      const shard = sample([150_001, 150_001, 90_000]);
      await write(store, shard);
      const edges = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 131_072, 150_000];
      const offsets = edges.flatMap((edge) => [edge, 150_001 + edge, 300_002 + edge]);
      const valid = [...new Set([...offsets, shard.bytes.length])]
        .filter((offset) => offset <= shard.bytes.length)
        .toSorted((left, right) => left - right);
      for (const start of valid) {
        for (const end of valid.filter((each) => each >= start)) {
          const into = Buffer.alloc(end - start + 10, 0xee);
          const range = { offset: start, length: end - start };
          const expected = shard.bytes.subarray(start, end);
          expect(expected.equals(await store.read(shard.id, range, { signal }))).toBe(true);
          const kept: Uint32Array[] = [];
          const onKept = (checksums: Uint32Array) => kept.push(checksums);
          const placed = await store.read(shard.id, range, { signal, into, onKept });
          const whole = chunkChecksums([expected], expected.length, CHUNK_BYTES);
          for (const told of kept) expect(told, `kept for ${start}-${end}`).toEqual(whole);
          expect(expected.equals(placed), `${start}-${end} into a buffer`).toBe(true);
          expect(into.subarray(end - start)).toEqual(Buffer.alloc(10, 0xee));
        }
      }
    });

    test("refuses a range beyond the end", async () => {
      await using store = await open();
      const shard = await written(store, [1000]);
      const read = store.read(shard.id, { offset: 999, length: 2 }, { signal });
      await expect(read).rejects.toThrow(RangeError);
    });

    test("an unsealed shard does not exist", async () => {
      await using store = await open();
      const shard = sample([CHUNK_BYTES, CHUNK_BYTES]);
      const writer = store.write(shard.id, { signal });
      for (const block of shard.blocks) await writer.append(block);
      expect(await store.stat(shard.id, signal)).toBeUndefined();
      const read = store.read(shard.id, { offset: 0, length: 1 }, { signal });
      await expect(read).rejects.toThrow(ShardMissing);
      expect((await store.list({ limit: 10 }, signal)).shards).toEqual([]);
      await writer.abort();
    });

    test("abort leaves nothing, and the shard may be written afterwards", async () => {
      await using store = await open();
      const shard = sample([CHUNK_BYTES, 10]);
      const writer = store.write(shard.id, { signal });
      for (const block of shard.blocks) await writer.append(block);
      await writer.abort();
      await expect(writer.seal(shard.seal)).rejects.toThrow("aborted");
      expect(await store.stat(shard.id, signal)).toBeUndefined();
      await write(store, shard);
      expect(await readAll(store, shard)).toEqual(shard.bytes);
    });

    test("abort after seal is harmless", async () => {
      await using store = await open();
      const shard = sample([3000]);
      const writer = store.write(shard.id, { signal });
      for (const block of shard.blocks) await writer.append(block);
      await writer.seal(shard.seal);
      await writer.abort();
      expect(await readAll(store, shard)).toEqual(shard.bytes);
    });

    test("an aborted signal ends a write", async () => {
      await using store = await open();
      const shard = sample([3000]);
      const aborter = new AbortController();
      const writer = store.write(shard.id, { signal: aborter.signal });
      for (const block of shard.blocks) await writer.append(block);
      aborter.abort(new Error("client is gone"));
      await expect(writer.seal(shard.seal)).rejects.toThrow("client is gone");
      await writer.abort();
      expect(await store.stat(shard.id, signal)).toBeUndefined();
    });

    test("writing the same bytes again is harmless", async () => {
      await using store = await open();
      const shard = await written(store, [4000, 4000, 17]);
      await write(store, shard);
      expect(await readAll(store, shard)).toEqual(shard.bytes);
      expect((await store.list({ limit: 10 }, signal)).shards).toHaveLength(1);
    });

    test("of two equal writes at once both succeed, and a remove takes both away", async () => {
      await using store = await open();
      const shard = sample([4000]);
      await Promise.all([write(store, shard), write(store, shard), write(store, shard)]);
      expect(await readAll(store, shard)).toEqual(shard.bytes);
      await store.remove([shard.id], signal);
      expect(await store.stat(shard.id, signal)).toBeUndefined();
    });

    test("other bytes under the same name are refused, and the first stay", async () => {
      await using store = await open();
      const shard = await written(store, [4000]);
      const other = sample([4000], { id: shard.id });
      await expect(write(store, other)).rejects.toThrow(ShardConflict);
      const put = store.put(other.id, { block: other.blocks[0], seal: other.seal }, { signal });
      await expect(put).rejects.toThrow(ShardConflict);
      expect(await readAll(store, shard)).toEqual(shard.bytes);
    });

    test("a shard whose digest is not the one its siblings name is refused", async () => {
      await using store = await open();
      const shard = sample([4000]);
      const seal = { ...shard.seal, siblings: shard.seal.siblings.map((digest) => digest ^ 1) };
      await expect(write(store, { ...shard, seal })).rejects.toThrow(ShardConflict);
      expect(await store.stat(shard.id, signal)).toBeUndefined();
    });

    test("blocks of uneven length are refused", async () => {
      await using store = await open();
      const shard = sample([1000, 2000]);
      const writer = store.write(shard.id, { signal });
      const [first, longer] = shard.blocks as [Block, Block];
      await writer.append(first);
      await expect(writer.append(longer)).rejects.toThrow(RangeError);
      await writer.abort();
    });

    test("stat tells all that the seal says", async () => {
      await using store = await open();
      const shard = await written(store, [CHUNK_BYTES, 5], { index: 3 });
      expect(await store.stat(shard.id, signal)).toEqual({
        ...shard.seal,
        id: shard.id,
        length: CHUNK_BYTES + 5,
        blocks: 2,
        digest: shard.digest,
      });
    });

    test("a removed shard is missing, and removing what is absent is skipped", async () => {
      await using store = await open();
      const [first, second] = [await written(store, [10]), await written(store, [10])];
      await store.remove([first.id, sample([]).id, first.id], signal);
      await store.remove([first.id], signal);
      const read = store.read(first.id, { offset: 0, length: 1 }, { signal });
      await expect(read).rejects.toThrow(ShardMissing);
      expect(await store.verify(first.id, signal)).toBe("missing");
      expect(await readAll(store, second)).toEqual(second.bytes);
    });

    test("a removal of an earlier term than the disk was told is refused, and told the latest", async () => {
      await using store = await open();
      const shard = await written(store, [1000]);
      await store.remove([], signal, 8);
      const fenced = await store.remove([shard.id], signal, 7).catch((error: unknown) => error);
      expect(fenced).toBeInstanceOf(ShardFenced);
      expect(fenced).toMatchObject({ seen: 8 });
      expect(await store.verify(shard.id, signal)).toBe("good");
      await store.remove([shard.id], signal, 8);
      expect(await store.verify(shard.id, signal)).toBe("missing");
    });

    test("a removed shard may be written again", async () => {
      await using store = await open();
      const shard = await written(store, [3000]);
      await store.remove([shard.id], signal);
      await write(store, shard);
      expect(await readAll(store, shard)).toEqual(shard.bytes);
      await store.remove([shard.id], signal);
      expect(await store.stat(shard.id, signal)).toBeUndefined();
    });

    test("a link is a second name with its own seal, and outlives the first", async () => {
      await using store = await open();
      const shard = await written(store, [CHUNK_BYTES, 999]);
      const target = sample([]).id;
      const seal = { ...shard.seal, session: "other", about: Buffer.from("a copy") };
      await store.link({ source: shard.id, target }, seal, signal);
      expect(await store.stat(target, signal)).toMatchObject({
        id: target,
        session: "other",
        about: Buffer.from("a copy"),
        digest: shard.digest,
      });
      await store.remove([shard.id], signal);
      expect(await store.stat(shard.id, signal)).toBeUndefined();
      expect(await readAll(store, { ...shard, id: target })).toEqual(shard.bytes);
      expect(await store.verify(target, signal)).toBe("good");
    });

    test("a link of a link shares the same bytes", async () => {
      await using store = await open();
      const shard = await written(store, [70_000]);
      const [second, third] = [sample([]).id, sample([]).id];
      await store.link({ source: shard.id, target: second }, shard.seal, signal);
      await store.link({ source: second, target: third }, shard.seal, signal);
      await store.remove([shard.id, second], signal);
      expect(await readAll(store, { ...shard, id: third })).toEqual(shard.bytes);
    });

    test("bytes count once for all their names, and go with the last", async () => {
      await using store = await open();
      const before = (await store.health()).live;
      const shard = await written(store, [100_000]);
      const target = sample([]).id;
      await store.link({ source: shard.id, target }, shard.seal, signal);
      const linked = (await store.health()).live - before;
      expect(linked).toBeGreaterThanOrEqual(100_000);
      expect(linked).toBeLessThan(110_000);
      await store.remove([shard.id], signal);
      expect((await store.health()).live - before).toBeGreaterThanOrEqual(100_000);
      await store.remove([target], signal);
      expect((await store.health()).live).toBe(before);
    });

    test("a link to what is not there is refused, as is one over other bytes", async () => {
      await using store = await open();
      const shard = await written(store, [500]);
      const other = await written(store, [600]);
      const absent = sample([500]);
      const missing = store.link({ source: absent.id, target: sample([]).id }, absent.seal, signal);
      await expect(missing).rejects.toThrow(ShardMissing);
      const over = store.link({ source: shard.id, target: other.id }, shard.seal, signal);
      await expect(over).rejects.toThrow(ShardConflict);
      expect(await readAll(store, other)).toEqual(other.bytes);
    });

    test("lists in order of group, write and index, in pages, and by group", async () => {
      await using store = await open();
      const ids = [7, 0, 65_535, 7, 300, 7].map((group, at) => ({
        group,
        writeId: Buffer.alloc(16, at === 5 ? 3 : 250 - at),
        index: at === 3 ? 2 : 0,
      }));
      for (const id of ids) await write(store, sample([100], { id }));
      const ordered = ids.toSorted(
        (left, right) =>
          left.group - right.group ||
          Buffer.compare(left.writeId, right.writeId) ||
          left.index - right.index,
      );
      const seen: ShardId[] = [];
      let after: ShardId | undefined;
      do {
        const request = { limit: 2, ...(after === undefined ? {} : { after }) };
        const page = await store.list(request, signal);
        expect(page.shards.length).toBeLessThanOrEqual(2);
        seen.push(...page.shards.map(({ id }) => id));
        after = page.next;
      } while (after !== undefined);
      expect(seen.map(plain)).toEqual(ordered.map(plain));
      const group = await store.list({ group: 7, limit: 10 }, signal);
      const sevens = ordered.filter((id) => id.group === 7);
      expect(group.shards.map(({ id }) => plain(id))).toEqual(sevens.map(plain));
      expect(group.next).toBeUndefined();
    });

    test("a listed shard says what its seal says", async () => {
      await using store = await open();
      const shard = await written(store, [CHUNK_BYTES, 1]);
      const { shards } = await store.list({ limit: 1 }, signal);
      expect(shards).toEqual([await store.stat(shard.id, signal)]);
    });

    test("verify finds a whole shard good", async () => {
      await using store = await open();
      const shard = await written(store, [CHUNK_BYTES * 2, CHUNK_BYTES * 2, 1]);
      expect(await store.verify(shard.id, signal)).toBe("good");
    });

    test("many shards at once all arrive", async () => {
      await using store = await open();
      const shards = Array.from({ length: 200 }, (_, at) => sample([at * 37 + 1]));
      await Promise.all(
        shards.map((shard) =>
          store.put(shard.id, { block: shard.blocks[0], seal: shard.seal }, { signal }),
        ),
      );
      for (const shard of shards) expect(await readAll(store, shard)).toEqual(shard.bytes);
    });

    test("says its health", async () => {
      await using store = await open();
      await written(store, [10_000]);
      const health = await store.health();
      expect(health.state).toBe("writable");
      expect(health.live).toBeGreaterThanOrEqual(10_000);
      expect(health.used).toBeGreaterThanOrEqual(health.live);
      expect(health.capacity).toBeGreaterThanOrEqual(health.free);
    });
  });
}

export interface SampleShard {
  readonly id: ShardId;
  readonly bytes: Buffer;
  readonly blocks: readonly Block[];
  readonly seal: ShardSeal;
  readonly digest: number;
}

/** A shard of random bytes, with blocks of the lengths given. */
export function sample(
  lengths: readonly number[],
  options: { id?: ShardId; index?: number; pieceBytes?: number } = {},
): SampleShard {
  const { index = 0 } = options;
  const id = options.id ?? { group: 5, writeId: random.bytes(16), index };
  const contents = lengths.map((length) => random.bytes(length));
  const blocks = contents.map((content) =>
    checksummedBlock(cut(content, options.pieceBytes ?? content.length)),
  );
  const digest = new ShardDigest();
  for (const block of blocks) digest.add(block);
  const siblings = [11, 22, 33, 44, 55, 66];
  siblings[id.index] = digest.value;
  return {
    id,
    bytes: Buffer.concat(contents),
    blocks,
    digest: digest.value,
    seal: { session: "session-a", sequence: 42, siblings, about: Buffer.from("about it") },
  };
}

export async function write(
  store: ShardStore,
  shard: SampleShard,
  { pieceBytes }: { pieceBytes?: number } = {},
): Promise<void> {
  const writer = store.write(shard.id, { signal });
  for (const block of shard.blocks) {
    const whole = Buffer.concat(block.pieces);
    await writer.append(
      pieceBytes === undefined ? block : checksummedBlock(cut(whole, pieceBytes)),
    );
  }
  await writer.seal(shard.seal);
}

export async function written(
  store: ShardStore,
  lengths: readonly number[],
  options: { id?: ShardId; index?: number } = {},
): Promise<SampleShard> {
  const shard = sample(lengths, options);
  await write(store, shard);
  return shard;
}

export async function readAll(
  store: ShardStore,
  { id, bytes }: { id: ShardId; bytes: Buffer },
): Promise<Buffer> {
  return Buffer.from(await store.read(id, { offset: 0, length: bytes.length }, { signal }));
}

function cut(bytes: Buffer, pieceBytes: number): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    pieces.push(bytes.subarray(at, at + pieceBytes));
  }
  return pieces;
}

function plain({ group, writeId, index }: ShardId): string {
  return `${group}/${Buffer.from(writeId).toString("hex")}/${index}`;
}
