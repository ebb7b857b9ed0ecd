/**
 * UploadPartCopy. A whole object that was put whole becomes a part without moving a byte: its ETag is the MD5 that the
 * part needs. Any other range is read, verified and written anew.
 */
import { StoredBody } from "#objects/bodies.ts";
import { orSourceGone } from "#objects/copy-source.ts";
import type { DataPlane, ExtentOwner, WrittenExtents } from "#objects/data-plane.ts";
import type { BodyDigests } from "#objects/model.ts";
import type { Multipart, StoredPart } from "#objects/multipart.ts";
import type { Uploads } from "#objects/object-layer.ts";
import { describeObject, type Objects, storedVersion } from "#objects/objects.ts";
import type { Versions } from "#objects/versions.ts";

type Request = Parameters<Uploads["copyPart"]>[0];

interface CopiedPart {
  readonly written: WrittenExtents;
  readonly digests: BodyDigests;
}

const DEFAULT_ALGORITHM = "CRC64NVME";

export class PartCopies {
  readonly #data: DataPlane;
  readonly #objects: Objects;
  readonly #versions: Versions;
  readonly #multipart: Multipart;

  constructor(parts: {
    data: DataPlane;
    objects: Objects;
    versions: Versions;
    multipart: Multipart;
  }) {
    this.#data = parts.data;
    this.#objects = parts.objects;
    this.#versions = parts.versions;
    this.#multipart = parts.multipart;
  }

  async copy(request: Request): Promise<StoredPart | { readonly kind: "source-gone" }> {
    const { source, signal } = request;
    const copied = await orSourceGone(this.#versions, { ...source, signal }, async () => {
      return (await this.#linked(request)) ?? this.#rewritten(request);
    });
    if (copied === "source-gone") return { kind: "source-gone" };
    return this.#multipart.storePart({ ...request, ...copied });
  }

  async #linked(request: Request): Promise<CopiedPart | undefined> {
    const { source, upload, signal } = request;
    const { start, end } = source;
    const { size, partCount, etag, checksum, extents } = storedVersion(source.version);
    const asked = upload.checksumAlgorithm ?? DEFAULT_ALGORITHM;
    const isWhole = start === 0 && end === size && size > 0 && partCount === 0;
    if (!isWhole || checksum?.algorithm !== asked) return undefined;
    const { storageClass } = upload.attributes;
    const owner = ownerOf(request);
    const written = await this.#data.link({ extents, owner, storageClass, signal });
    return written && { written, digests: { md5: Buffer.from(etag, "hex"), checksum } };
  }

  async #rewritten(request: Request): Promise<CopiedPart> {
    const { source, upload, signal } = request;
    const { attributes } = upload;
    const body = new StoredBody({
      bytes: this.#objects.read({ ...source, signal }),
      size: source.end - source.start,
      algorithm: upload.checksumAlgorithm ?? DEFAULT_ALGORITHM,
    });
    const written = await this.#data.write({
      body,
      owner: ownerOf(request),
      storageClass: attributes.storageClass,
      describe: () => describeObject({ key: upload.key, attributes, digests: body.digests() }),
      signal,
    });
    return { written, digests: body.digests() };
  }
}

function ownerOf({ bucket, upload, number }: Request): ExtentOwner {
  const { key, uploadId } = upload;
  return { bucketId: bucket.id, bucketName: bucket.name, key, uploadId, partNumber: number };
}
