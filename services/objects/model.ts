/**
 * What buckets, objects, versions and uploads are, in the words of S3, free of HTTP and of storage.
 * The gateway's operations speak only these types and the interfaces of `object-layer.ts`.
 */
import type { ReadAhead } from "#objects/read-ahead.ts";

export type CannedAcl =
  | "private"
  | "public-read"
  | "public-read-write"
  | "authenticated-read"
  | "bucket-owner-read"
  | "bucket-owner-full-control";

export type Ownership = "BucketOwnerEnforced" | "BucketOwnerPreferred" | "ObjectWriter";
export type Versioning = "unversioned" | "enabled" | "suspended";

export interface Tag {
  readonly key: string;
  readonly value: string;
}

export interface Bucket {
  readonly name: string;
  /** Random; a bucket made again under the same name has another one. 32 hex digits. */
  readonly id: string;
  readonly ownerId: string;
  readonly createdMs: number;
  /** As the client's LocationConstraint said; empty for us-east-1. */
  readonly region: string;
  readonly versioning: Versioning;
  /** undefined once DeleteBucketOwnershipControls took the rule away: then ACLs count as under ObjectWriter. */
  readonly ownership: Ownership | undefined;
  readonly acl: CannedAcl;
  readonly tags: readonly Tag[] | undefined;
  readonly cors: readonly CorsRule[] | undefined;
  /** Of the key that was named when the bucket was asked for; for the object layer alone. */
  readonly ahead?: ReadAhead;
}

/** Which key, and whether it is to be changed, which takes its bucket's state and both possible heads at one revision. */
export interface KeyQuestion {
  readonly key: string;
  readonly isToChange: boolean;
}

export interface CorsRule {
  readonly id: string | undefined;
  readonly allowedOrigins: readonly string[];
  readonly allowedMethods: readonly string[];
  readonly allowedHeaders: readonly string[];
  readonly exposeHeaders: readonly string[];
  readonly maxAgeSeconds: number | undefined;
}

/** What a bucket's configuration may be changed to; a field left out stays. */
export interface BucketChange {
  readonly versioning?: Versioning;
  readonly ownership?: Ownership | undefined;
  readonly acl?: CannedAcl;
  readonly tags?: readonly Tag[] | undefined;
  readonly cors?: readonly CorsRule[] | undefined;
}

export type ChecksumAlgorithm = "CRC32" | "CRC32C" | "CRC64NVME" | "SHA1" | "SHA256";
export type ChecksumType = "FULL_OBJECT" | "COMPOSITE";

export interface Checksum {
  readonly algorithm: ChecksumAlgorithm;
  readonly type: ChecksumType;
  /** Base64, without the `-N` that S3 shows behind a composite one. */
  readonly value: string;
}

/** The system metadata that S3 stores and returns unchanged. */
export interface ContentHeaders {
  readonly contentType?: string;
  readonly contentEncoding?: string;
  readonly contentLanguage?: string;
  readonly contentDisposition?: string;
  readonly cacheControl?: string;
  readonly expires?: string;
  readonly websiteRedirectLocation?: string;
}

/** User metadata: names lower case without `x-amz-meta-`, values as Unicode; in the client's order. */
export type UserMetadata = readonly (readonly [name: string, value: string])[];

/** What a client says of an object when it writes it. */
export interface ObjectAttributes {
  readonly ownerId: string;
  readonly headers: ContentHeaders;
  readonly metadata: UserMetadata;
  readonly tags: readonly Tag[];
  readonly acl: CannedAcl;
  /** S3's name: STANDARD. */
  readonly storageClass: string;
}

/** Where bytes lie: one write of the data plane. Nothing here names a node or a disk. */
export interface Extent {
  readonly group: number;
  /** 16 bytes. */
  readonly writeId: Uint8Array;
  /** Codec name, `replica-1`, `ec-4+2`. */
  readonly codec: string;
  /** Bytes of a block of a full stripe. */
  readonly unit: number;
  readonly size: number;
}

/** One part of an object that was uploaded in parts. */
export interface ObjectPart {
  readonly number: number;
  readonly size: number;
  readonly extents: readonly Extent[];
  /** Base64 of the part's own checksum. */
  readonly checksum: string | undefined;
}

/** One version of one key: an object or a delete marker. */
export interface ObjectVersion {
  readonly key: string;
  /** S3's version id; "null" for the null version. */
  readonly versionId: string;
  readonly isDeleteMarker: boolean;
  /** The previous head's + 1; order within the key. */
  readonly sequence: number;
  readonly lastModifiedMs: number;
  readonly ownerId: string;
  /** The fields below are empty for a delete marker. */
  readonly size: number;
  /** Hex without quotes; `…-N` for an upload in N parts. */
  readonly etag: string;
  readonly checksum: Checksum | undefined;
  readonly storageClass: string;
  readonly headers: ContentHeaders;
  readonly metadata: UserMetadata;
  readonly tags: readonly Tag[];
  readonly acl: CannedAcl;
  /** Number of parts; 0 when it was not uploaded in parts. */
  readonly partCount: number;
}

export interface Upload {
  readonly key: string;
  readonly uploadId: string;
  readonly initiatedMs: number;
  /** Who began it (Initiator). */
  readonly initiatorId: string;
  readonly attributes: ObjectAttributes;
  /** As chosen at creation; undefined when the client named none. */
  readonly checksumAlgorithm: ChecksumAlgorithm | undefined;
  readonly checksumType: ChecksumType | undefined;
}

export interface UploadPart {
  readonly number: number;
  readonly size: number;
  readonly etag: string;
  readonly lastModifiedMs: number;
  readonly checksum: Checksum | undefined;
}

/** What a body turned out to be, known and verified once its last byte has been read. */
export interface BodyDigests {
  /** 16 bytes. */
  readonly md5: Uint8Array;
  /** What the client sent and was verified, or what we computed by default. Always FULL_OBJECT. */
  readonly checksum: Checksum | undefined;
}

/**
 * The bytes of an upload, already freed of any transfer framing. Iterating throws when a signature, length or
 * digest turns out wrong, at the latest at its end: bytes whose iteration has not ended are never committed.
 * A piece is its reader's until the next one is asked for, and the last piece of a body of known size for good.
 */
export interface ObjectBody extends AsyncIterable<Uint8Array> {
  /** As the client announced it; undefined for a form's file and for a plain chunked upload, which end when they end. */
  readonly size: number | undefined;
  /** Only after the iteration has ended. */
  digests(): BodyDigests;
}
