/**
 * CompleteMultipartUpload, as three commits that each compare the upload's record (R24):
 *
 * 1. OPEN → COMPLETING, with a nonce of this Complete. From here on no part changes, so what is read next stays true.
 * 2. The parts are read and judged. Invalid: back to OPEN. A long list of parts is written as a manifest.
 * 3. The object becomes current, the upload's record goes, its result is kept for replays: one commit.
 *
 * A Complete that finds another one under way waits for it and answers from its result, or takes over when that one
 * seems dead: its third commit then fails, as it does after an Abort. Part keys are removed afterwards; used ones
 * simply go, since the object names their bytes now, the others become trash.
 */
import type { Clock } from "#lib/clock.ts";
import type { Random } from "#lib/random.ts";
import { parseIdBytes } from "#metadata/ids.ts";
import {
  afterKey,
  bucketStateKey,
  finishedUploadKey,
  NONCE_BYTES,
  partNumberOf,
  partsRange,
  uploadKey,
} from "#metadata/keys.ts";
import type { Entry, MetadataStore } from "#metadata/metadata-store.ts";
import {
  decodeFinishedUpload,
  decodeUpload,
  decodeUploadPart,
  encodeFinishedUpload,
  encodeUpload,
  type UploadPartRecord,
  type UploadRecord,
} from "#metadata/record-upload.ts";
import { etagOf } from "#metadata/record-version.ts";
import type { BucketRemoval } from "#objects/bucket-removal.ts";
import type { Commits, Step } from "#objects/commits.ts";
import { bucketPresence, presentExpectation } from "#objects/key-view.ts";
import type { Manifests } from "#objects/manifests.ts";
import type { Bucket } from "#objects/model.ts";
import { type Multipart, toUpload } from "#objects/multipart.ts";
import type { Content } from "#objects/new-version.ts";
import type { Gone, Stored, Uploads } from "#objects/object-layer.ts";
import { checksumOfParts, digestOfList, md5OfParts } from "#objects/part-checksums.ts";
import { type UploadEndings, uploadName, usedPartsOf } from "#objects/upload-endings.ts";
import type { VersionWrites } from "#objects/version-writes.ts";

type Request = Parameters<Uploads["complete"]>[0];
type Outcome = Awaited<ReturnType<Uploads["complete"]>>;
/** Why a list of parts makes no object; the upload stays open. */
type Refusal = Exclude<Outcome, Stored | Gone>;

/** An upload that this Complete holds in COMPLETING. */
interface Held {
  readonly entry: Entry;
  readonly record: UploadRecord;
}

interface ListedPart {
  readonly number: number;
  readonly record: UploadPartRecord;
}

interface Place {
  readonly bucket: Bucket;
  readonly key: string;
  readonly uploadId: Uint8Array;
}

const NO_SUCH_UPLOAD = { kind: "no-such-upload" } as const;
/** S3's, for all parts but the last. */
const PART_BYTES_MIN = 5 * 1024 * 1024;
const PARTS_BATCH = 1000;

export class Completion {
  readonly #store: MetadataStore;
  readonly #commits: Commits;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #removal: BucketRemoval;
  readonly #manifests: Manifests;
  readonly #multipart: Multipart;
  readonly #endings: UploadEndings;
  readonly #writes: VersionWrites;

  constructor(parts: {
    store: MetadataStore;
    commits: Commits;
    clock: Clock;
    random: Random;
    removal: BucketRemoval;
    manifests: Manifests;
    multipart: Multipart;
    endings: UploadEndings;
    writes: VersionWrites;
  }) {
    this.#store = parts.store;
    this.#commits = parts.commits;
    this.#clock = parts.clock;
    this.#random = parts.random;
    this.#removal = parts.removal;
    this.#manifests = parts.manifests;
    this.#multipart = parts.multipart;
    this.#endings = parts.endings;
    this.#writes = parts.writes;
  }

  async complete(request: Request): Promise<Outcome> {
    const { bucket, key, signal } = request;
    const uploadId = parseIdBytes(request.uploadId);
    if (uploadId === undefined) return NO_SUCH_UPLOAD;
    const place = { bucket, key, uploadId };
    for (;;) {
      const held = await this.#hold(place, signal);
      if (held === "gone") return { kind: "no-such-bucket" };
      if (held === "finished") return this.#replay(place, request);
      const outcome = await this.#completeHeld(place, held, request);
      if (outcome !== "taken-over") return outcome;
    }
  }

  /** OPEN → COMPLETING. */
  async #hold(place: Place, signal: AbortSignal): Promise<Held | "gone" | "finished"> {
    const { bucket, key, uploadId } = place;
    const state = bucketStateKey(bucket.name);
    const open = uploadKey(bucket.id, key, uploadId);
    const held = await this.#commits.run(
      uploadName(place),
      async (): Promise<Step<UploadRecord | "gone" | "finished">> => {
        const [stateEntry, entry] = await this.#store.getMany([state, open], signal);
        const presence = bucketPresence(bucket, stateEntry);
        if (presence === "gone" || stateEntry === undefined) return { kind: "done", value: "gone" };
        if (presence === "deleting") {
          await this.#removal.waitOut(bucket, signal);
          return { kind: "retry" };
        }
        if (entry === undefined) return { kind: "done", value: "finished" };
        const record = decodeUpload(entry.value);
        if (record.completing.length > 0) {
          await this.#multipart.awaitCompletion(entry, signal);
          return { kind: "retry" };
        }
        const value = { ...record, completing: this.#random.bytes(NONCE_BYTES) };
        const proof = { key: open, value: encodeUpload(value) };
        const expect = [presentExpectation(stateEntry), presentExpectation(entry)];
        return { kind: "commit", change: { expect, put: [proof], remove: [] }, value, proof };
      },
      { signal },
    );
    if (typeof held === "string") return held;
    const entry = await this.#store.get(open, signal);
    return entry !== undefined && isHeldBy(entry, held.completing)
      ? { entry, record: held }
      : this.#hold(place, signal);
  }

  async #completeHeld(place: Place, held: Held, request: Request): Promise<Outcome | "taken-over"> {
    let isCommitted = false;
    try {
      if (request.parts.length === 0) return { kind: "invalid-part", number: 0 };
      const parts = await this.#readParts(place, request.signal);
      const listed = judgeParts(parts, request);
      if ("kind" in listed) return listed;
      const content = contentOf(listed, held.record, place.uploadId);
      const refusal = judgeWhole(content, request);
      if (refusal !== undefined) return refusal;
      const stored = await this.#commit({ place, held, listed, content, request });
      isCommitted = stored !== "taken-over" && stored.kind === "stored";
      return stored;
    } finally {
      // What a crash leaves here is taken back by whoever meets it.
      if (isCommitted) await this.#clean(place);
      else await this.#multipart.reopen(held.entry);
    }
  }

  /** The object is there: that its part keys could not be removed is no failure of Complete; the keeper goes on. */
  async #clean({ bucket, uploadId }: Place): Promise<void> {
    await this.#endings.clean({ bucketId: bucket.id, uploadId }).catch(() => undefined);
  }

  async #commit(commit: {
    place: Place;
    held: Held;
    listed: readonly ListedPart[];
    content: Content;
    request: Request;
  }): Promise<Stored | Gone | "taken-over"> {
    const { place, held, listed, content, request } = commit;
    const { bucket, key, uploadId } = place;
    const { precondition, signal } = request;
    await this.#writes.judge({ bucket, key, precondition, signal });
    const { attributes } = toUpload(key, uploadId, held.record);
    const placed = await this.#manifests.place({
      parts: content.parts,
      owner: {
        bucketId: bucket.id,
        bucketName: bucket.name,
        key,
        uploadId: request.uploadId,
      },
      storageClass: attributes.storageClass,
      signal,
    });
    const finished = finishedUploadKey(bucket.id, uploadId);
    const listDigest = digestOfList(request.parts);
    const usedParts = usedPartsOf(listed.map(({ number }) => number));
    return this.#writes.store<"taken-over">({
      bucket,
      key,
      attributes,
      content: { ...content, parts: placed.parts, manifest: placed.manifest },
      written: placed.written ? [placed.written] : [],
      precondition,
      signal,
      besides: async (version) => {
        const current = await this.#store.get(held.entry.key, signal);
        if (current?.revision !== held.entry.revision) return { answer: "taken-over" };
        const result = {
          finishedMs: this.#clock.now(),
          key,
          version: { ...version, parts: [], manifest: undefined },
          listDigest,
          usedParts,
          isClean: false,
        };
        return {
          expect: [presentExpectation(held.entry)],
          put: [{ key: finished, value: encodeFinishedUpload(result) }],
          remove: [held.entry.key],
        };
      },
    });
  }

  /** The same list again gives the same answer, for as long as the result is kept. */
  async #replay(place: Place, request: Request): Promise<Outcome> {
    const { bucket, key, uploadId } = place;
    const entry = await this.#store.get(finishedUploadKey(bucket.id, uploadId), request.signal);
    const finished = entry && decodeFinishedUpload(entry.value);
    if (finished?.version === undefined || finished.key !== key) return NO_SUCH_UPLOAD;
    if (!digestOfList(request.parts).equals(finished.listDigest)) return NO_SUCH_UPLOAD;
    if (!finished.isClean) await this.#clean(place);
    return { kind: "stored", version: finished.version };
  }

  async #readParts(
    place: Place,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<number, UploadPartRecord>> {
    const parts = new Map<number, UploadPartRecord>();
    let { from, to } = partsRange(place.bucket.id, place.uploadId);
    for (;;) {
      const page = await this.#store.range({ from, to, limit: PARTS_BATCH }, signal);
      for (const { key, value } of page.entries) {
        parts.set(partNumberOf(key), decodeUploadPart(value));
      }
      const last = page.entries.at(-1);
      if (!page.more || last === undefined) return parts;
      from = afterKey(last.key);
    }
  }
}

function isHeldBy(entry: Entry, nonce: Uint8Array): boolean {
  return Buffer.from(decodeUpload(entry.value).completing).equals(nonce);
}

/**
 * The stored parts that the list names, in its order, or why it is refused. A part's checksum is compared where the list has it. AWS
 * wants it there when the upload is composite; it was verified when the part came, so that its absence endangers nothing.
 */
function judgeParts(
  parts: ReadonlyMap<number, UploadPartRecord>,
  request: Request,
): readonly ListedPart[] | Refusal {
  const listed: ListedPart[] = [];
  if (!isAscending(request.parts)) return { kind: "invalid-part-order" };
  for (const { number, etag, checksum } of request.parts) {
    const record = parts.get(number);
    if (record === undefined || record.etag !== etag) return { kind: "invalid-part", number };
    if (
      checksum !== undefined &&
      (record.checksum?.algorithm !== checksum.algorithm ||
        record.checksum.value !== checksum.value)
    ) {
      return { kind: "invalid-part", number };
    }
    listed.push({ number, record });
  }
  for (const { number, record } of listed.slice(0, -1)) {
    if (record.size >= PART_BYTES_MIN) continue;
    return { kind: "part-too-small", number, size: record.size, etag: record.etag };
  }
  return listed;
}

/** Each part once: AWS refuses a number that comes twice as it does one out of order. */
function isAscending(parts: Request["parts"]): boolean {
  let before = 0;
  for (const { number } of parts) {
    if (number <= before) return false;
    before = number;
  }
  return true;
}

function contentOf(
  listed: readonly ListedPart[],
  upload: UploadRecord,
  uploadId: Uint8Array,
): Content {
  const records = listed.map(({ record }) => record);
  const asked = { algorithm: upload.checksumAlgorithm, type: upload.checksumType };
  return {
    size: records.reduce((size, record) => size + record.size, 0),
    etag: etagOf(md5OfParts(records), records.length),
    checksum: checksumOfParts(records, asked),
    partCount: records.length,
    extents: [],
    parts: listed.map(({ number, record }) => ({
      number,
      size: record.size,
      extents: record.extents,
      checksum: record.checksum?.value,
    })),
    manifest: undefined,
    uploadId,
  };
}

/** What the client said of the whole object. */
function judgeWhole(content: Content, { expected }: Request): Refusal | undefined {
  const { checksum, size } = expected;
  if (size !== undefined && size !== content.size) return { kind: "size-mismatch" };
  if (checksum === undefined) return undefined;
  const isSame =
    checksum.algorithm === content.checksum?.algorithm && checksum.value === content.checksum.value;
  return isSame ? undefined : { kind: "bad-checksum" };
}
