/** Objects put and read whole: their bytes through the data plane, their versions through the index. */
import type { PartRecord } from "#metadata/record-fields.ts";
import { encodeVersion, type VersionRecord } from "#metadata/record-version.ts";
import type { DataPlane } from "#objects/data-plane.ts";
import type { Manifests } from "#objects/manifests.ts";
import type { BodyDigests, Extent, ObjectAttributes, ObjectVersion } from "#objects/model.ts";
import { objectVersion, wholeContent } from "#objects/new-version.ts";
import type { Gone, ObjectLayer, Stored } from "#objects/object-layer.ts";
import type { VersionWrites } from "#objects/version-writes.ts";

type Put = Parameters<ObjectLayer["put"]>[0];
type Read = Parameters<ObjectLayer["read"]>[0];
type Parts = Awaited<ReturnType<ObjectLayer["parts"]>>;

/** Extents with the range of their bytes that is wanted. */
interface Span {
  readonly extents: readonly Extent[];
  readonly start: number;
  readonly end: number;
}

const NO_NONCE = Buffer.alloc(0);

export class Objects {
  readonly #data: DataPlane;
  readonly #writes: VersionWrites;
  readonly #manifests: Manifests;

  constructor(parts: { data: DataPlane; writes: VersionWrites; manifests: Manifests }) {
    this.#data = parts.data;
    this.#writes = parts.writes;
    this.#manifests = parts.manifests;
  }

  async put(request: Put): Promise<Stored | Gone> {
    const { bucket, key, body, attributes, precondition, signal } = request;
    await this.#writes.judge({ bucket, key, precondition, signal });
    const written = await this.#data.write({
      body,
      owner: { bucketId: bucket.id, bucketName: bucket.name, key },
      storageClass: attributes.storageClass,
      describe: () => describeObject({ key, attributes, digests: body.digests() }),
      signal,
    });
    const { md5, checksum } = body.digests();
    const content = wholeContent({
      size: sizeOf(written.extents),
      etag: Buffer.from(md5).toString("hex"),
      checksum,
      extents: written.extents,
    });
    return this.#writes.store({
      bucket,
      key,
      attributes,
      content,
      written: [written],
      precondition,
      signal,
    });
  }

  async *read(request: Read): AsyncGenerator<Uint8Array> {
    const { version, start, end, signal, isTransient = false } = request;
    if (start >= end) return;
    const span = await this.#span(version, start, end, signal);
    yield* this.#data.read({ ...span, signal, isTransient });
  }

  async readSmall(request: Read): Promise<readonly Uint8Array[] | undefined> {
    const { version, start, end, signal } = request;
    if (start >= end) return [];
    const span = await this.#span(version, start, end, signal);
    return this.#data.readSmall({ ...span, signal });
  }

  async parts(request: { version: ObjectVersion; signal: AbortSignal }): Promise<Parts> {
    if (request.version.partCount === 0) return [];
    const parts = await this.#manifests.partsOf(storedVersion(request.version), request.signal);
    let offset = 0;
    return parts.map(({ number, size, checksum }) => {
      const part = { number, size, offset, checksum };
      offset += size;
      return part;
    });
  }

  /** Only the extents that hold bytes of the range: a range of a large object costs no walk over its parts' shards. */
  async #span(
    version: ObjectVersion,
    start: number,
    end: number,
    signal: AbortSignal,
  ): Promise<Span> {
    const stored = storedVersion(version);
    if (stored.partCount === 0) return { extents: stored.extents, start, end };
    return spanOf(await this.#manifests.partsOf(stored, signal), start, end);
  }
}

/** What `find` gave to the gateway is the record itself; nobody else makes versions. */
export function storedVersion(version: ObjectVersion): VersionRecord {
  if (!("extents" in version)) {
    throw new Error(`Cannot use a version of ${version.key}: it does not come from the index`);
  }
  return version as VersionRecord;
}

export function sizeOf(extents: readonly Extent[]): number {
  let size = 0;
  for (const extent of extents) size += extent.size;
  return size;
}

/** What the shards themselves say of an object: its record but for its place in the order, which only the commit gives. */
export function describeObject(about: {
  key: string;
  attributes: ObjectAttributes;
  digests: BodyDigests;
}): Uint8Array {
  const { key, attributes, digests } = about;
  const content = wholeContent({
    size: 0,
    etag: Buffer.from(digests.md5).toString("hex"),
    checksum: digests.checksum,
    extents: [],
  });
  const draft = { key, isNull: false, nonce: NO_NONCE, lastModifiedMs: 0, attributes, content };
  return encodeVersion({ ...objectVersion(draft), versionId: "", sequence: 0, nullSequence: 0 });
}

function spanOf(parts: readonly PartRecord[], start: number, end: number): Span {
  const extents: Extent[] = [];
  let offset = 0;
  let first = 0;
  for (const { size, extents: own } of parts) {
    if (offset < end && offset + size > start) {
      if (extents.length === 0) first = offset;
      extents.push(...own);
    }
    offset += size;
  }
  return { extents, start: start - first, end: end - first };
}
