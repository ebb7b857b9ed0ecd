import { beforeEach, describe, expect, test } from "vitest";
import { KEY } from "#metadata/keys.ts";
import type { CommitFault } from "#metadata/memory.ts";
import { OutcomeUnknown } from "#objects/commits.ts";
import type { Bucket } from "#objects/model.ts";
import { all } from "#objects/testing/invariants.ts";
import { TestBody } from "#objects/testing/memory-data-plane.ts";
import { ATTRIBUTES, openLayer, type TestLayer } from "#objects/testing/open-layer.ts";
import { partBytes, TestUpload } from "#objects/testing/uploads.ts";

let opened: TestLayer;
let bucket: Bucket;

beforeEach(async () => {
  opened = await openLayer();
  bucket = await opened.makeBucket();
});

async function create(
  name: string,
  ownerId = "owner",
): ReturnType<TestLayer["layer"]["buckets"]["create"]> {
  const { layer, signal } = opened;
  const request = {
    name,
    ownerId,
    region: "eu-north-1",
    ownership: "ObjectWriter",
    acl: "private",
  } as const;
  return layer.buckets.create({ ...request, signal });
}

async function put(key = "k", into = bucket): Promise<string> {
  const { layer, signal } = opened;
  const request = { bucket: into, key, body: new TestBody("text"), attributes: ATTRIBUTES, signal };
  return (await layer.put(request)).kind;
}

async function remove(): ReturnType<TestLayer["layer"]["buckets"]["remove"]> {
  return opened.layer.buckets.remove(bucket, opened.signal);
}

/** Lets the removal begin, and its process die. */
async function removeHalfWay(): Promise<void> {
  let commits = 0;
  opened.store.fault = () => {
    commits += 1;
    if (commits > 1) throw new Error("the process died");
    return undefined;
  };
  await expect(remove()).rejects.toThrow("the process died");
  opened.store.fault = undefined;
}

/** Befalls the first commit that changes a bucket; `meanwhile` comes to pass before this process knows what became of it. */
function once(fault: CommitFault, meanwhile: () => Promise<unknown> = async () => undefined): void {
  let isDone = false;
  opened.store.fault = ({ put: puts, remove: removed }) => {
    const keys = [...puts.map(({ key }) => key), ...removed];
    if (isDone || !keys.some(([kind]) => kind === KEY.bucket || kind === KEY.state)) {
      return undefined;
    }
    isDone = true;
    return fault;
  };
  const renew = opened.session.renew.bind(opened.session);
  opened.session.renew = async () => {
    await meanwhile();
    await renew();
  };
}

describe("a change of a bucket without an answer", () => {
  test("a creation that landed unheard is answered once", async () => {
    once("unheard");
    const made = await create("new");
    expect(made.kind).toBe("created");
    expect(await opened.layer.buckets.get("new", opened.signal)).toEqual(made.bucket);
  });

  test("a creation that landed unheard and was configured since is known for ours", async () => {
    const other = await opened.another();
    once("unheard", async () => {
      const found = await other.layer.buckets.get("new", other.signal);
      if (found === undefined) throw new Error("It is not there");
      await other.layer.buckets.update(found, () => ({ acl: "public-read" }), other.signal);
    });
    expect((await create("new")).kind).toBe("created");
    expect(await opened.layer.buckets.get("new", opened.signal)).toMatchObject({
      acl: "public-read",
    });
  });

  test("a bucket whose creation landed unheard and that was removed since does not come back", async () => {
    const other = await opened.another();
    once("unheard", async () => {
      const found = await other.layer.buckets.get("new", other.signal);
      if (found === undefined) throw new Error("It is not there");
      expect(await other.layer.buckets.remove(found, other.signal)).toBe("removed");
    });
    await expect(create("new")).rejects.toThrow(OutcomeUnknown);
    expect(await opened.layer.buckets.get("new", opened.signal)).toBeUndefined();
  });

  test("another one's bucket of the name is not taken for it", async () => {
    const other = await opened.another();
    once("lost", async () => other.makeBucket("new"));
    await expect(create("new")).rejects.toThrow(OutcomeUnknown);
    expect((await create("new")).kind).toBe("exists");
  });

  test("a removal that landed unheard does not take the next bucket of its name with it", async () => {
    const other = await opened.another();
    let renewals = 0;
    // Of its two commits, DELETING and the end, the second.
    opened.store.fault = ({ remove: removed }) => {
      if (renewals > 0 || !removed.some(([kind]) => kind === KEY.state)) return undefined;
      return "unheard";
    };
    const renew = opened.session.renew.bind(opened.session);
    opened.session.renew = async () => {
      renewals += 1;
      await other.makeBucket(bucket.name);
      await renew();
    };
    expect(await remove()).toBe("removed");
    expect(renewals).toBe(1);
    const next = await opened.layer.buckets.get(bucket.name, opened.signal);
    expect(next?.id).not.toBe(bucket.id);
    expect(next).toBeDefined();
  });
});

describe("buckets", () => {
  test("of two creations of one name one makes it and the other finds it", async () => {
    const outcomes = await Promise.all([create("new", "one"), create("new", "two")]);
    expect(outcomes.map(({ kind }) => kind).toSorted()).toEqual(["created", "exists"]);
    expect(outcomes[0].bucket).toEqual(outcomes[1].bucket);
    expect(await opened.layer.buckets.get("new", opened.signal)).toEqual(outcomes[0].bucket);
  });

  test("are listed by name, by prefix, by owner and in pages", async () => {
    await create("b1", "me");
    await create("b2", "you");
    await create("b3", "me");
    await create("c", "me");
    const { layer, signal } = opened;
    const names = async (request: {
      ownerId?: string;
      prefix?: string;
      after?: string;
      limit?: number;
    }) => {
      const page = await layer.buckets.list({
        ownerId: undefined,
        prefix: "",
        after: "",
        limit: 10,
        ...request,
        signal,
      });
      return [...page.buckets.map(({ name }) => name), page.isTruncated];
    };
    expect(await names({})).toEqual(["b1", "b2", "b3", "bucket", "c", false]);
    expect(await names({ ownerId: "me" })).toEqual(["b1", "b3", "c", false]);
    expect(await names({ ownerId: "me", limit: 2 })).toEqual(["b1", "b3", true]);
    expect(await names({ prefix: "b", after: "b2" })).toEqual(["b3", "bucket", false]);
  });

  test("a change of configuration is made on what is stored and fails no write under way", async () => {
    const { layer, signal, store } = opened;
    const change = async (key: string) =>
      layer.buckets.update(
        bucket,
        ({ tags }) => ({ tags: [...(tags ?? []), { key, value: "" }] }),
        signal,
      );
    await Promise.all([change("a"), change("b"), change("c")]);
    const current = await layer.buckets.get("bucket", signal);
    expect(current?.tags?.map(({ key }) => key).toSorted()).toEqual(["a", "b", "c"]);
    let commits = 0;
    store.fault = () => {
      commits += 1;
      return undefined;
    };
    await Promise.all([put(), change("d")]);
    expect(commits).toBe(2);
  });

  test("a PUT under way obeys the versioning that its commit finds", async () => {
    const { layer, signal } = opened;
    await put();
    await layer.buckets.update(bucket, () => ({ versioning: "enabled" }), signal);
    // Still with the bucket as it was read before.
    await put();
    const request = { bucket, prefix: "", delimiter: "", after: "", limit: 10, signal };
    const { entries } = await layer.listVersions({ ...request, afterVersionId: undefined });
    expect(entries.length).toBe(2);
  });

  test("a bucket with an object, a version or a marker is not removed (edge rule 17)", async () => {
    bucket = await opened.makeBucket("versioned", "enabled");
    const { layer, signal } = opened;
    await put();
    expect(await remove()).toBe("not-empty");
    const gone = await layer.remove({
      bucket,
      key: "k",
      versionId: undefined,
      ownerId: "me",
      signal,
    });
    expect(await remove()).toBe("not-empty");
    const request = { bucket, prefix: "", delimiter: "", after: "", limit: 10, signal };
    const { entries } = await layer.listVersions({ ...request, afterVersionId: undefined });
    for (const entry of entries) {
      if (entry.kind === "prefix") continue;
      const { key, versionId } = entry.item.version;
      await layer.remove({ bucket, key, versionId, ownerId: "me", signal });
    }
    expect(gone.kind).toBe("removed");
    expect(await remove()).toBe("removed");
    expect(await remove()).toBe("missing");
    expect(await layer.buckets.get("versioned", signal)).toBeUndefined();
  });

  test("open uploads are aborted with their bucket, and their bytes become trash", async () => {
    const upload = await TestUpload.begin(opened, bucket);
    await upload.put(1, partBytes(1, 100));
    expect(await remove()).toBe("removed");
    expect(await all(opened.store, KEY.upload)).toEqual([]);
    expect(await all(opened.store, KEY.part)).toEqual([]);
    expect((await all(opened.store, KEY.trash)).length).toBe(1);
  });

  test("a bucket made again under the same name sees nothing of the one before (edge rule 32)", async () => {
    await remove();
    const again = await create("bucket");
    expect(again.kind).toBe("created");
    expect(again.bucket.id).not.toBe(bucket.id);
    expect(await put("late")).toBe("no-such-bucket");
    expect(opened.data.stored.size).toBe(0);
    const upload = opened.layer.uploads.create({
      bucket,
      key: "late",
      initiatorId: "me",
      attributes: ATTRIBUTES,
      checksumAlgorithm: undefined,
      checksumType: undefined,
      signal: opened.signal,
    });
    expect((await upload).kind).toBe("no-such-bucket");
    expect(await put("k", again.bucket)).toBe("stored");
  });

  test("a removal that died half-way is finished by the next DeleteBucket", async () => {
    await removeHalfWay();
    expect(await remove()).toBe("removed");
  });

  test("a removal that died half-way is finished by the next CreateBucket", async () => {
    await removeHalfWay();
    const again = await create("bucket");
    expect(again.kind).toBe("created");
    expect(again.bucket.id).not.toBe(bucket.id);
  });

  test("a removal that died half-way is finished by a writer, which then finds no bucket", async () => {
    await removeHalfWay();
    expect(await put()).toBe("no-such-bucket");
  });

  test("PUT and DeleteBucket at once: the object is in a bucket or refused, never in one that is gone", async () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 40; seed += 1) {
      opened = await openLayer(seed);
      bucket = await opened.makeBucket();
      const pause = async () => {
        for (let turns = 0; turns < seed; turns += 1) await Promise.resolve();
      };
      const [stored, removed] = await Promise.all([put(), pause().then(remove)]);
      seen.add(`${stored} ${removed}`);
      expect([stored, removed]).toBeOneOf([
        ["stored", "not-empty"],
        ["no-such-bucket", "removed"],
      ]);
      expect((await all(opened.store, KEY.live)).length).toBe(stored === "stored" ? 1 : 0);
      const current = await opened.layer.buckets.get("bucket", opened.signal);
      expect(current === undefined).toBe(removed === "removed");
    }
    expect(seen.size).toBe(2);
  });
});
