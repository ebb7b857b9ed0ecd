/** Buckets in the index: made, configured, listed, removed. A name leads to a configuration and to a small state. */
import type { Clock } from "#lib/clock.ts";
import type { Random } from "#lib/random.ts";
import {
  bucketKey,
  bucketNameOf,
  bucketRange,
  bucketStateKey,
  liveKey,
  markerKey,
} from "#metadata/keys.ts";
import type { Entry, MetadataStore, Put } from "#metadata/metadata-store.ts";
import {
  type BucketRecord,
  type BucketStateRecord,
  decodeBucket,
  decodeBucketState,
  encodeBucket,
  encodeBucketState,
} from "#metadata/record-bucket.ts";
import { UnreadableRecord } from "#metadata/record-wire.ts";
import type { BucketRemoval } from "#objects/bucket-removal.ts";
import type { Commits, Step } from "#objects/commits.ts";
import { presentExpectation } from "#objects/key-view.ts";
import type { Bucket, BucketChange, KeyQuestion } from "#objects/model.ts";
import type { Buckets } from "#objects/object-layer.ts";
import { ReadAhead } from "#objects/read-ahead.ts";

/** Buckets whose records are kept decoded; reads go to the index all the same, so this saves time, not truth. */
const DECODED_MAX = 1000;
/** Buckets read at a time while looking for those of one owner. */
const LIST_BATCH = 1000;

interface Stored {
  readonly record: Entry;
  readonly state: Entry;
  readonly bucket: Bucket;
}

export class IndexBuckets implements Buckets {
  readonly #store: MetadataStore;
  readonly #commits: Commits;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #removal: BucketRemoval;
  readonly #decoded = new Map<string, Stored>();

  constructor(parts: {
    store: MetadataStore;
    commits: Commits;
    clock: Clock;
    random: Random;
    removal: BucketRemoval;
  }) {
    this.#store = parts.store;
    this.#commits = parts.commits;
    this.#clock = parts.clock;
    this.#random = parts.random;
    this.#removal = parts.removal;
  }

  async create(request: Parameters<Buckets["create"]>[0]): ReturnType<Buckets["create"]> {
    const { name, ownerId, region, ownership, acl, tags, signal } = request;
    const { versioning = "unversioned" } = request;
    return this.#commits.run(
      `bucket ${name}`,
      async (): Promise<Step<Awaited<ReturnType<Buckets["create"]>>>> => {
        const existing = await this.#settled(name, signal);
        if (existing) return { kind: "done", value: { kind: "exists", bucket: existing } };
        const id = this.#random.bytes(16).toString("hex");
        const createdMs = this.#clock.now();
        const record = { id, ownerId, createdMs, region, ownership, acl, tags, cors: undefined };
        const state = { id, isDeleting: false, versioning };
        const proof = { key: bucketKey(name), value: encodeBucket(record) };
        const put = [proof, { key: bucketStateKey(name), value: encodeBucketState(state) }];
        return {
          kind: "commit",
          change: { expect: put.map(({ key }) => ({ key, revision: 0 })), put, remove: [] },
          value: { kind: "created", bucket: toBucket(name, record, state) },
          proof,
          // Configured since, or on its way out, it is still the one that was made here.
          landed: async () => {
            const entry = await this.#store.get(bucketStateKey(name));
            return entry !== undefined && decodeBucketState(entry.value).id === id;
          },
          // It may have been made and removed again, and another one of its name would be a second.
          comesAndGoes: true,
        };
      },
      { signal },
    );
  }

  async get(
    name: string,
    signal: AbortSignal,
    question?: KeyQuestion,
  ): Promise<Bucket | undefined> {
    const known = question === undefined ? undefined : this.#decoded.get(name);
    if (!question || !known) return (await this.#read(name, signal))?.bucket;
    const { key, isToChange } = question;
    const { id } = known.bucket;
    const keys = [known.record.key, known.state.key, liveKey(id, key)];
    if (isToChange) keys.push(markerKey(id, key));
    const [record, state, live, marker] = await this.#store.getMany(keys, signal);
    const bucket = this.#stored(name, record, state)?.bucket;
    // Removed and made again, it is another one, whose keys were not read.
    if (bucket?.id !== id) return bucket;
    const whole = isToChange ? ([state, live, marker] as const) : undefined;
    return { ...bucket, ahead: new ReadAhead(key, { live, whole }) };
  }

  async list(request: Parameters<Buckets["list"]>[0]): ReturnType<Buckets["list"]> {
    const { ownerId, prefix, limit, signal } = request;
    const buckets: Bucket[] = [];
    let { from, to } = bucketRange(request);
    for (;;) {
      const page = await this.#store.range({ from, to, limit: LIST_BATCH }, signal);
      const mine = page.entries.filter(
        ({ value }) => ownerId === undefined || decodeBucket(value).ownerId === ownerId,
      );
      for (const entry of mine) {
        if (buckets.length === limit) return { buckets, isTruncated: limit > 0 };
        const bucket = await this.get(bucketNameOf(entry.key), signal);
        if (bucket !== undefined) buckets.push(bucket);
      }
      const last = page.entries.at(-1);
      if (!page.more || last === undefined) return { buckets, isTruncated: false };
      ({ from, to } = bucketRange({ prefix, after: bucketNameOf(last.key) }));
    }
  }

  async update(
    bucket: Bucket,
    change: (current: Bucket) => BucketChange,
    signal: AbortSignal,
  ): ReturnType<Buckets["update"]> {
    return this.#commits.run(
      `bucket ${bucket.name}`,
      async (): Promise<Step<Awaited<ReturnType<Buckets["update"]>>>> => {
        await this.#settled(bucket.name, signal);
        const stored = await this.#read(bucket.name, signal);
        if (stored?.bucket.id !== bucket.id) return { kind: "done", value: { kind: "missing" } };
        const changed: Bucket = { ...stored.bucket, ...change(stored.bucket) };
        const value = { kind: "updated", bucket: changed } as const;
        const put = changedRecords(stored, changed);
        if (put.length === 0) return { kind: "done", value };
        const expect = [presentExpectation(stored.record), presentExpectation(stored.state)];
        return { kind: "commit", change: { expect, put, remove: [] }, value, proof: put[0] };
      },
      { signal },
    );
  }

  async remove(bucket: Bucket, signal: AbortSignal): ReturnType<Buckets["remove"]> {
    return this.#removal.remove(bucket, signal);
  }

  /** The bucket of that name, once no removal of it is under way. */
  async #settled(name: string, signal: AbortSignal): Promise<Bucket | undefined> {
    const stored = await this.#read(name, signal);
    if (stored === undefined || !decodeBucketState(stored.state.value).isDeleting) {
      return stored?.bucket;
    }
    await this.#removal.waitOut(stored.bucket, signal);
    return this.#settled(name, signal);
  }

  async #read(name: string, signal: AbortSignal): Promise<Stored | undefined> {
    const keys = [bucketKey(name), bucketStateKey(name)];
    const [record, state] = await this.#store.getMany(keys, signal);
    return this.#stored(name, record, state);
  }

  #stored(name: string, record: Entry | undefined, state: Entry | undefined): Stored | undefined {
    if (record === undefined && state === undefined) return undefined;
    if (record === undefined || state === undefined) {
      throw new UnreadableRecord(`Cannot read bucket ${name}: one of its two records is missing`);
    }
    const known = this.#decoded.get(name);
    if (known?.record.revision === record.revision && known.state.revision === state.revision) {
      return known;
    }
    const bucket = toBucket(name, decodeBucket(record.value), decodeBucketState(state.value));
    const stored = { record, state, bucket };
    if (this.#decoded.size >= DECODED_MAX) this.#decoded.clear();
    this.#decoded.set(name, stored);
    return stored;
  }
}

function toBucket(name: string, record: BucketRecord, state: BucketStateRecord): Bucket {
  if (record.id !== state.id) {
    throw new UnreadableRecord(`Cannot read bucket ${name}: its records are of two incarnations`);
  }
  return { name, ...record, versioning: state.versioning };
}

/** Only what differs is written: a change of configuration leaves the state, and so every writer, alone. */
function changedRecords(stored: Stored, changed: Bucket): readonly Put[] {
  const record = { key: stored.record.key, value: encodeBucket(changed) };
  const state = {
    key: stored.state.key,
    value: encodeBucketState({
      id: changed.id,
      isDeleting: false,
      versioning: changed.versioning,
    }),
  };
  return [
    ...(record.value.equals(stored.record.value) ? [] : [record]),
    ...(state.value.equals(stored.state.value) ? [] : [state]),
  ];
}
