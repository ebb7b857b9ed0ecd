import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { rounds } from "#lib/testing/rounds.ts";
import { TestBody } from "#objects/testing/memory-data-plane.ts";
import { ATTRIBUTES, openLayer } from "#objects/testing/open-layer.ts";
import { step, Twins } from "#objects/testing/twins.ts";

describe("versions", () => {
  test("whatever is done to a bucket, it stays what a simple model says", async () => {
    const property = fc.asyncProperty(
      fc.constantFrom("unversioned" as const, "enabled" as const, "suspended" as const),
      fc.array(step, { minLength: 1, maxLength: 40, size: "max" }),
      fc.integer(),
      async (versioning, steps, seed) => {
        const layer = await openLayer(seed);
        const twins = new Twins(layer, await layer.makeBucket("bucket", versioning));
        for (const change of steps) await twins.apply(change);
      },
    );
    await expect(fc.assert(property, { numRuns: rounds(100) })).resolves.toBeUndefined();
  });
});

/** Three versions of a key, newest first; the newest is removed when the next one is looked for among the older ones. */
async function threeVersions() {
  const opened = await openLayer();
  const { layer, store, signal } = opened;
  const bucket = await opened.makeBucket("bucket", "enabled");
  const ids: string[] = [];
  for (const text of ["one", "two", "three"]) {
    const body = new TestBody(text);
    const put = await layer.put({ bucket, key: "k", body, attributes: ATTRIBUTES, signal });
    if (put.kind === "stored") ids.unshift(put.version.versionId);
  }
  const of = (versionId: string | undefined) => ({ bucket, key: "k", versionId, signal });
  const remove = (versionId: string | undefined) =>
    layer.remove({ ...of(versionId), ownerId: "me" });
  const get = store.get.bind(store);
  store.get = async (key, abort) => {
    store.get = get;
    await remove(ids[0]);
    return get(key, abort);
  };
  return { layer, ids, of, remove };
}

const RED = { tags: [{ key: "colour", value: "red" }] };

describe("a version that becomes current while it is looked for", () => {
  test("is removed when that was asked for", async () => {
    const { layer, ids, of, remove } = await threeVersions();
    await remove(ids[1]);
    expect(await layer.find(of(ids[1]))).toBeUndefined();
    expect((await layer.find(of(undefined)))?.versionId).toBe(ids[2]);
  });

  test("is changed when that was asked for", async () => {
    const { layer, ids, of } = await threeVersions();
    const updated = await layer.update({ ...of(ids[1]), change: () => RED });
    expect(updated.kind).toBe("updated");
    expect((await layer.find(of(undefined)))?.tags).toEqual(RED.tags);
  });
});
