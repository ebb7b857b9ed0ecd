/**
 * Uploads in parts until they become an object: begun, listed, given parts. How one ends is in completion.ts and
 * upload-endings.ts.
 *
 * A part's commit compares the upload's record, which Complete and Abort change: a part is either in before they
 * look, or refused. While a Complete is under way the record says so and parts wait; when it stays so, whoever began
 * it is taken for dead and the upload is opened again, by a compare that its commit would fail on.
 */
import type { Clock } from "#lib/clock.ts";
import type { Random } from "#lib/random.ts";
import { formatIdBytes, idBytes, parseIdBytes } from "#metadata/ids.ts";
import { bucketStateKey, NONCE_BYTES, partKey, trashKey, uploadKey } from "#metadata/keys.ts";
import type { Entry, MetadataStore, Put } from "#metadata/metadata-store.ts";
import {
  decodeUpload,
  decodeUploadPart,
  encodeUpload,
  encodeUploadPart,
  type UploadPartRecord,
  type UploadRecord,
} from "#metadata/record-upload.ts";
import { encodeTrash } from "#metadata/records.ts";
import type { BucketRemoval } from "#objects/bucket-removal.ts";
import type { Commits, Step } from "#objects/commits.ts";
import type { DataPlane, WrittenExtents } from "#objects/data-plane.ts";
import { bucketPresence, presentExpectation } from "#objects/key-view.ts";
import type { BodyDigests, Bucket, ObjectBody, Upload, UploadPart } from "#objects/model.ts";
import type { Gone, Uploads } from "#objects/object-layer.ts";
import { describeObject, sizeOf } from "#objects/objects.ts";
import { uploadName } from "#objects/upload-endings.ts";
import { settled } from "#objects/version-writes.ts";

export type StoredPart =
  | { readonly kind: "stored"; readonly part: UploadPart }
  | { readonly kind: "no-such-upload" }
  | Gone;

/** How long a Complete may stay under way before it is taken for dead. It reads and writes small records only. */
export const COMPLETION_PATIENCE_MS = 3000;
const COMPLETION_POLL_MS = 20;

export class Multipart {
  readonly #store: MetadataStore;
  readonly #data: DataPlane;
  readonly #commits: Commits;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #removal: BucketRemoval;

  constructor(parts: {
    store: MetadataStore;
    data: DataPlane;
    commits: Commits;
    clock: Clock;
    random: Random;
    removal: BucketRemoval;
  }) {
    this.#store = parts.store;
    this.#data = parts.data;
    this.#commits = parts.commits;
    this.#clock = parts.clock;
    this.#random = parts.random;
    this.#removal = parts.removal;
  }

  async create(request: Parameters<Uploads["create"]>[0]): ReturnType<Uploads["create"]> {
    const { bucket, key, initiatorId, attributes, checksumAlgorithm, checksumType } = request;
    const { signal } = request;
    const state = bucketStateKey(bucket.name);
    return this.#commits.run(
      `bucket ${bucket.name}`,
      async (): Promise<Step<Awaited<ReturnType<Uploads["create"]>>>> => {
        const entry = await this.#store.get(state, signal);
        const presence = bucketPresence(bucket, entry);
        if (presence === "gone" || entry === undefined) {
          return { kind: "done", value: { kind: "no-such-bucket" } };
        }
        if (presence === "deleting") {
          await this.#removal.waitOut(bucket, signal);
          return { kind: "retry" };
        }
        const initiatedMs = this.#clock.now();
        const nonce = this.#random.bytes(NONCE_BYTES);
        const record: UploadRecord = {
          nonce,
          completing: Buffer.alloc(0),
          initiatedMs,
          initiatorId,
          ...attributes,
          checksumAlgorithm,
          checksumType,
        };
        const uploadId = idBytes({ order: initiatedMs, nonce });
        const proof = { key: uploadKey(bucket.id, key, uploadId), value: encodeUpload(record) };
        const expect = [presentExpectation(entry), { key: proof.key, revision: 0 }];
        return {
          kind: "commit",
          change: { expect, put: [proof], remove: [] },
          value: { kind: "created", upload: toUpload(key, uploadId, record) },
          proof,
        };
      },
      { signal },
    );
  }

  async find(request: Parameters<Uploads["find"]>[0]): Promise<Upload | undefined> {
    const { bucket, key, signal } = request;
    const uploadId = parseIdBytes(request.uploadId);
    if (uploadId === undefined) return undefined;
    const entry = await this.#store.get(uploadKey(bucket.id, key, uploadId), signal);
    return entry && toUpload(key, uploadId, decodeUpload(entry.value));
  }

  async putPart(request: {
    bucket: Bucket;
    upload: Upload;
    number: number;
    body: ObjectBody;
    signal: AbortSignal;
  }): Promise<StoredPart> {
    const { bucket, upload, number, body, signal } = request;
    const { key, uploadId } = upload;
    const written = await this.#data.write({
      body,
      owner: {
        bucketId: bucket.id,
        bucketName: bucket.name,
        key,
        uploadId,
        partNumber: number,
      },
      storageClass: upload.attributes.storageClass,
      describe: () =>
        describeObject({ key, attributes: upload.attributes, digests: body.digests() }),
      signal,
    });
    return this.storePart({ bucket, upload, number, written, digests: body.digests(), signal });
  }

  /** Commits a part whose bytes are durable; what the number held before becomes trash. */
  async storePart(request: {
    bucket: Bucket;
    upload: Upload;
    number: number;
    written: WrittenExtents;
    digests: BodyDigests;
    signal: AbortSignal;
  }): Promise<StoredPart> {
    const { bucket, upload, number, written, digests, signal } = request;
    const uploadId = uploadIdBytes(upload);
    const keys = [
      bucketStateKey(bucket.name),
      uploadKey(bucket.id, upload.key, uploadId),
      partKey(bucket.id, uploadId, number),
    ] as const;
    const attempt = async (): Promise<Step<StoredPart>> => {
      const [state, open, previous] = await this.#store.getMany(keys, signal);
      const presence = bucketPresence(bucket, state);
      if (presence === "gone" || state === undefined) {
        return { kind: "done", value: { kind: "no-such-bucket" } };
      }
      if (presence === "deleting") {
        await this.#removal.waitOut(bucket, signal);
        return { kind: "retry" };
      }
      if (open === undefined) return { kind: "done", value: { kind: "no-such-upload" } };
      if (decodeUpload(open.value).completing.length > 0) {
        await this.awaitCompletion(open, signal);
        return { kind: "retry" };
      }
      const record: UploadPartRecord = {
        nonce: this.#random.bytes(NONCE_BYTES),
        size: sizeOf(written.extents),
        etag: Buffer.from(digests.md5).toString("hex"),
        lastModifiedMs: this.#clock.now(),
        checksum: digests.checksum,
        extents: written.extents,
      };
      const proof = { key: keys[2], value: encodeUploadPart(record) };
      const trash = previous && this.#trashOf(bucket.id, upload.key, previous);
      return {
        kind: "commit",
        change: {
          expect: [
            presentExpectation(state),
            presentExpectation(open),
            { key: keys[2], revision: previous?.revision ?? 0 },
          ],
          put: [proof, ...(trash ?? []), ...written.put],
          remove: [],
        },
        value: { kind: "stored", part: toPart(number, record) },
        proof,
      };
    };
    return settled(
      [written],
      ({ kind }) => kind === "stored",
      async () => this.#commits.run(uploadName({ uploadId }), attempt, { signal, fixed: written }),
    );
  }

  /** Waits for the Complete that an upload's record names; takes the upload back when it does not end. */
  async awaitCompletion(open: Entry, signal: AbortSignal | undefined): Promise<void> {
    const deadline = this.#clock.monotonic() + COMPLETION_PATIENCE_MS;
    for (;;) {
      await this.#clock.sleep(COMPLETION_POLL_MS, signal);
      const current = await this.#store.get(open.key, signal);
      if (current?.revision !== open.revision) return;
      if (this.#clock.monotonic() >= deadline) break;
    }
    await this.reopen(open);
  }

  /** COMPLETING → OPEN, unless the record has changed since. */
  async reopen(open: Entry): Promise<void> {
    await this.#commits.run(`upload ${Buffer.from(open.key).toString("hex")}`, async () => {
      const current = await this.#store.get(open.key);
      if (current?.revision !== open.revision) return { kind: "done", value: undefined };
      const record = { ...decodeUpload(open.value), completing: Buffer.alloc(0) };
      const proof = { key: open.key, value: encodeUpload(record) };
      return {
        kind: "commit",
        change: { expect: [presentExpectation(open)], put: [proof], remove: [] },
        value: undefined,
        proof,
        landed: async () => true,
      };
    });
  }

  #trashOf(bucketId: string, key: string, previous: Entry): readonly Put[] {
    const { extents, nonce } = decodeUploadPart(previous.value);
    if (extents.length === 0) return [];
    const trashedMs = this.#clock.now();
    return [
      {
        key: trashKey({ bucketId, trashedMs, key, nonce }),
        value: encodeTrash({ trashedMs, extents, manifest: undefined }),
      },
    ];
  }
}

export function uploadIdBytes({ uploadId }: Pick<Upload, "uploadId">): Buffer {
  const bytes = parseIdBytes(uploadId);
  if (bytes === undefined) throw new Error(`Cannot use upload ${uploadId}: it is no upload id`);
  return bytes;
}

export function toUpload(key: string, uploadId: Uint8Array, record: UploadRecord): Upload {
  const { initiatedMs, initiatorId, checksumAlgorithm, checksumType } = record;
  const { ownerId, headers, metadata, tags, acl, storageClass } = record;
  return {
    key,
    uploadId: formatIdBytes(uploadId),
    initiatedMs,
    initiatorId,
    attributes: { ownerId, headers, metadata, tags, acl, storageClass },
    checksumAlgorithm,
    checksumType,
  };
}

export function toPart(number: number, record: UploadPartRecord): UploadPart {
  const { size, etag, lastModifiedMs, checksum } = record;
  return { number, size, etag, lastModifiedMs, checksum };
}
