/**
 * How uploads end. Their record goes in one commit, and what became of them comes in its place; the keys of their
 * parts, up to 10,000, go in as many commits as it takes. A crash in between leaves the second record unclean, and
 * whoever reads it goes on: the same request again, or the keeper's sweep.
 */
import type { Clock } from "#lib/clock.ts";
import {
  afterKey,
  asBuffer,
  FINISHED_UPLOADS,
  finishedUploadKey,
  finishedUploadOf,
  KEY,
  kindRange,
  partNumberOf,
  partsRange,
  trashKey,
  uploadKey,
  uploadOf,
} from "#metadata/keys.ts";
import type { Commit, Entry, Expectation, MetadataStore, Put } from "#metadata/metadata-store.ts";
import {
  decodeFinishedUpload,
  decodeUploadPart,
  encodeFinishedUpload,
  type FinishedUploadRecord,
} from "#metadata/record-upload.ts";
import { encodeTrash } from "#metadata/records.ts";
import type { Commits, Step } from "#objects/commits.ts";
import { presentExpectation } from "#objects/key-view.ts";

/** A part takes two changes of a commit (remove, trash), its upload one, the session one compare: 97 of 100. */
const PARTS_PER_COMMIT = 48;
/** So many part keys are read at a time; their commits travel together. */
const PARTS_PER_ROUND = 16 * PARTS_PER_COMMIT;
const SWEEP_BATCH = 200;
/** How long the result of a Complete is kept for its replays (R24). */
export const RESULT_KEPT_MS = 24 * 3600 * 1000;

export interface UploadPlace {
  readonly bucketId: string;
  readonly key: string;
  readonly uploadId: Uint8Array;
}

export class UploadEndings {
  readonly #store: MetadataStore;
  readonly #commits: Commits;
  readonly #clock: Clock;

  constructor(parts: { store: MetadataStore; commits: Commits; clock: Clock }) {
    this.#store = parts.store;
    this.#commits = parts.commits;
    this.#clock = parts.clock;
  }

  /** Wins over a Complete under way that has not committed yet. */
  async abort(place: UploadPlace, signal?: AbortSignal): Promise<"aborted" | "no-such-upload"> {
    const open = uploadKey(place.bucketId, place.key, place.uploadId);
    const finished = finishedUploadKey(place.bucketId, place.uploadId);
    const outcome = await this.#commits.run<"aborted" | "no-such-upload">(
      uploadName(place),
      async () => {
        const entry = await this.#store.get(open, signal);
        if (entry === undefined) return { kind: "done", value: "no-such-upload" };
        const record = {
          finishedMs: this.#clock.now(),
          key: place.key,
          version: undefined,
          listDigest: Buffer.alloc(0),
          usedParts: Buffer.alloc(0),
          isClean: false,
        };
        const proof = { key: finished, value: encodeFinishedUpload(record) };
        return {
          kind: "commit",
          change: { expect: [presentExpectation(entry)], put: [proof], remove: [open] },
          value: "aborted",
          proof,
        };
      },
      { signal },
    );
    await this.clean(place);
    return outcome;
  }

  /** Every open upload of a bucket that takes no more. */
  async abortAll(bucketId: string, signal: AbortSignal): Promise<void> {
    for (;;) {
      const uploads = kindRange(KEY.upload, bucketId);
      const page = await this.#store.range({ ...uploads, limit: SWEEP_BATCH }, signal);
      if (page.entries.length === 0) return;
      for (const entry of page.entries) {
        await this.abort({ bucketId, ...uploadOf(entry.key) }, signal);
      }
    }
  }

  /**
   * Removes the part keys of a finished upload; those of parts that no object took up leave trash behind. Not abortable
   * by a client that goes away. When an upload was aborted nothing needs to be remembered of it afterwards.
   */
  async clean(place: Pick<UploadPlace, "bucketId" | "uploadId">): Promise<void> {
    const { bucketId, uploadId } = place;
    const key = finishedUploadKey(bucketId, uploadId);
    for (;;) {
      const entry = await this.#store.get(key);
      const finished = entry && decodeFinishedUpload(entry.value);
      if (entry === undefined || finished === undefined || finished.isClean) return;
      const range = { ...partsRange(bucketId, uploadId), limit: PARTS_PER_ROUND };
      const { entries, more } = await this.#store.range(range);
      const isLast = !more && entries.length <= PARTS_PER_COMMIT;
      const chunks = isLast ? [entries] : inChunks(entries, PARTS_PER_COMMIT);
      const trashedMs = this.#clock.now();
      await Promise.all(
        chunks.map(async (chunk) => {
          const change = removeParts({ bucketId, finished, parts: chunk, trashedMs });
          const whole = isLast ? withEnding(change, entry, finished) : change;
          // A conflict means that somebody else is cleaning too: the next round sees what is left.
          await this.#commits.run(uploadName(place), once(whole));
        }),
      );
    }
  }

  /** What the keeper does every now and then: cleans up behind crashes, forgets old results. */
  async sweep(signal: AbortSignal): Promise<void> {
    const forgetMs = this.#clock.now() - RESULT_KEPT_MS;
    let { from, to } = FINISHED_UPLOADS;
    for (;;) {
      const page = await this.#store.range({ from, to, limit: SWEEP_BATCH }, signal);
      for (const entry of page.entries) {
        signal.throwIfAborted();
        const finished = decodeFinishedUpload(entry.value);
        const place = finishedUploadOf(entry.key);
        if (!finished.isClean) await this.clean(place);
        else if (finished.finishedMs < forgetMs) {
          const change = { expect: [presentExpectation(entry)], put: [], remove: [entry.key] };
          await this.#commits.run(uploadName(place), once(change));
        }
      }
      const last = page.entries.at(-1);
      if (!page.more || last === undefined) return;
      from = afterKey(last.key);
    }
  }
}

export function uploadName({ uploadId }: { uploadId: Uint8Array }): string {
  return `upload ${asBuffer(uploadId).toString("hex")}`;
}

/** Which of the parts 1 … 10,000 are among those named. */
export function usedPartsOf(numbers: readonly number[]): Buffer {
  const bits = Buffer.alloc(Math.ceil((numbers.at(-1) ?? 0) / 8));
  for (const number of numbers) {
    const at = (number - 1) >>> 3;
    bits[at] = (bits[at] ?? 0) | (1 << ((number - 1) & 7));
  }
  return bits;
}

function isUsed(usedParts: Uint8Array, number: number): boolean {
  return (((usedParts[(number - 1) >>> 3] ?? 0) >>> ((number - 1) & 7)) & 1) === 1;
}

function removeParts(request: {
  bucketId: string;
  finished: FinishedUploadRecord;
  parts: readonly Entry[];
  trashedMs: number;
}): Commit {
  const { bucketId, finished, parts, trashedMs } = request;
  const put: Put[] = [];
  for (const entry of parts) {
    if (isUsed(finished.usedParts, partNumberOf(entry.key))) continue;
    const { extents, nonce } = decodeUploadPart(entry.value);
    if (extents.length === 0) continue;
    put.push({
      key: trashKey({ bucketId, trashedMs, key: finished.key, nonce }),
      value: encodeTrash({ trashedMs, extents, manifest: undefined }),
    });
  }
  return { expect: parts.map(presentExpectation), put, remove: parts.map(({ key }) => key) };
}

/** With the last parts goes what is kept of the upload: all of an aborted one, the need to clean of a completed one. */
function withEnding(change: Commit, entry: Entry, finished: FinishedUploadRecord): Commit {
  const expect: Expectation[] = [...change.expect, presentExpectation(entry)];
  if (finished.version === undefined) {
    return { expect, put: change.put, remove: [...change.remove, entry.key] };
  }
  const value = encodeFinishedUpload({ ...finished, isClean: true });
  return { expect, put: [...change.put, { key: entry.key, value }], remove: change.remove };
}

/** A change that is not made again when it meets a conflict. */
function once(change: Commit): () => Promise<Step<undefined>> {
  let isFirst = true;
  return async () => {
    if (!isFirst) return { kind: "done", value: undefined };
    isFirst = false;
    return {
      kind: "commit",
      change,
      value: undefined,
      proof: undefined,
      landed: async () => true,
    };
  };
}

function inChunks<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  const chunks: (readonly T[])[] = [];
  for (let at = 0; at < items.length; at += size) chunks.push(items.slice(at, at + size));
  return chunks;
}
