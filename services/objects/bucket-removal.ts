/**
 * How a bucket goes: its state says DELETING, which every commit in it compares, so from then on nothing is added;
 * then it is found empty, its open uploads are aborted, and its two records go. Found not empty, the state goes back.
 *
 * Whoever meets a bucket that has been DELETING for a while finishes the removal, since the process that began it may
 * have died: the next DeleteBucket, CreateBucket or writer. Several may do so at once; each step is a compare.
 */
import type { Clock } from "#lib/clock.ts";
import { bucketKey, bucketStateKey, KEY, kindRange } from "#metadata/keys.ts";
import type { Entry, MetadataStore } from "#metadata/metadata-store.ts";
import {
  type BucketStateRecord,
  decodeBucketState,
  encodeBucketState,
} from "#metadata/record-bucket.ts";
import type { Commits } from "#objects/commits.ts";
import { type KeyView, presentExpectation, readKey } from "#objects/key-view.ts";
import type { Bucket } from "#objects/model.ts";
import type { UploadEndings } from "#objects/upload-endings.ts";

/** Time for a removal under way to end by itself: it has at most a few uploads to abort. */
const REMOVAL_PATIENCE_MS = 500;
const REMOVAL_POLL_MS = 10;

type Identity = Pick<Bucket, "name" | "id">;

export class BucketRemoval {
  readonly #store: MetadataStore;
  readonly #commits: Commits;
  readonly #clock: Clock;
  readonly #endings: UploadEndings;

  constructor(parts: {
    store: MetadataStore;
    commits: Commits;
    clock: Clock;
    endings: UploadEndings;
  }) {
    this.#store = parts.store;
    this.#commits = parts.commits;
    this.#clock = parts.clock;
    this.#endings = parts.endings;
  }

  async remove(
    bucket: Identity,
    signal: AbortSignal,
  ): Promise<"removed" | "missing" | "not-empty"> {
    if (!(await this.#isEmpty(bucket.id, signal)) && (await this.#isActive(bucket, signal))) {
      return "not-empty";
    }
    const marked = await this.#mark(bucket, true, signal);
    return marked === "gone" ? "missing" : this.finish(bucket, signal);
  }

  /** Ends a removal that somebody began. "not-empty" also when somebody else called it off. */
  async finish(bucket: Identity, signal: AbortSignal): Promise<"removed" | "not-empty"> {
    if (!(await this.#isEmpty(bucket.id, signal))) {
      return (await this.#mark(bucket, false, signal)) === "gone" ? "removed" : "not-empty";
    }
    await this.#endings.abortAll(bucket.id, signal);
    return this.#commits.run(
      `bucket ${bucket.name}`,
      async () => {
        const keys = [bucketStateKey(bucket.name), bucketKey(bucket.name)];
        const [state, record] = await this.#store.getMany(keys, signal);
        if (!isOf(bucket, state) || record === undefined) return { kind: "done", value: "removed" };
        if (!decodeBucketState(state.value).isDeleting) return { kind: "done", value: "not-empty" };
        const expect = [presentExpectation(state), presentExpectation(record)];
        return {
          kind: "commit",
          change: { expect, put: [], remove: keys },
          value: "removed",
          proof: undefined,
          landed: async () => !isOf(bucket, await this.#store.get(bucketStateKey(bucket.name))),
        };
      },
      { signal },
    );
  }

  /** A key of a bucket that takes writes; waits for, or ends, a removal. */
  async writableKey(bucket: Bucket, key: string, signal?: AbortSignal): Promise<KeyView | "gone"> {
    const view = await readKey(this.#store, bucket, key, signal);
    if (view !== "deleting") return view;
    await this.waitOut(bucket, signal ?? new AbortController().signal);
    return this.writableKey(bucket, key, signal);
  }

  /** Returns once the bucket is not being removed: gone, or in use again. */
  async waitOut(bucket: Identity, signal: AbortSignal): Promise<void> {
    const deadline = this.#clock.monotonic() + REMOVAL_PATIENCE_MS;
    while (await this.#isDeleting(bucket, signal)) {
      if (this.#clock.monotonic() >= deadline) {
        await this.finish(bucket, signal);
        return;
      }
      await this.#clock.sleep(REMOVAL_POLL_MS, signal);
    }
  }

  /** Sets or takes back DELETING. */
  async #mark(
    bucket: Identity,
    isDeleting: boolean,
    signal: AbortSignal,
  ): Promise<"marked" | "gone"> {
    const key = bucketStateKey(bucket.name);
    return this.#commits.run(
      `bucket ${bucket.name}`,
      async () => {
        const entry = await this.#store.get(key, signal);
        if (!isOf(bucket, entry)) return { kind: "done", value: "gone" };
        const state: BucketStateRecord = decodeBucketState(entry.value);
        if (state.isDeleting === isDeleting) return { kind: "done", value: "marked" };
        const proof = { key, value: encodeBucketState({ ...state, isDeleting }) };
        return {
          kind: "commit",
          change: { expect: [presentExpectation(entry)], put: [proof], remove: [] },
          value: "marked",
          proof,
        };
      },
      { signal },
    );
  }

  async #isActive(bucket: Identity, signal: AbortSignal): Promise<boolean> {
    const entry = await this.#store.get(bucketStateKey(bucket.name), signal);
    return isOf(bucket, entry) && !decodeBucketState(entry.value).isDeleting;
  }

  async #isDeleting(bucket: Identity, signal: AbortSignal): Promise<boolean> {
    const entry = await this.#store.get(bucketStateKey(bucket.name), signal);
    return isOf(bucket, entry) && decodeBucketState(entry.value).isDeleting;
  }

  async #isEmpty(bucketId: string, signal: AbortSignal): Promise<boolean> {
    for (const kind of [KEY.live, KEY.marker, KEY.version]) {
      const page = await this.#store.range({ ...kindRange(kind, bucketId), limit: 1 }, signal);
      if (page.entries.length > 0) return false;
    }
    return true;
  }
}

function isOf(bucket: Identity, entry: Entry | undefined): entry is Entry {
  return entry !== undefined && decodeBucketState(entry.value).id === bucket.id;
}
