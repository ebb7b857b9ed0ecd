/** Versions of a key: found, removed, changed in tags and ACL. How each change keeps order is in version-changes.ts. */
import type { Clock } from "#lib/clock.ts";
import type { Random } from "#lib/random.ts";
import { parseId } from "#metadata/ids.ts";
import {
  liveKey,
  markerKey,
  NONCE_BYTES,
  olderVersionKey,
  olderVersionsRange,
} from "#metadata/keys.ts";
import type { MetadataStore } from "#metadata/metadata-store.ts";
import { decodeVersion, type VersionRecord } from "#metadata/record-version.ts";
import type { BucketRemoval } from "#objects/bucket-removal.ts";
import type { Commits, Step } from "#objects/commits.ts";
import { type Head, headOf, type KeyView, type Older, readOlder } from "#objects/key-view.ts";
import type { Bucket } from "#objects/model.ts";
import { markerVersion } from "#objects/new-version.ts";
import type { ObjectLayer } from "#objects/object-layer.ts";
import {
  removeHead,
  removeOlder,
  replaceVersion,
  type VersionChange,
} from "#objects/version-changes.ts";
import type { VersionWrites } from "#objects/version-writes.ts";

type Find = Parameters<ObjectLayer["find"]>[0];
type Remove = Parameters<ObjectLayer["remove"]>[0];
type Removal = Awaited<ReturnType<ObjectLayer["remove"]>>;
type Update = Parameters<ObjectLayer["update"]>[0];
type Updated = Awaited<ReturnType<ObjectLayer["update"]>>;

const NULL_VERSION = "null";

/** Whether a text can be a version id at all: others are InvalidArgument, not NoSuchVersion. */
export function isVersionId(text: string): boolean {
  return text === NULL_VERSION || parseId(text) !== undefined;
}

export class Versions {
  readonly #store: MetadataStore;
  readonly #commits: Commits;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #removal: BucketRemoval;
  readonly #writes: VersionWrites;

  constructor(parts: {
    store: MetadataStore;
    commits: Commits;
    clock: Clock;
    random: Random;
    removal: BucketRemoval;
    writes: VersionWrites;
  }) {
    this.#store = parts.store;
    this.#commits = parts.commits;
    this.#clock = parts.clock;
    this.#random = parts.random;
    this.#removal = parts.removal;
    this.#writes = parts.writes;
  }

  async find(request: Find): Promise<VersionRecord | undefined> {
    const { bucket, key, versionId, signal } = request;
    if (versionId === undefined) return this.#current(bucket, key, signal);
    if (versionId === NULL_VERSION) return this.#nullVersion(bucket.id, key, signal);
    return this.#byId({ bucketId: bucket.id, key, versionId }, signal);
  }

  async remove(request: Remove): Promise<Removal> {
    const { bucket, key, signal } = request;
    return this.#commits.run(
      `key ${bucket.id}/${key}`,
      async () => {
        const view = await this.#removal.writableKey(bucket, key, signal);
        if (view === "gone") return { kind: "done", value: { kind: "no-such-bucket" } };
        return request.versionId === undefined
          ? this.#removeCurrent(view, request)
          : this.#removeVersion(view, request, request.versionId);
      },
      { signal },
    );
  }

  async update(request: Update): Promise<Updated> {
    const { bucket, key, versionId, change, signal } = request;
    return this.#commits.run(
      `key ${bucket.id}/${key}`,
      async (): Promise<Step<Updated>> => {
        const view = await this.#removal.writableKey(bucket, key, signal);
        if (view === "gone") return { kind: "done", value: { kind: "no-such-bucket" } };
        const place = await this.#place(view, versionId, signal);
        if (place === "moved") return { kind: "retry" };
        if (place === undefined || place.version.isDeleteMarker) {
          return { kind: "done", value: { kind: "missing" } };
        }
        const version: VersionRecord = {
          ...place.version,
          ...change(place.version),
          change: this.#random.bytes(NONCE_BYTES),
        };
        const { commit, proof } = replaceVersion({ view, place, version });
        return { kind: "commit", change: commit, value: { kind: "updated", version }, proof };
      },
      { signal },
    );
  }

  async #current(
    { id: bucketId, ahead }: Bucket,
    key: string,
    signal: AbortSignal,
  ): Promise<VersionRecord | undefined> {
    const live = liveKey(bucketId, key);
    // One read where there is an object: it cannot have a marker beside it at that revision.
    const known = ahead?.take(key);
    const entry = known ? known.live : await this.#store.get(live, signal);
    if (entry !== undefined) return decodeVersion(key, entry.value);
    const [again, marker] = await this.#store.getMany([live, markerKey(bucketId, key)], signal);
    return headOf(key, again, marker)?.version;
  }

  async #byId(
    place: { bucketId: string; key: string; versionId: string },
    signal: AbortSignal,
  ): Promise<VersionRecord | undefined> {
    const { bucketId, key, versionId } = place;
    const id = parseId(versionId);
    if (id === undefined) return undefined;
    const [live, marker, older] = await this.#store.getMany(
      [liveKey(bucketId, key), markerKey(bucketId, key), olderVersionKey(bucketId, key, id.order)],
      signal,
    );
    const head = headOf(key, live, marker)?.version;
    if (head?.versionId === versionId) return head;
    const version = older && decodeVersion(key, older.value);
    return version?.versionId === versionId ? version : undefined;
  }

  async #nullVersion(
    bucketId: string,
    key: string,
    signal: AbortSignal,
  ): Promise<VersionRecord | undefined> {
    for (;;) {
      const keys = [liveKey(bucketId, key), markerKey(bucketId, key)];
      const [live, marker] = await this.#store.getMany(keys, signal);
      const head = headOf(key, live, marker)?.version;
      if (head === undefined || head.isNull) return head;
      if (head.nullSequence === 0) return undefined;
      const older = await readOlder(
        this.#store,
        { bucketId, key, sequence: head.nullSequence },
        signal,
      );
      // Not there: it moved or went after the head was read, and the head says where to or that.
      if (older?.version.isNull) return older.version;
    }
  }

  /**
   * The version meant, as it stands below the view. Changed meanwhile: the commit's compare finds out. But that it is not there
   * ends the request without a commit, so it must be true of one moment: a removed head lets the next version take its place,
   * and that one is then found neither as the head that the view shows nor among the older ones.
   */
  async #place(
    view: KeyView,
    versionId: string | undefined,
    signal: AbortSignal,
  ): Promise<Older | undefined | "moved"> {
    const { bucketId, key, head } = view;
    if (head === undefined) return undefined;
    if (versionId === undefined || head.version.versionId === versionId) return head;
    const sequence =
      versionId === NULL_VERSION ? head.version.nullSequence : parseId(versionId)?.order;
    if (sequence === undefined || sequence === 0) return undefined;
    const older = await readOlder(this.#store, { bucketId, key, sequence }, signal);
    if (older?.version.versionId === versionId) return older;
    return (await this.#isAsSeen(head, signal)) ? undefined : "moved";
  }

  async #isAsSeen({ entry }: Head, signal: AbortSignal): Promise<boolean> {
    const now = await this.#store.get(entry.key, signal);
    return now?.revision === entry.revision;
  }

  async #removeCurrent(view: KeyView, request: Remove): Promise<Step<Removal>> {
    const { ownerId, precondition } = request;
    const current = view.head?.version;
    precondition?.(current?.isDeleteMarker ? undefined : current);
    if (view.versioning === "unversioned") {
      const value: Removal = { kind: "removed", versionId: undefined, deleteMarker: false };
      if (view.head === undefined) return { kind: "done", value };
      // Where versions were never kept none can be below the head.
      const trashedMs = this.#clock.now();
      return this.#step(removeHead({ view, next: undefined, trashedMs }), value);
    }
    const marker = markerVersion({
      key: view.key,
      isNull: view.versioning === "suspended",
      nonce: this.#random.bytes(NONCE_BYTES),
      lastModifiedMs: this.#clock.now(),
      ownerId,
    });
    const pushed = await this.#writes.push(view, marker, request.signal);
    const { versionId } = pushed.version;
    return {
      kind: "commit",
      change: pushed.commit,
      value: { kind: "removed", versionId, deleteMarker: true },
      proof: pushed.proof,
      landed: async () => this.#writes.hasLanded(view, pushed.version),
      comesAndGoes: view.head === undefined,
    };
  }

  async #removeVersion(view: KeyView, request: Remove, versionId: string): Promise<Step<Removal>> {
    const place = await this.#place(view, versionId, request.signal);
    if (place === "moved") return { kind: "retry" };
    request.precondition?.(place?.version.isDeleteMarker ? undefined : place?.version);
    const deleteMarker = place?.version.isDeleteMarker ?? false;
    const value: Removal = { kind: "removed", versionId, deleteMarker };
    if (place === undefined) return { kind: "done", value };
    const change =
      place === view.head
        ? await this.#withoutHead(view, request.signal)
        : removeOlder({ view, older: place, trashedMs: this.#clock.now() });
    return this.#step(change, value);
  }

  async #withoutHead(view: KeyView, signal: AbortSignal): Promise<VersionChange> {
    const { bucketId, key } = view;
    const range = { ...olderVersionsRange(bucketId, key), limit: 1 };
    const [entry] = (await this.#store.range(range, signal)).entries;
    const next = entry && { entry, version: decodeVersion(key, entry.value) };
    return removeHead({ view, next, trashedMs: this.#clock.now() });
  }

  #step(change: VersionChange, value: Removal): Step<Removal> {
    const { commit, proof } = change;
    // When the index is full only removals go through: where the trash key is all that a removal puts, it is left
    // out, and garbage collection finds the bytes (R20).
    const isPure = commit.put.every((put) => put === proof);
    return {
      kind: "commit",
      change: commit,
      value,
      proof,
      ...(isPure && { whenFull: { ...commit, put: [] } }),
    };
  }
}
