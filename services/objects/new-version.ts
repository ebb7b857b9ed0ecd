/** Records of versions that are about to be made, before they have their place in the order. */
import type { ExtentRecord, PartRecord } from "#metadata/record-fields.ts";
import type { Checksum, ObjectAttributes } from "#objects/model.ts";
import type { NewVersion } from "#objects/version-changes.ts";

const NOTHING = Buffer.alloc(0);
const NO_ATTRIBUTES = {
  storageClass: "STANDARD",
  acl: "private",
  headers: {},
  metadata: [],
  tags: [],
} as const;

/** Where a new object's bytes are. */
export interface Content {
  readonly size: number;
  readonly etag: string;
  readonly checksum: Checksum | undefined;
  readonly extents: readonly ExtentRecord[];
  readonly partCount: number;
  readonly parts: readonly PartRecord[];
  readonly manifest: ExtentRecord | undefined;
  readonly uploadId: Uint8Array;
}

/** An object that was put whole. */
export function wholeContent(content: {
  size: number;
  etag: string;
  checksum: Checksum | undefined;
  extents: readonly ExtentRecord[];
}): Content {
  return { ...content, partCount: 0, parts: [], manifest: undefined, uploadId: NOTHING };
}

export function objectVersion(version: {
  key: string;
  isNull: boolean;
  nonce: Uint8Array;
  lastModifiedMs: number;
  attributes: ObjectAttributes;
  content: Content;
}): NewVersion {
  const { key, isNull, nonce, lastModifiedMs, attributes, content } = version;
  return {
    key,
    nonce,
    isNull,
    isDeleteMarker: false,
    lastModifiedMs,
    ownerId: attributes.ownerId,
    size: content.size,
    etag: content.etag,
    partCount: content.partCount,
    checksum: content.checksum,
    storageClass: attributes.storageClass,
    acl: attributes.acl,
    headers: attributes.headers,
    metadata: attributes.metadata,
    tags: attributes.tags,
    extents: content.extents,
    parts: content.parts,
    manifest: content.manifest,
    uploadId: content.uploadId,
    change: NOTHING,
  };
}

export function markerVersion(marker: {
  key: string;
  isNull: boolean;
  nonce: Uint8Array;
  lastModifiedMs: number;
  ownerId: string;
}): NewVersion {
  return {
    ...marker,
    ...NO_ATTRIBUTES,
    isDeleteMarker: true,
    size: 0,
    etag: "",
    partCount: 0,
    checksum: undefined,
    extents: [],
    parts: [],
    manifest: undefined,
    uploadId: NOTHING,
    change: NOTHING,
  };
}
