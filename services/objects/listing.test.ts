import * as fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { rounds } from "#lib/testing/rounds.ts";
import type { Bucket } from "#objects/model.ts";
import { listedNames } from "#objects/testing/bucket-model.ts";
import { TestBody } from "#objects/testing/memory-data-plane.ts";
import { ATTRIBUTES, openLayer, type TestLayer } from "#objects/testing/open-layer.ts";

let opened: TestLayer;
let bucket: Bucket;

beforeEach(async () => {
  opened = await openLayer();
  bucket = await opened.makeBucket();
});

async function put(key: string): Promise<void> {
  const { layer, signal } = opened;
  await layer.put({ bucket, key, body: new TestBody(""), attributes: ATTRIBUTES, signal });
}

async function begin(key: string): Promise<string> {
  const { layer, signal } = opened;
  const created = await layer.uploads.create({
    bucket,
    key,
    initiatorId: "me",
    attributes: ATTRIBUTES,
    checksumAlgorithm: undefined,
    checksumType: undefined,
    signal,
  });
  return created.kind === "created" ? created.upload.uploadId : "";
}

interface Shown {
  readonly prefix: string;
  readonly delimiter: string;
  readonly limit: number;
}

/** All pages of objects, by name; common prefixes with a star. */
async function listAll(request: Shown & { after: string }): Promise<readonly string[]> {
  const { layer, signal } = opened;
  const names: string[] = [];
  let { after } = request;
  for (;;) {
    const page = await layer.list({ ...request, bucket, after, signal });
    names.push(
      ...page.entries.map((entry) => (entry.kind === "item" ? entry.item.key : `${entry.prefix}*`)),
    );
    const last = page.entries.at(-1);
    if (!page.isTruncated || last === undefined) return names;
    after = last.kind === "item" ? last.item.key : last.prefix;
  }
}

/** Entries that the index was asked to hand over. */
function countEntries(): () => number {
  const range = opened.store.range.bind(opened.store);
  let entries = 0;
  opened.store.range = async (request, signal) => {
    const page = await range(request, signal);
    entries += page.entries.length;
    return page;
  };
  return () => entries;
}

const name = fc.string({
  unit: fc.constantFrom("a", "b", "/", "\uFF5E", "\u{1F600}"),
  minLength: 1,
  maxLength: 4,
});

describe("listings", () => {
  test("pages of any size show what a simple model shows, in the order of UTF-8", async () => {
    const property = fc.asyncProperty(
      fc.uniqueArray(name, { maxLength: 60, size: "max" }),
      fc.record({
        prefix: fc.constantFrom("", "a", "a/", "\u{1F600}", "/"),
        delimiter: fc.constantFrom("", "/", "b", "a/", "\u{1F600}"),
        limit: fc.integer({ min: 1, max: 7 }),
        after: fc.oneof(fc.constant(""), name),
      }),
      async (keys, request) => {
        opened = await openLayer();
        bucket = await opened.makeBucket();
        for (const key of keys) await put(key);
        const sorted = keys.toSorted((one, other) =>
          Buffer.compare(Buffer.from(one), Buffer.from(other)),
        );
        expect(await listAll(request)).toEqual(listedNames(sorted, request));
      },
    );
    await expect(fc.assert(property, { numRuns: rounds(150) })).resolves.toBeUndefined();
  });

  test("a page of folders costs a few entries a folder, however many objects are in each", async () => {
    for (let folder = 0; folder < 20; folder += 1) {
      for (let index = 0; index < 100; index += 1) await put(`${folder}/${index}`);
    }
    const entries = countEntries();
    const names = await listAll({ prefix: "", delimiter: "/", limit: 1000, after: "" });
    expect(names.length).toBe(20);
    expect(entries()).toBeLessThan(20 * 8);
  });

  test("a page without delimiter reads one entry more than it shows", async () => {
    for (let index = 0; index < 300; index += 1) await put(`k${index}`);
    const entries = countEntries();
    const { layer, signal } = opened;
    const request = { bucket, prefix: "", delimiter: "", after: "", limit: 100, signal };
    expect((await layer.list(request)).isTruncated).toBe(true);
    expect(entries()).toBe(101);
  });

  test("objects side by side with folders are read in growing batches", async () => {
    for (let index = 0; index < 1000; index += 1) await put(`k${index}`);
    const entries = countEntries();
    await listAll({ prefix: "", delimiter: "/", limit: 1000, after: "" });
    expect(entries()).toBeLessThan(1100);
  });

  test("a page of nothing is empty and says that it is the last", async () => {
    await put("a");
    const { layer, signal } = opened;
    const request = { bucket, prefix: "", delimiter: "", after: "", limit: 0, signal };
    expect(await layer.list(request)).toEqual({ entries: [], isTruncated: false });
    expect(await layer.listVersions({ ...request, afterVersionId: undefined })).toEqual({
      entries: [],
      isTruncated: false,
    });
  });

  test("delete markers hide their objects and cost a listing nothing", async () => {
    bucket = await opened.makeBucket("versioned", "enabled");
    const { layer, signal } = opened;
    for (let index = 0; index < 50; index += 1) {
      await put(`k${index}`);
      const gone = { bucket, key: `k${index}`, versionId: undefined, ownerId: "me", signal };
      if (index < 49) await layer.remove(gone);
    }
    const entries = countEntries();
    expect(await listAll({ prefix: "", delimiter: "", limit: 10, after: "" })).toEqual(["k49"]);
    expect(entries()).toBe(1);
  });

  test("the first page of versions costs the same behind one key of 2,000 versions as anywhere", async () => {
    bucket = await opened.makeBucket("versioned", "enabled");
    for (let index = 0; index < 2000; index += 1) await put("a");
    for (let index = 0; index < 100; index += 1) await put(`b${index}`);
    const entries = countEntries();
    const { layer, signal } = opened;
    const request = { bucket, prefix: "", delimiter: "", after: "", limit: 50, signal };
    const page = await layer.listVersions({ ...request, afterVersionId: undefined });
    expect(page.entries.length).toBe(50);
    expect(entries()).toBeLessThan(120);
    await layer.list(request);
    expect(entries()).toBeLessThan(180);
  });

  test("uploads are listed by key and then by initiation, with prefix, delimiter and markers (edge rule 8)", async () => {
    const first = await begin("a/1");
    opened.clock.advance(1);
    const second = await begin("a/1");
    await begin("a/2");
    await begin("b");
    const { layer, signal } = opened;
    const base = { bucket, prefix: "", delimiter: "", after: "", afterUploadId: undefined, signal };
    const keys = async (request: Partial<Parameters<typeof layer.uploads.list>[0]>) =>
      (await layer.uploads.list({ ...base, limit: 10, ...request })).entries.map((entry) =>
        entry.kind === "item" ? `${entry.item.key} ${entry.item.uploadId === first}` : entry.prefix,
      );
    expect(await keys({})).toEqual(["a/1 true", "a/1 false", "a/2 false", "b false"]);
    expect(await keys({ after: "a/1", afterUploadId: first })).toEqual([
      "a/1 false",
      "a/2 false",
      "b false",
    ]);
    expect(await keys({ after: "a/1", afterUploadId: second })).toEqual(["a/2 false", "b false"]);
    expect(await keys({ after: "a/1" })).toEqual(["a/2 false", "b false"]);
    expect(await keys({ delimiter: "/" })).toEqual(["a/", "b false"]);
    expect(await keys({ delimiter: "/", after: "a/" })).toEqual(["b false"]);
    expect(await keys({ prefix: "a/", limit: 2 })).toEqual(["a/1 true", "a/1 false"]);
  });

  test("version listings stay whole while versions move between the ranges", async () => {
    bucket = await opened.makeBucket("versioned", "suspended");
    const { layer, signal, store } = opened;
    const range = store.range.bind(store);
    let moves = 0;
    // Between any two reads of the listing the key's only version turns from object to marker and back.
    store.range = async (request, abort) => {
      if (moves < 200 && request.limit > 1) {
        moves += 1;
        if (moves % 2 === 0) await put("k");
        else await layer.remove({ bucket, key: "k", versionId: undefined, ownerId: "me", signal });
      }
      return range(request, abort);
    };
    await put("k");
    await layer.buckets.update(bucket, () => ({ versioning: "enabled" }), signal);
    await put("k");
    const request = { bucket, prefix: "", delimiter: "", after: "", limit: 1000, signal };
    for (let round = 0; round < 10; round += 1) {
      const { entries } = await layer.listVersions({ ...request, afterVersionId: undefined });
      const versions = entries.map((entry) => (entry.kind === "item" ? entry.item : undefined));
      const sequences = versions.map((listed) => listed?.version.sequence ?? 0);
      expect(versions.filter((listed) => listed?.isLatest).length).toBe(1);
      expect(new Set(sequences).size).toBe(sequences.length);
      expect(sequences).toEqual(sequences.toSorted((one, other) => other - one));
      // Nothing is ever removed, so no number between the newest and the oldest is missing.
      expect((sequences[0] ?? 0) - (sequences.at(-1) ?? 0)).toBe(sequences.length - 1);
    }
  });
});
