import { setTimeout } from "node:timers/promises";
import * as fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { SeededRandom } from "#lib/random.ts";
import { rounds } from "#lib/testing/rounds.ts";
import { Unavailable } from "#lib/unavailable.ts";
import { KEY } from "#metadata/keys.ts";
import { type CommitFault, MemoryMetadata } from "#metadata/memory.ts";
import type { Commit, WatchEvent } from "#metadata/metadata-store.ts";
import { OutcomeUnknown } from "#objects/commits.ts";
import { createObjectLayer } from "#objects/layer.ts";
import type { Bucket } from "#objects/model.ts";
import type { Stored } from "#objects/object-layer.ts";
import { DataPlaneBench } from "#objects/testing/data-plane-bench.ts";
import { all, brokenInvariants } from "#objects/testing/invariants.ts";
import { TestBody } from "#objects/testing/memory-data-plane.ts";
import {
  ATTRIBUTES,
  openLayer,
  SkippingClock,
  type TestLayer,
} from "#objects/testing/open-layer.ts";

let opened: TestLayer;
let bucket: Bucket;

beforeEach(async () => {
  opened = await openLayer();
  bucket = await opened.makeBucket("bucket", "enabled");
});

async function put(text: string, through = opened): Promise<Stored | { kind: "no-such-bucket" }> {
  const { layer, signal } = through;
  return layer.put({ bucket, key: "k", body: new TestBody(text), attributes: ATTRIBUTES, signal });
}

async function remove(versionId?: string): ReturnType<TestLayer["layer"]["remove"]> {
  const { layer, signal } = opened;
  return layer.remove({ bucket, key: "k", versionId, ownerId: "me", signal });
}

/** The texts of all versions of the key, newest first; a marker has none. */
async function texts(): Promise<readonly string[]> {
  const { layer, signal } = opened;
  const request = { bucket, prefix: "", delimiter: "", after: "", limit: 1000, signal };
  const { entries } = await layer.listVersions({ ...request, afterVersionId: undefined });
  return Promise.all(
    entries.map(async (entry) => {
      if (entry.kind === "prefix" || entry.item.version.isDeleteMarker) return "marker";
      const { version } = entry.item;
      const pieces = await layer.readSmall({
        bucket,
        version,
        start: 0,
        end: version.size,
        signal,
      });
      return Buffer.concat(pieces ?? []).toString();
    }),
  );
}

/** Befalls the first commit that changes an object, and no other. */
function once(fault: CommitFault, before: () => void = () => undefined): void {
  let isDone = false;
  opened.store.fault = (commit) => {
    if (isDone || !commit.put.some(isOfObject)) return undefined;
    isDone = true;
    before();
    return fault;
  };
}

function isOfObject({ key }: Commit["put"][number]): boolean {
  return key[0] === KEY.live || key[0] === KEY.marker || key[0] === KEY.trash;
}

describe("commits without an answer", () => {
  test("a PUT that landed unheard is answered once and not made again", async () => {
    once("unheard");
    expect(await put("one")).toMatchObject({ kind: "stored" });
    expect(await texts()).toEqual(["one"]);
  });

  test("a PUT whose commit was lost is made again", async () => {
    await put("zero");
    once("lost");
    expect(await put("one")).toMatchObject({ kind: "stored" });
    expect(await texts()).toEqual(["one", "zero"]);
  });

  test("a PUT of a new key whose commit was lost is not made again: it may have come and gone", async () => {
    once("lost");
    await expect(put("one")).rejects.toThrow(OutcomeUnknown);
    expect(await texts()).toEqual([]);
  });

  test("a PUT of a new key that landed unheard, was overwritten and deleted does not come back", async () => {
    bucket = await opened.makeBucket("plain");
    const other = await opened.another();
    const renew = opened.session.renew.bind(opened.session);
    opened.session.renew = async () => {
      await put("two", other);
      const { layer, signal } = other;
      await layer.remove({ bucket, key: "k", versionId: undefined, ownerId: "me", signal });
      await renew();
    };
    once("unheard");
    expect(await put("one")).toMatchObject({ kind: "stored" });
    expect(await texts()).toEqual([]);
  });

  test("nor does one that left no trace", async () => {
    bucket = await opened.makeBucket("plain");
    const other = await opened.another();
    const renew = opened.session.renew.bind(opened.session);
    opened.session.renew = async () => {
      const { layer, signal } = other;
      await layer.remove({ bucket, key: "k", versionId: undefined, ownerId: "me", signal });
      await renew();
    };
    once("unheard");
    await expect(put("")).rejects.toThrow(OutcomeUnknown);
    expect(await texts()).toEqual([]);
  });

  test("a delayed commit cannot land after its PUT was answered", async () => {
    await put("zero");
    once("delayed");
    await put("one");
    await put("two");
    expect(opened.store.deliverDelayed()).toMatchObject([{ kind: "conflict" }]);
    expect(await texts()).toEqual(["two", "one", "zero"]);
  });

  test("a PUT that landed unheard and became an older version is found there", async () => {
    const other = await opened.another();
    const renew = opened.session.renew.bind(opened.session);
    opened.session.renew = async () => {
      await put("two", other);
      await renew();
    };
    once("unheard");
    expect(await put("one")).toMatchObject({ kind: "stored" });
    expect(await texts()).toEqual(["two", "one"]);
  });

  test("a PUT that landed unheard and was overwritten is found in the trash", async () => {
    bucket = await opened.makeBucket("plain");
    const other = await opened.another();
    const renew = opened.session.renew.bind(opened.session);
    opened.session.renew = async () => {
      await put("two", other);
      await renew();
    };
    once("unheard");
    expect(await put("one")).toMatchObject({ kind: "stored" });
    expect(await texts()).toEqual(["two"]);
  });

  test("a PUT that may have landed and left no trace is not claimed, nor made again", async () => {
    bucket = await opened.makeBucket("plain");
    const other = await opened.another();
    const renew = opened.session.renew.bind(opened.session);
    opened.session.renew = async () => {
      await put("two", other);
      await renew();
    };
    once("unheard");
    // An empty object leaves nothing in the trash.
    await expect(put("")).rejects.toThrow(OutcomeUnknown);
    expect(await texts()).toEqual(["two"]);
  });

  test("a lost PUT that another one overtook is not taken for that one", async () => {
    const other = await opened.another();
    await put("zero");
    const renew = opened.session.renew.bind(opened.session);
    opened.session.renew = async () => {
      await put("two", other);
      await renew();
    };
    once("lost");
    await expect(put("one")).rejects.toThrow(Unavailable);
    expect(await texts()).toEqual(["two", "zero"]);
  });

  test("a DELETE that landed unheard does not take the next object with it", async () => {
    bucket = await opened.makeBucket("plain");
    await put("one");
    const other = await opened.another();
    const renew = opened.session.renew.bind(opened.session);
    opened.session.renew = async () => {
      await put("two", other);
      await renew();
    };
    once("unheard");
    expect(await remove()).toMatchObject({ kind: "removed" });
    expect(await texts()).toEqual(["two"]);
  });

  test("while the session cannot be renewed the bytes stay, and are left to the sweep once it can", async () => {
    const { store, data } = opened;
    store.fault = () => "lost";
    await expect(put("one")).rejects.toThrow(OutcomeUnknown);
    expect(data.underWay).toBe(1);
    store.fault = undefined;
    await expect.poll(() => data.underWay).toBe(0);
    expect(data.stored.size).toBe(1);
  });

  test("when the index is full, objects can still be removed and nothing else be done (R20)", async () => {
    bucket = await opened.makeBucket("plain");
    await put("one");
    opened.store.fault = () => "full";
    await expect(put("two")).rejects.toThrow(Unavailable);
    expect(await remove()).toMatchObject({ kind: "removed" });
    expect(await texts()).toEqual([]);
    // The bytes have no trash key: garbage collection finds them.
    expect(await all(opened.store, KEY.trash)).toEqual([]);
  });

  test("before it is full, removals leave no trash where they can do without (R20)", async () => {
    const versioned = bucket;
    bucket = await opened.makeBucket("plain");
    await put("one");
    opened.room.isTight = true;
    expect(await remove()).toMatchObject({ kind: "removed" });
    expect(await texts()).toEqual([]);
    expect(await all(opened.store, KEY.trash)).toEqual([]);
    bucket = versioned;
    await put("one");
    const { version } = (await put("two")) as Stored;
    // The version below must be put in its place.
    expect(await remove(version.versionId)).toMatchObject({ kind: "removed" });
    expect(await all(opened.store, KEY.trash)).toHaveLength(1);
    expect(await texts()).toEqual(["one"]);
  });

  test("nor can a removal from a full index land after it was answered", async () => {
    bucket = await opened.makeBucket("plain");
    await put("one");
    let isDelayed = false;
    opened.store.fault = ({ put: puts }) => {
      if (puts.some(isOfObject)) return "full";
      if (isDelayed || puts.length > 0) return undefined;
      isDelayed = true;
      return "delayed";
    };
    // It was fenced and did not take effect, so it is made again.
    expect(await remove()).toMatchObject({ kind: "removed" });
    expect(isDelayed).toBe(true);
    opened.store.fault = undefined;
    await put("two");
    expect(opened.store.deliverDelayed().map(({ kind }) => kind)).toEqual(["conflict"]);
    expect(await texts()).toEqual(["two"]);
  });

  test("a removal from a full index that landed unheard is not claimed", async () => {
    bucket = await opened.makeBucket("plain");
    await put("one");
    opened.store.fault = ({ put: puts }) => {
      if (puts.some(isOfObject)) return "full";
      return puts.length > 0 ? undefined : "unheard";
    };
    await expect(remove()).rejects.toThrow(OutcomeUnknown);
    opened.store.fault = undefined;
    expect(await texts()).toEqual([]);
  });

  test("under any faults an answered PUT is there once, an unanswered one at most once, and nothing comes late", async () => {
    const fault = fc.constantFrom<(CommitFault | undefined)[]>(
      undefined,
      undefined,
      undefined,
      "unheard",
      "lost",
      "delayed",
    );
    const property = fc.asyncProperty(
      fc.integer(),
      fc.array(fault, { minLength: 5, maxLength: 60, size: "max" }),
      async (seed, faults) => {
        opened = await openLayer(seed);
        bucket = await opened.makeBucket("bucket", "enabled");
        const processes = [opened, await opened.another()];
        const random = new SeededRandom(seed);
        let next = 0;
        opened.store.fault = () => {
          next += 1;
          return faults[next - 1];
        };
        const answered: string[] = [];
        await Promise.allSettled(
          Array.from({ length: 12 }, async (_, index) => {
            await setTimeout(Math.floor(random.fraction() * 3));
            await put(`text ${index}`, processes[index % 2]);
            answered.push(`text ${index}`);
          }),
        );
        opened.store.fault = undefined;
        await Promise.all(processes.map(async ({ session }) => session.renew()));
        const before = await texts();
        for (const outcome of opened.store.deliverDelayed()) expect(outcome.kind).toBe("conflict");
        expect(await texts()).toEqual(before);
        expect(new Set(before).size).toBe(before.length);
        expect(before).toEqual(expect.arrayContaining(answered));
        expect(await brokenInvariants(opened.store, bucket.id)).toEqual([]);
      },
    );
    await expect(fc.assert(property, { numRuns: rounds(60) })).resolves.toBeUndefined();
  });
});

test("once the session has ended a PUT is refused at its first attempt, and stays so", async () => {
  await opened.store.endSession(opened.session.id);
  let attempts = 0;
  opened.store.fault = (commit) => {
    if (commit.put.some(isOfObject)) attempts += 1;
    return undefined;
  };
  const refused = put("one");
  await expect(refused).rejects.toThrow(Unavailable);
  await expect(refused).rejects.toThrow("session");
  expect(attempts).toBe(1);
});

describe("many at once", () => {
  test("60 PUTs of one key make 60 versions, each in its place", async () => {
    const other = await opened.another();
    const names = Array.from({ length: 60 }, (_, index) => `text ${index}`);
    await Promise.all(
      names.map(async (name, index) => put(name, index % 2 === 0 ? opened : other)),
    );
    expect((await texts()).toSorted()).toEqual(names.toSorted());
    expect(await brokenInvariants(opened.store, bucket.id)).toEqual([]);
  });

  test("PUTs and DELETEs of one key leave one of them on top and no bytes unaccounted for", async () => {
    bucket = await opened.makeBucket("plain");
    const { data, store, layer, signal } = opened;
    await Promise.all(
      Array.from({ length: 40 }, async (_, index) =>
        index % 3 === 0 ? remove() : put(`text ${index}`),
      ),
    );
    expect((await texts()).length).toBeLessThan(2);
    expect(data.underWay).toBe(0);
    const trash = await all(store, KEY.trash);
    expect(data.stored.size).toBe(trash.length + (await texts()).length);
    for (const { owner, extent } of data.stored.values()) {
      const write = { ...owner, writeId: extent.writeId };
      expect(await layer.references.isReferenced(write, signal)).toBe(true);
    }
  });

  test("of many PUTs that want to be the first exactly one is (edge rule 3)", async () => {
    const other = await opened.another();
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, async (_, index) => {
        const { layer, signal } = index % 2 === 0 ? opened : other;
        return layer.put({
          bucket,
          key: "k",
          body: new TestBody(`text ${index}`),
          attributes: ATTRIBUTES,
          precondition: mustBeAbsent,
          signal,
        });
      }),
    );
    expect(outcomes.filter(({ status }) => status === "fulfilled").length).toBe(1);
    expect((await texts()).length).toBe(1);
    expect(opened.data.stored.size).toBe(1);
  });

  test("a condition that fails is told before the body is taken in", async () => {
    await put("one");
    const { layer, signal } = opened;
    const body = new TestBody("two");
    body[Symbol.asyncIterator] = () => {
      throw new Error("the body was read");
    };
    const request = { bucket, key: "k", body, attributes: ATTRIBUTES, signal };
    await expect(layer.put({ ...request, precondition: mustBeAbsent })).rejects.toThrow(
      "there is one",
    );
  });

  test("changes of tags at once are each made on what the other left", async () => {
    await put("one");
    const { layer, signal } = opened;
    const add = async (key: string) =>
      layer.update({
        bucket,
        key: "k",
        versionId: undefined,
        change: ({ tags }) => ({ tags: [...tags, { key, value: "" }] }),
        signal,
      });
    await Promise.all(["a", "b", "c", "d"].map(add));
    const version = await layer.find({ bucket, key: "k", versionId: undefined, signal });
    expect(version?.tags.map(({ key }) => key).toSorted()).toEqual(["a", "b", "c", "d"]);
  });
});

function mustBeAbsent(current: unknown): void {
  if (current !== undefined) throw new Error("there is one");
}

test("while the watch tells nothing, a move of the bytes' places refuses one PUT and not the next ones", async () => {
  const metadata = new DeafMetadata();
  await using bench = await DataPlaneBench.open({ codec: "replica-3", disks: 3, metadata });
  const { signal } = new AbortController();
  const { session, data } = bench;
  const random = new SeededRandom(1);
  const clock = new SkippingClock();
  const parts = { store: metadata, data, session, clock, random, lifetime: signal };
  const layer = createObjectLayer(parts);
  const made = await layer.buckets.create({
    name: "moving",
    ownerId: "owner",
    region: "",
    ownership: "BucketOwnerEnforced",
    acl: "private",
    signal,
  });
  await bench.add();
  const refused: string[] = [];
  for (let count = 0; count < 20; count++) {
    const body = new TestBody(`text ${count}`);
    const key = `k${count}`;
    const putting = layer.put({ bucket: made.bucket, key, body, attributes: ATTRIBUTES, signal });
    await putting.catch((error: unknown) => refused.push((error as Error).message));
  }
  expect(refused).toEqual(["Cannot commit: the bytes' placement changed while they were written"]);
});

/** Its watches tell nothing. */
class DeafMetadata extends MemoryMetadata {
  override watch(_: Uint8Array, signal: AbortSignal): AsyncIterable<WatchEvent> {
    return super.watch(Buffer.from("nothing is here"), signal);
  }
}
