/**
 * The one way in which a new version becomes current: PUT, copy, Complete and delete markers all come through here.
 * The proof that it did is its nonce.
 */
import type { Clock } from "#lib/clock.ts";
import type { Random } from "#lib/random.ts";
import { formatId } from "#metadata/ids.ts";
import {
  asBuffer,
  liveKey,
  markerKey,
  NONCE_BYTES,
  olderVersionKey,
  slotMs,
  trashKey,
  trashSlot,
} from "#metadata/keys.ts";
import type { Commit, MetadataStore, Put } from "#metadata/metadata-store.ts";
import { equalBytes } from "#metadata/record-fields.ts";
import { decodeVersion, type VersionRecord } from "#metadata/record-version.ts";
import type { BucketRemoval } from "#objects/bucket-removal.ts";
import { type Commits, OutcomeUnknown, type Step } from "#objects/commits.ts";
import type { WrittenExtents } from "#objects/data-plane.ts";
import { type KeyView, readOlder } from "#objects/key-view.ts";
import type { Bucket, ObjectAttributes } from "#objects/model.ts";
import { type Content, objectVersion } from "#objects/new-version.ts";
import type { Gone, Precondition, Stored } from "#objects/object-layer.ts";
import {
  type NewVersion,
  nextSequence,
  nullSequenceBelow,
  pushVersion,
  type VersionChange,
} from "#objects/version-changes.ts";

/** Half the length of a slot of trash keys: clocks of processes may differ by this much and traces are still found. */
const TRASH_SLACK_MS = 2 ** 21;

export interface PushedVersion extends VersionChange {
  readonly version: VersionRecord;
}

/** What a commit does besides making the version current: for Complete, ending the upload. */
export type Besides = Commit;

export class VersionWrites {
  readonly #store: MetadataStore;
  readonly #commits: Commits;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #removal: BucketRemoval;

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

  /** Fails early what would fail in the end, before the body is taken in. The commit judges again. */
  async judge(request: {
    bucket: Bucket;
    key: string;
    precondition: Precondition | undefined;
    signal: AbortSignal;
  }): Promise<void> {
    const { bucket, key, precondition, signal } = request;
    if (precondition === undefined) return;
    const view = await this.#removal.writableKey(bucket, key, signal);
    if (view !== "gone") precondition(currentObject(view));
  }

  /**
   * Makes an object whose bytes are durable the current version, and tells the data plane what became of the bytes.
   * `besides` looks at what else the commit depends on; it may end the attempt with another answer.
   */
  async store<T = never>(request: {
    bucket: Bucket;
    key: string;
    attributes: ObjectAttributes;
    content: Content;
    written: readonly WrittenExtents[];
    precondition: Precondition | undefined;
    besides?: (version: VersionRecord) => Promise<Besides | { readonly answer: T }>;
    signal?: AbortSignal;
  }): Promise<Stored | Gone | T> {
    const { bucket, key, attributes, content, written, precondition, besides, signal } = request;
    return settled(written, isStored, async () =>
      this.#commits.run(
        `key ${bucket.id}/${key}`,
        async (): Promise<Step<Stored | Gone | T>> => {
          const view = await this.#removal.writableKey(bucket, key, signal);
          if (view === "gone") return { kind: "done", value: { kind: "no-such-bucket" } };
          precondition?.(currentObject(view));
          const draft = objectVersion({
            key,
            isNull: view.versioning !== "enabled",
            nonce: this.#random.bytes(NONCE_BYTES),
            lastModifiedMs: this.#clock.now(),
            attributes,
            content,
          });
          const { commit, version, proof } = await this.push(view, draft, signal);
          const more = await besides?.(version);
          if (more !== undefined && "answer" in more) return { kind: "done", value: more.answer };
          return {
            kind: "commit",
            change: joined(commit, more, written),
            value: { kind: "stored", version },
            proof,
            landed: async () => this.hasLanded(view, version),
            // What Complete removes besides never comes back.
            comesAndGoes: view.head === undefined && (more?.remove.length ?? 0) === 0,
          };
        },
        { signal, fixed: { expect: written.flatMap(({ expect }) => expect) } },
      ),
    );
  }

  /** The change that puts a version on top of what a view shows. */
  async push(view: KeyView, draft: NewVersion, signal?: AbortSignal): Promise<PushedVersion> {
    const { bucketId, key, head } = view;
    const sequence = nextSequence(view);
    const version: VersionRecord = {
      ...draft,
      sequence,
      versionId: draft.isNull ? "null" : formatId({ order: sequence, nonce: draft.nonce }),
      nullSequence: nullSequenceBelow(view, draft),
    };
    const replacedAt = draft.isNull ? (head?.version.nullSequence ?? 0) : 0;
    const replaced =
      replacedAt === 0
        ? undefined
        : await readOlder(this.#store, { bucketId, key, sequence: replacedAt }, signal);
    // Not there: it went after the head was read, so the head has changed, and the compare will fail.
    const trashedMs = this.#clock.now();
    return { version, ...pushVersion({ view, version, replaced, trashedMs }) };
  }

  /** Whether a version is there, current or older, or was and is trash by now: all at one revision. */
  async hasLanded(view: KeyView, version: VersionRecord): Promise<boolean> {
    const { bucketId, key } = view;
    const { sequence, nonce, lastModifiedMs } = version;
    const places = [
      liveKey(bucketId, key),
      markerKey(bucketId, key),
      olderVersionKey(bucketId, key, sequence),
    ];
    const slots: Uint8Array[] = [];
    const last = trashSlot(this.#clock.now() + TRASH_SLACK_MS);
    for (let slot = trashSlot(lastModifiedMs - TRASH_SLACK_MS); slot <= last; slot += 1) {
      slots.push(trashKey({ bucketId, trashedMs: slotMs(slot), key, nonce }));
    }
    const entries = await this.#store.getMany([...places, ...slots]);
    if (entries.slice(places.length).some((entry) => entry !== undefined)) return true;
    return entries
      .slice(0, places.length)
      .some((entry) => entry && equalBytes(decodeVersion(key, entry.value).nonce, nonce));
  }
}

/** Calls each write's `settle` once, when it is certain what became of it. */
export async function settled<T>(
  written: readonly WrittenExtents[],
  isCommitted: (answer: T) => boolean,
  commit: () => Promise<T>,
): Promise<T> {
  try {
    const answer = await commit();
    settle(written, isCommitted(answer) ? "committed" : "not-committed");
    return answer;
  } catch (error) {
    if (error instanceof OutcomeUnknown) {
      // The bytes may be in use: garbage collection decides, once no commit of ours can land any more.
      error.fenced.then(
        () => settle(written, "committed"),
        () => undefined,
      );
    } else {
      settle(written, "not-committed");
    }
    throw error;
  }
}

function settle(written: readonly WrittenExtents[], outcome: "committed" | "not-committed"): void {
  for (const write of written) write.settle(outcome);
}

function isStored(answer: unknown): boolean {
  return (
    typeof answer === "object" && answer !== null && "kind" in answer && answer.kind === "stored"
  );
}

/** What a precondition judges: a delete marker counts as nothing. */
export function currentObject(view: KeyView): VersionRecord | undefined {
  const version = view.head?.version;
  return version?.isDeleteMarker ? undefined : version;
}

function joined(
  commit: Commit,
  more: Besides | undefined,
  written: readonly WrittenExtents[],
): Commit {
  const marks = written.flatMap(({ put }) => put);
  if (more === undefined && marks.length === 0) return commit;
  return {
    expect: [...commit.expect, ...(more?.expect ?? [])],
    put: [...commit.put, ...(more?.put ?? []), ...(written.length > 1 ? distinct(marks) : marks)],
    remove: [...commit.remove, ...(more?.remove ?? [])],
  };
}

/** Two writes of one commit may bring the same dirty mark. */
function distinct(puts: readonly Put[]): readonly Put[] {
  return [...new Map(puts.map((put) => [asBuffer(put.key).toString("latin1"), put])).values()];
}
