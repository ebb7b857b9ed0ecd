import { beforeEach, describe, expect, test } from "vitest";
import type { Bucket } from "#objects/model.ts";
import { TestBody } from "#objects/testing/memory-data-plane.ts";
import { ATTRIBUTES, openLayer, type TestLayer } from "#objects/testing/open-layer.ts";

let opened: TestLayer;
let reads: number;

beforeEach(async () => {
  opened = await openLayer();
  await opened.makeBucket("bucket");
  await put("k", "one");
  reads = 0;
  const { store } = opened;
  for (const name of ["get", "getMany"] as const) {
    const read = store[name].bind(store) as (...request: never[]) => never;
    store[name] = (...request: never[]) => {
      reads += 1;
      return read(...request);
    };
  }
});

async function bucketFor(key?: string, isToChange = false): Promise<Bucket> {
  const question = key === undefined ? undefined : { key, isToChange };
  const bucket = await opened.layer.buckets.get("bucket", opened.signal, question);
  if (!bucket) throw new Error("no bucket");
  return bucket;
}

async function put(key: string, text: string): Promise<void> {
  const { layer, signal } = opened;
  const bucket = await bucketFor();
  await layer.put({ bucket, key, body: new TestBody(text), attributes: ATTRIBUTES, signal });
}

async function sizeOf(bucket: Bucket, key = "k"): Promise<number | undefined> {
  return (await opened.layer.find({ bucket, key, versionId: undefined, signal: opened.signal }))
    ?.size;
}

async function remove(bucket: Bucket, key = "k") {
  return opened.layer.remove({
    bucket,
    key,
    versionId: undefined,
    ownerId: "me",
    signal: opened.signal,
  });
}

describe("a key that is named when its bucket is asked for", () => {
  test("is found without asking again; where there is none the index is asked for a delete marker too", async () => {
    expect(await sizeOf(await bucketFor("k"))).toBe(3);
    expect(reads).toBe(1);
    expect(await sizeOf(await bucketFor("other"), "other")).toBe(undefined);
    expect(reads).toBe(3);
  });

  test("is as it was then for the first who asks, and as it is for the second", async () => {
    const bucket = await bucketFor("k");
    await put("k", "three");
    expect(await sizeOf(bucket)).toBe(3);
    expect(await sizeOf(bucket)).toBe(5);
  });

  test("says nothing of another key", async () => {
    const bucket = await bucketFor("other");
    expect(await sizeOf(bucket)).toBe(3);
  });

  test("is removed with no further read, and only as it was seen: a newer one is looked at first", async () => {
    await remove(await bucketFor("k", true));
    expect(reads).toBe(1);
    expect(await sizeOf(await bucketFor())).toBe(undefined);
    await put("k", "four");
    const bucket = await bucketFor("k", true);
    await put("k", "newer");
    expect((await remove(bucket)).kind).toBe("removed");
    expect(await sizeOf(await bucketFor())).toBe(undefined);
  });

  test("is not one of a bucket that had the name before", async () => {
    await bucketFor("k");
    const { layer, signal } = opened;
    await remove(await bucketFor());
    await layer.buckets.remove(await bucketFor(), signal);
    const request = { name: "bucket", ownerId: "me", region: "", signal } as const;
    const made = { ...request, ownership: "BucketOwnerEnforced", acl: "private" } as const;
    const { bucket } = await layer.buckets.create(made);
    const body = new TestBody("of the second");
    await layer.put({ bucket, key: "k", body, attributes: ATTRIBUTES, signal });
    // The first bucket's id is what this process knows until it asks.
    const known = await bucketFor("k");
    expect(await sizeOf(known)).toBe(13);
  });

  test("takes no write into a bucket that is gone by then", async () => {
    const { layer, signal } = opened;
    await remove(await bucketFor());
    const bucket = await bucketFor("k", true);
    await layer.buckets.remove(await bucketFor(), signal);
    expect((await remove(bucket)).kind).toBe("removed");
    const again = await remove(bucket);
    expect(again.kind).toBe("no-such-bucket");
  });
});
