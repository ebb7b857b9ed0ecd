/**
 * Whether the index still names a write's bytes: the question that garbage collection and repair ask before they act.
 * They treat an error as "yes": what cannot be read keeps everything.
 *
 * The answer must hold although versions move while it is sought. Bytes of a part move only forward: part → object →
 * trash; so the places are looked through in that order. Versions also move back, when the newest goes and the next
 * becomes current; but every move between current and older rewrites the key's head, so heads are read before and
 * after the older versions, and again until they have stayed the same. "No" is final for a write that cannot be
 * committed any more, which the caller knows from its session.
 */
import { parseIdBytes } from "#metadata/ids.ts";
import {
  afterKey,
  KEY,
  type KeyRange,
  kindRange,
  liveKey,
  markerKey,
  olderVersionsRange,
  partKey,
  trashInSlot,
  trashOf,
  trashSlotStart,
} from "#metadata/keys.ts";
import type { Entry, MetadataStore } from "#metadata/metadata-store.ts";
import { type ExtentRecord, equalBytes } from "#metadata/record-fields.ts";
import { decodeUploadPart } from "#metadata/record-upload.ts";
import { decodeVersion, type VersionRecord } from "#metadata/record-version.ts";
import { decodeTrash } from "#metadata/records.ts";
import type { Manifests } from "#objects/manifests.ts";

/** A write as its shards name it. */
export interface WriteName {
  readonly bucketId: string;
  readonly key: string;
  readonly uploadId?: string | undefined;
  readonly partNumber?: number | undefined;
  readonly writeId: Uint8Array;
}

const BATCH = 500;

export class References {
  readonly #store: MetadataStore;
  readonly #manifests: Manifests;

  constructor(parts: { store: MetadataStore; manifests: Manifests }) {
    this.#store = parts.store;
    this.#manifests = parts.manifests;
  }

  /** Linearizable; looks at the versions of one key, at one part and at one key's trash, never at a whole bucket. */
  async isReferenced(write: WriteName, signal: AbortSignal): Promise<boolean> {
    return (
      (await this.#inPart(write, signal)) ||
      (await this.#inVersions(write, signal)) ||
      (await this.#inTrash(write, signal))
    );
  }

  async #inPart(write: WriteName, signal: AbortSignal): Promise<boolean> {
    const { bucketId, uploadId, partNumber, writeId } = write;
    if (uploadId === undefined || partNumber === undefined) return false;
    const bytes = parseIdBytes(uploadId);
    if (bytes === undefined) throw new Error(`Cannot look for upload ${uploadId}: it is no id`);
    const entry = await this.#store.get(partKey(bucketId, bytes, partNumber), signal);
    return entry !== undefined && named(writeId, decodeUploadPart(entry.value).extents);
  }

  async #inVersions(write: WriteName, signal: AbortSignal): Promise<boolean> {
    const { bucketId, key } = write;
    const heads = [liveKey(bucketId, key), markerKey(bucketId, key)];
    let before = await this.#store.getMany(heads, signal);
    for (;;) {
      for (const head of before) {
        if (head !== undefined && (await this.#inVersion(write, head, signal))) return true;
      }
      for await (const entry of this.#each(olderVersionsRange(bucketId, key), signal)) {
        if (await this.#inVersion(write, entry, signal)) return true;
      }
      const after = await this.#store.getMany(heads, signal);
      if (before.every((entry, index) => entry?.revision === after[index]?.revision)) return false;
      before = after;
    }
  }

  async #inVersion(write: WriteName, entry: Entry, signal: AbortSignal): Promise<boolean> {
    const version: VersionRecord = decodeVersion(write.key, entry.value);
    if (named(write.writeId, version.extents)) return true;
    if (version.parts.some(({ extents }) => named(write.writeId, extents))) return true;
    return this.#inManifest(write.writeId, version.manifest, signal);
  }

  async #inManifest(
    writeId: Uint8Array,
    manifest: ExtentRecord | undefined,
    signal: AbortSignal,
  ): Promise<boolean> {
    if (manifest === undefined) return false;
    return named(writeId, [manifest]) || this.#manifests.names(manifest, writeId, signal);
  }

  async #inTrash(write: WriteName, signal: AbortSignal): Promise<boolean> {
    const { bucketId, key, writeId } = write;
    // Trash is in order of time: the slots that exist are sought one after another, each looked into for this key only.
    let { from, to } = kindRange(KEY.trash, bucketId);
    for (;;) {
      const [first] = (await this.#store.range({ from, to, limit: 1 }, signal)).entries;
      if (first === undefined) return false;
      const { slot } = trashOf(first.key);
      const range = trashInSlot(bucketId, slot, key);
      for await (const { value } of this.#each(range, signal)) {
        const { extents, manifest } = decodeTrash(value);
        if (named(writeId, extents)) return true;
        if (await this.#inManifest(writeId, manifest, signal)) return true;
      }
      from = trashSlotStart(bucketId, slot + 1);
    }
  }

  async *#each({ from, to }: KeyRange, signal: AbortSignal): AsyncGenerator<Entry> {
    let next = from;
    for (;;) {
      const page = await this.#store.range({ from: next, to, limit: BATCH }, signal);
      yield* page.entries;
      const last = page.entries.at(-1);
      if (!page.more || last === undefined) return;
      next = afterKey(last.key);
    }
  }
}

function named(writeId: Uint8Array, extents: readonly ExtentRecord[]): boolean {
  return extents.some((extent) => equalBytes(extent.writeId, writeId));
}
