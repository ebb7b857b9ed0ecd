/** Random changes of a bucket and of its model side by side, compared in everything that can be asked of them. */
import { deepStrictEqual as deepEqual, equal, partialDeepStrictEqual } from "node:assert/strict";
import * as fc from "fast-check";
import { KEY } from "#metadata/keys.ts";
import type { Bucket } from "#objects/model.ts";
import type { ListEntry, ListedVersion } from "#objects/object-layer.ts";
import { BucketModel, listedNames } from "#objects/testing/bucket-model.ts";
import { all, brokenInvariants } from "#objects/testing/invariants.ts";
import { TestBody } from "#objects/testing/memory-data-plane.ts";
import { ATTRIBUTES, type TestLayer } from "#objects/testing/open-layer.ts";
import { isVersionId } from "#objects/versions.ts";

/** Prefixes of each other, folders, and characters whose order differs between UTF-8 and UTF-16. */
export const KEYS = ["a", "a/", "a/b", "a/b/c", "a0", "b", "\uFF5E", "\u{1F600}", "\u{1F600}/x"];

export type Step =
  | { readonly kind: "put"; readonly key: string; readonly body: string }
  | { readonly kind: "delete"; readonly key: string }
  | { readonly kind: "delete-version"; readonly key: string; readonly pick: number }
  | { readonly kind: "copy"; readonly from: string; readonly to: string; readonly pick: number }
  | { readonly kind: "tag"; readonly key: string; readonly pick: number; readonly tag: string }
  | { readonly kind: "versioning"; readonly versioning: "enabled" | "suspended" }
  | {
      readonly kind: "list";
      readonly prefix: string;
      readonly delimiter: string;
      readonly limit: number;
    };

/** Mostly one key, so that it gets a history. */
const key = fc.oneof(
  { weight: 5, arbitrary: fc.constant("a") },
  { weight: 1, arbitrary: fc.constantFrom(...KEYS) },
);
const pick = fc.nat(4);
export const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant("put" as const), key, body: fc.string() }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("delete" as const), key }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("delete-version" as const), key, pick }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("copy" as const), from: key, to: key, pick }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("tag" as const), key, pick, tag: fc.string() }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("versioning" as const),
      versioning: fc.constantFrom("enabled" as const, "suspended" as const),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("list" as const),
      prefix: fc.constantFrom("", "a", "a/", "\u{1F600}"),
      delimiter: fc.constantFrom("", "/", "b/"),
      limit: fc.integer({ min: 1, max: 4 }),
    }),
  },
);

/** A bucket and its model, changed side by side. */
export class Twins {
  readonly #test: TestLayer;
  #bucket: Bucket;
  readonly #model: BucketModel;

  constructor(layer: TestLayer, bucket: Bucket) {
    this.#test = layer;
    this.#bucket = bucket;
    this.#model = new BucketModel(bucket.versioning);
  }

  async apply(change: Step): Promise<void> {
    switch (change.kind) {
      case "put":
        await this.#put(change.key, change.body);
        break;
      case "delete":
        await this.#delete(change.key);
        break;
      case "delete-version":
        await this.#deleteVersion(change.key, change.pick);
        break;
      case "copy":
        await this.#copy(change);
        break;
      case "tag":
        await this.#tag(change);
        break;
      case "versioning":
        await this.#setVersioning(change.versioning);
        break;
      case "list":
        await this.#list(change);
        break;
    }
    await this.check();
  }

  async #put(name: string, text: string): Promise<void> {
    const { layer, signal } = this.#test;
    const stored = await layer.put({
      bucket: this.#bucket,
      key: name,
      body: new TestBody(text),
      attributes: ATTRIBUTES,
      signal,
    });
    if (stored.kind !== "stored") throw new Error("the bucket is gone");
    this.#pushed(name, stored.version.versionId, text);
  }

  async #delete(name: string): Promise<void> {
    const { layer, signal } = this.#test;
    const request = { bucket: this.#bucket, key: name, versionId: undefined, ownerId: "o", signal };
    const removed = await layer.remove(request);
    if (this.#model.versioning === "unversioned") {
      deepEqual(removed, { kind: "removed", versionId: undefined, deleteMarker: false });
      this.#model.removeVersion(name, "null");
      return;
    }
    if (removed.kind !== "removed") throw new Error("the bucket is gone");
    equal(removed.deleteMarker, true);
    const versionId = removed.versionId ?? "";
    equal(versionId === "null", this.#model.versioning === "suspended");
    this.#model.push(name, { versionId, isMarker: true, body: "", tag: "" });
  }

  async #deleteVersion(name: string, at: number): Promise<void> {
    const { layer, signal } = this.#test;
    const version = this.#model.of(name)[at];
    const versionId = version?.versionId ?? "null";
    const deleteMarker = this.#model
      .of(name)
      .some((one) => one.versionId === versionId && one.isMarker);
    const request = { bucket: this.#bucket, key: name, versionId, ownerId: "o", signal };
    deepEqual(await layer.remove(request), { kind: "removed", versionId, deleteMarker });
    this.#model.removeVersion(name, versionId);
  }

  async #copy({ from, to, pick: at }: { from: string; to: string; pick: number }): Promise<void> {
    const { layer, signal } = this.#test;
    const source = this.#model.of(from)[at];
    if (source === undefined || source.isMarker) return;
    const bucket = this.#bucket;
    const version = await layer.find({ bucket, key: from, versionId: source.versionId, signal });
    if (version === undefined) throw new Error(`no version ${source.versionId} of ${from}`);
    const changes = {
      headers: undefined,
      metadata: undefined,
      tags: [],
      ownerId: "owner",
      acl: "private",
      storageClass: "STANDARD",
      checksumAlgorithm: undefined,
    } as const;
    const target = { bucket, key: to };
    const copied = await layer.copy({ source: { bucket, version }, target, changes, signal });
    if (copied.kind !== "stored") throw new Error("nothing was copied");
    partialDeepStrictEqual(copied.version, { etag: version.etag, metadata: version.metadata });
    this.#pushed(to, copied.version.versionId, source.body);
  }

  async #tag(change: { key: string; pick: number; tag: string }): Promise<void> {
    const { layer, signal } = this.#test;
    const version = this.#model.of(change.key)[change.pick];
    const updated = await layer.update({
      bucket: this.#bucket,
      key: change.key,
      versionId: version?.versionId ?? "null",
      change: () => ({ tags: [{ key: "tag", value: change.tag }] }),
      signal,
    });
    const target =
      version ?? this.#model.of(change.key).find(({ versionId }) => versionId === "null");
    equal(updated.kind, target === undefined || target.isMarker ? "missing" : "updated");
    if (target !== undefined && !target.isMarker) target.tag = change.tag;
  }

  async #setVersioning(versioning: "enabled" | "suspended"): Promise<void> {
    const { layer, signal } = this.#test;
    const updated = await layer.buckets.update(this.#bucket, () => ({ versioning }), signal);
    if (updated.kind !== "updated") throw new Error("the bucket is gone");
    this.#bucket = updated.bucket;
    this.#model.versioning = versioning;
  }

  #pushed(name: string, versionId: string, body: string): void {
    equal(isVersionId(versionId), true);
    equal(versionId === "null", this.#model.versioning !== "enabled");
    this.#model.push(name, { versionId, isMarker: false, body, tag: "" });
  }

  async #list(request: { prefix: string; delimiter: string; limit: number }): Promise<void> {
    const { layer, signal } = this.#test;
    const bucket = this.#bucket;
    const names: string[] = [];
    let after = "";
    for (;;) {
      const page = await layer.list({ ...request, bucket, after, signal });
      for (const entry of page.entries) {
        names.push(entry.kind === "item" ? entry.item.key : `${entry.prefix}*`);
      }
      const last = page.entries.at(-1);
      if (!page.isTruncated || last === undefined) break;
      equal(page.entries.length, request.limit);
      after = last.kind === "item" ? last.item.key : last.prefix;
    }
    const keys = this.#model.keys().filter((name) => this.#model.current(name) !== undefined);
    deepEqual(names, listedNames(keys, { ...request, after: "" }));
    await this.#listVersions(request);
  }

  async #listVersions(request: {
    prefix: string;
    delimiter: string;
    limit: number;
  }): Promise<void> {
    const { layer, signal } = this.#test;
    const bucket = this.#bucket;
    const seen: string[] = [];
    let after = "";
    let afterVersionId: string | undefined;
    for (;;) {
      const page = await layer.listVersions({ ...request, bucket, after, afterVersionId, signal });
      seen.push(...page.entries.map(versionName));
      const last = page.entries.at(-1);
      if (!page.isTruncated || last === undefined) break;
      equal(page.entries.length, request.limit);
      after = last.kind === "item" ? last.item.version.key : last.prefix;
      afterVersionId = last.kind === "item" ? last.item.version.versionId : undefined;
    }
    const expected = listedNames(this.#model.keys(), { ...request, after: "" }).flatMap((name) =>
      name.endsWith("*")
        ? [name]
        : this.#model.of(name).map(({ versionId }, index) => `${name} ${versionId} ${index === 0}`),
    );
    deepEqual(seen, expected);
  }

  /** Everything that can be asked of every key. */
  async check(): Promise<void> {
    const { layer, store, signal, data } = this.#test;
    const bucket = this.#bucket;
    deepEqual(await brokenInvariants(store, bucket.id), []);
    equal(data.underWay, 0);
    for (const name of KEYS) {
      const [head] = this.#model.of(name);
      const current = await layer.find({ bucket, key: name, versionId: undefined, signal });
      equal(current?.versionId, head?.versionId);
      equal(current?.isDeleteMarker, head?.isMarker);
      for (const { versionId, body, isMarker, tag } of this.#model.of(name)) {
        const version = await layer.find({ bucket, key: name, versionId, signal });
        partialDeepStrictEqual(version, { key: name, versionId, isDeleteMarker: isMarker });
        equal(version?.tags[0]?.value ?? "", tag);
        if (isMarker || version === undefined) continue;
        const pieces = layer.read({ bucket, version, start: 0, end: version.size, signal });
        equal(await textOf(pieces), body);
      }
    }
    await this.#listVersions({ prefix: "", delimiter: "", limit: 1000 });
    await this.#checkBytes();
  }

  /** Every byte stored is named by a version or by trash, and what is named is stored. */
  async #checkBytes(): Promise<void> {
    const { layer, data, signal, store } = this.#test;
    for (const { owner, extent } of data.stored.values()) {
      const write = { ...owner, writeId: extent.writeId };
      equal(await layer.references.isReferenced(write, signal), true);
    }
    const versions = KEYS.flatMap((name) => this.#model.of(name)).filter(({ body }) => body !== "");
    const trash = await all(store, KEY.trash);
    equal(data.stored.size, versions.length + trash.length);
  }
}

function versionName(entry: ListEntry<ListedVersion>): string {
  if (entry.kind === "prefix") return `${entry.prefix}*`;
  const { version, isLatest } = entry.item;
  return `${version.key} ${version.versionId} ${isLatest}`;
}

export async function textOf(pieces: AsyncIterable<Uint8Array>): Promise<string> {
  const bytes: Uint8Array[] = [];
  for await (const piece of pieces) bytes.push(piece);
  return Buffer.concat(bytes).toString();
}
