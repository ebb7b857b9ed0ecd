/**
 * CopyObject. Where placement group and storage class allow, a copy is a second name for the same bytes and moves
 * none; otherwise, and when its parts lie in more groups than one commit can compare, they are read, verified and
 * written anew.
 *
 * Which ETag and checksum a copy has follows from that. A linked copy is its source's bytes in its source's parts, so
 * it keeps the ETag, `-N` included, and the parts (GET by part number works on it as on the source): reading 5 GiB
 * only to turn a valid strong validator into another one would cost ten seconds of MD5, and no client may read a
 * `-N` ETag as an MD5 anyway. A copy that was read has a single part and the MD5 of its bytes, as on AWS. Either way
 * the checksum is of the whole object, as on AWS: the source's, or combined from its parts' CRCs, or computed anew.
 */
import type { PartRecord } from "#metadata/record-fields.ts";
import type { VersionRecord } from "#metadata/record-version.ts";
import { StoredBody } from "#objects/bodies.ts";
import { orSourceGone } from "#objects/copy-source.ts";
import type { DataPlane, WrittenExtents } from "#objects/data-plane.ts";
import type { Manifests } from "#objects/manifests.ts";
import type {
  Bucket,
  Checksum,
  ChecksumAlgorithm,
  Extent,
  ObjectAttributes,
} from "#objects/model.ts";
import { type Content, wholeContent } from "#objects/new-version.ts";
import type { Gone, ObjectLayer, Stored } from "#objects/object-layer.ts";
import { describeObject, type Objects, storedVersion } from "#objects/objects.ts";
import { checksumOfParts } from "#objects/part-checksums.ts";
import type { VersionWrites } from "#objects/version-writes.ts";
import type { Versions } from "#objects/versions.ts";

type Copy = Parameters<ObjectLayer["copy"]>[0];
type Copied = Stored | Gone | { readonly kind: "source-gone" };

interface CopiedContent {
  readonly content: Content;
  readonly written: readonly WrittenExtents[];
}

interface Source {
  readonly bucket: Bucket;
  readonly version: VersionRecord;
}

const DEFAULT_ALGORITHM = "CRC64NVME";
/** Placement groups that one commit may compare, with room for the rest of its 100 expectations; likewise for marks. */
const LINKED_GROUPS_MAX = 64;

export class Copies {
  readonly #data: DataPlane;
  readonly #objects: Objects;
  readonly #versions: Versions;
  readonly #writes: VersionWrites;
  readonly #manifests: Manifests;

  constructor(parts: {
    data: DataPlane;
    objects: Objects;
    versions: Versions;
    writes: VersionWrites;
    manifests: Manifests;
  }) {
    this.#data = parts.data;
    this.#objects = parts.objects;
    this.#versions = parts.versions;
    this.#writes = parts.writes;
    this.#manifests = parts.manifests;
  }

  async copy(request: Copy): Promise<Copied> {
    const { target, changes, precondition, signal } = request;
    const source = { ...request.source, version: storedVersion(request.source.version) };
    await this.#writes.judge({ ...target, precondition, signal });
    const { version } = source;
    const attributes: ObjectAttributes = {
      headers: changes.headers ?? version.headers,
      metadata: changes.metadata ?? version.metadata,
      tags: changes.tags ?? version.tags,
      ownerId: changes.ownerId,
      acl: changes.acl,
      storageClass: changes.storageClass,
    };
    const asked = changes.checksumAlgorithm ?? version.checksum?.algorithm ?? DEFAULT_ALGORITHM;
    const copied = await orSourceGone(this.#versions, { ...source, signal }, async () =>
      this.#content({ source, target, attributes, asked, signal }),
    );
    if (copied === "source-gone") return { kind: "source-gone" };
    return this.#writes.store({ ...target, attributes, ...copied, precondition, signal });
  }

  async #content(request: {
    source: Source;
    target: { bucket: Bucket; key: string };
    attributes: ObjectAttributes;
    asked: ChecksumAlgorithm;
    signal: AbortSignal;
  }): Promise<CopiedContent> {
    const { source, asked, signal } = request;
    const parts = await this.#manifests.partsOf(source.version, signal);
    const checksum = knownChecksum(source.version, parts, asked);
    const linked = checksum && (await this.#linked({ ...request, parts, checksum }));
    return linked ?? this.#rewritten(request);
  }

  async #linked(request: {
    source: Source;
    target: { bucket: Bucket; key: string };
    attributes: ObjectAttributes;
    parts: readonly PartRecord[];
    checksum: Checksum;
    signal: AbortSignal;
  }): Promise<CopiedContent | undefined> {
    const { source, target, attributes, parts, checksum, signal } = request;
    const { size, etag, partCount } = source.version;
    if (size === 0) return undefined;
    const owner = ownerOf(target);
    const { storageClass } = attributes;
    const extents =
      partCount === 0 ? source.version.extents : parts.flatMap((part) => part.extents);
    if (new Set(extents.map(({ group }) => group)).size > LINKED_GROUPS_MAX) return undefined;
    const written = await this.#data.link({ extents, owner, storageClass, signal });
    if (written === undefined) return undefined;
    if (written.put.length > LINKED_GROUPS_MAX) {
      written.settle("not-committed");
      return undefined;
    }
    if (partCount === 0) {
      const content = wholeContent({ size, etag, checksum, extents: written.extents });
      return { content, written: [written] };
    }
    return settledUnlessPlaced([written], async () => {
      const placed = await this.#manifests.place({
        parts: withExtents(parts, written.extents),
        owner,
        storageClass,
        signal,
      });
      const content: Content = {
        ...wholeContent({ size, etag, checksum, extents: [] }),
        partCount,
        parts: placed.parts,
        manifest: placed.manifest,
      };
      return { content, written: placed.written ? [written, placed.written] : [written] };
    });
  }

  async #rewritten(request: {
    source: Source;
    target: { bucket: Bucket; key: string };
    attributes: ObjectAttributes;
    asked: ChecksumAlgorithm;
    signal: AbortSignal;
  }): Promise<CopiedContent> {
    const { source, target, attributes, asked, signal } = request;
    const { size } = source.version;
    const body = new StoredBody({
      bytes: this.#objects.read({ ...source, start: 0, end: size, signal }),
      size,
      algorithm: asked,
    });
    const written = await this.#data.write({
      body,
      owner: ownerOf(target),
      storageClass: attributes.storageClass,
      describe: () => describeObject({ key: target.key, attributes, digests: body.digests() }),
      signal,
    });
    const { md5, checksum } = body.digests();
    const etag = Buffer.from(md5).toString("hex");
    const content = wholeContent({ size, etag, checksum, extents: written.extents });
    return { content, written: [written] };
  }
}

/** The checksum of the whole when it can be had without reading. */
export function knownChecksum(
  version: VersionRecord,
  parts: readonly PartRecord[],
  asked: ChecksumAlgorithm,
): Checksum | undefined {
  const { checksum } = version;
  if (checksum?.algorithm !== asked) return undefined;
  if (checksum.type === "FULL_OBJECT") return checksum;
  const hashed = parts.map(({ size, checksum: value }) => ({
    size,
    etag: "",
    checksum: value === undefined ? undefined : ({ ...checksum, value } as const),
  }));
  return checksumOfParts(hashed, { algorithm: asked, type: "FULL_OBJECT" });
}

/** The same parts on other extents: as many for each as before. */
function withExtents(
  parts: readonly PartRecord[],
  extents: readonly Extent[],
): readonly PartRecord[] {
  let next = 0;
  return parts.map((part) => {
    const own = extents.slice(next, next + part.extents.length);
    next += own.length;
    return { ...part, extents: own };
  });
}

/** What was written so far is undone when the rest fails. */
async function settledUnlessPlaced<T>(
  written: readonly WrittenExtents[],
  place: () => Promise<T>,
): Promise<T> {
  try {
    return await place();
  } catch (error) {
    for (const write of written) write.settle("not-committed");
    throw error;
  }
}

function ownerOf({ bucket, key }: { bucket: Bucket; key: string }) {
  return { bucketId: bucket.id, bucketName: bucket.name, key };
}
