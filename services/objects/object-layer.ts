/**
 * What the gateway may ask of the object layer, and every answer it can get. Faults (a disk that fails,
 * no quorum) are thrown: `Unavailable` of lib/ for what a retry may mend, any other error for what is broken.
 */
import type {
  Bucket,
  BucketChange,
  CannedAcl,
  Checksum,
  ChecksumAlgorithm,
  ChecksumType,
  ContentHeaders,
  KeyQuestion,
  ObjectAttributes,
  ObjectBody,
  ObjectVersion,
  Ownership,
  Tag,
  Upload,
  UploadPart,
  UserMetadata,
} from "#objects/model.ts";

/**
 * Judges the current version of a key (undefined: none, or a delete marker) and throws to refuse. It is called again
 * whenever the commit has to be tried again, and the commit compares what it saw, so its verdict is linearizable.
 */
export type Precondition = (current: ObjectVersion | undefined) => void;

export interface Buckets {
  create(request: {
    name: string;
    ownerId: string;
    region: string;
    ownership: Ownership;
    acl: CannedAcl;
    versioning?: Bucket["versioning"];
    tags?: Bucket["tags"];
    signal: AbortSignal;
  }): Promise<{ kind: "created"; bucket: Bucket } | { kind: "exists"; bucket: Bucket }>;
  /** Linearizable. With a key, what is asked first of that key of this bucket is as it was at the same moment. */
  get(name: string, signal: AbortSignal, question?: KeyQuestion): Promise<Bucket | undefined>;
  /** In order of name, after the one given. */
  list(request: {
    ownerId: string | undefined;
    prefix: string;
    after: string;
    limit: number;
    signal: AbortSignal;
  }): Promise<{ buckets: readonly Bucket[]; isTruncated: boolean }>;
  /** `change` is called with what is stored now, again after each conflict; what it throws is passed on. */
  update(
    bucket: Bucket,
    change: (current: Bucket) => BucketChange,
    signal: AbortSignal,
  ): Promise<{ kind: "updated"; bucket: Bucket } | { kind: "missing" }>;
  /** Not empty: any version, delete marker or open upload… open uploads are aborted, as AWS does not ask for them to be. */
  remove(bucket: Bucket, signal: AbortSignal): Promise<"removed" | "missing" | "not-empty">;
}

/** Every write may find that the bucket was removed meanwhile. */
export type Gone = { readonly kind: "no-such-bucket" };

export type Stored = { readonly kind: "stored"; readonly version: ObjectVersion };

/** What a CopyObject takes over from its source, and what it replaces. */
export interface CopyChanges {
  /** undefined: the source's. */
  readonly headers: ContentHeaders | undefined;
  readonly metadata: UserMetadata | undefined;
  readonly tags: readonly Tag[] | undefined;
  readonly ownerId: string;
  readonly acl: CannedAcl;
  readonly storageClass: string;
  /** undefined: the source's (CRC64NVME when it has none); else computed anew. */
  readonly checksumAlgorithm: ChecksumAlgorithm | undefined;
}

export interface ListedVersion {
  readonly version: ObjectVersion;
  readonly isLatest: boolean;
}

export type ListEntry<T> =
  | { readonly kind: "item"; readonly item: T }
  | { readonly kind: "prefix"; readonly prefix: string };

export interface ListPage<T> {
  /** In byte order of key and common prefix together. */
  readonly entries: readonly ListEntry<T>[];
  readonly isTruncated: boolean;
}

/** What a listing shows of an object: cheap to decode. */
export type ListedObject = Pick<
  ObjectVersion,
  "key" | "lastModifiedMs" | "size" | "etag" | "storageClass" | "ownerId" | "checksum"
>;

export interface ListRequest {
  readonly prefix: string;
  /** Empty: none. */
  readonly delimiter: string;
  /** Keys and common prefixes greater than this (a common prefix given here is not given again); empty: from the start. */
  readonly after: string;
  /** 0 … 1,000. */
  readonly limit: number;
  readonly signal: AbortSignal;
}

export interface ObjectLayer {
  readonly buckets: Buckets;

  /** The version named, or the current one (which may be a delete marker); linearizable. `versionId` is S3's, "null" included. */
  find(request: {
    bucket: Bucket;
    key: string;
    versionId: string | undefined;
    signal: AbortSignal;
  }): Promise<ObjectVersion | undefined>;

  /** The bytes [start, end) of a version that `find` gave, verified. Throwing in mid-way means: break the connection. */
  read(request: {
    bucket: Bucket;
    version: ObjectVersion;
    start: number;
    end: number;
    signal: AbortSignal;
    /** A piece is good only until the next one is asked for: its memory is used again. */
    isTransient?: boolean;
  }): AsyncIterable<Uint8Array>;

  /** All of a small range at once, when that is no more than one block (undefined: use `read`). Saves the streaming. */
  readSmall(request: {
    bucket: Bucket;
    version: ObjectVersion;
    start: number;
    end: number;
    signal: AbortSignal;
  }): Promise<readonly Uint8Array[] | undefined>;

  /** Parts of a version uploaded in parts, by number; empty when it was not. `offset` is where the part begins. */
  parts(request: { bucket: Bucket; version: ObjectVersion; signal: AbortSignal }): Promise<
    readonly {
      readonly number: number;
      readonly size: number;
      readonly offset: number;
      readonly checksum: string | undefined;
    }[]
  >;

  put(request: {
    bucket: Bucket;
    key: string;
    body: ObjectBody;
    attributes: ObjectAttributes;
    precondition?: Precondition;
    signal: AbortSignal;
  }): Promise<Stored | Gone>;

  /** `source` comes from `find`; `source-gone` when it was removed meanwhile and its bytes with it. */
  copy(request: {
    source: { bucket: Bucket; version: ObjectVersion };
    target: { bucket: Bucket; key: string };
    changes: CopyChanges;
    precondition?: Precondition;
    signal: AbortSignal;
  }): Promise<Stored | Gone | { readonly kind: "source-gone" }>;

  /**
   * Without versionId: S3's simple delete (a delete marker where versioning is or was on, else the object goes).
   * With it: that version goes for good. `removed` tells what became of it; absent things are fine.
   * The precondition sees the version that would go (with versionId) or the current one.
   */
  remove(request: {
    bucket: Bucket;
    key: string;
    versionId: string | undefined;
    ownerId: string;
    precondition?: Precondition;
    signal: AbortSignal;
  }): Promise<
    | Gone
    | {
        readonly kind: "removed";
        /** The version id of the marker made, or of the version removed; undefined in an unversioned bucket. */
        readonly versionId: string | undefined;
        /** A marker was made, or the version removed was one. */
        readonly deleteMarker: boolean;
      }
  >;

  /** Changes tags or ACL of one version, atomically. `missing` also when the version is a delete marker. */
  update(request: {
    bucket: Bucket;
    key: string;
    versionId: string | undefined;
    change: (current: ObjectVersion) => { tags?: readonly Tag[]; acl?: CannedAcl };
    signal: AbortSignal;
  }): Promise<{ kind: "updated"; version: ObjectVersion } | { kind: "missing" } | Gone>;

  list(request: ListRequest & { bucket: Bucket }): Promise<ListPage<ListedObject>>;

  /** Keys ascending, newest version first. `afterVersionId` (with `after` = its key) goes on behind that version. */
  listVersions(
    request: ListRequest & { bucket: Bucket; afterVersionId: string | undefined },
  ): Promise<ListPage<ListedVersion>>;

  readonly uploads: Uploads;
}

export interface Uploads {
  create(request: {
    bucket: Bucket;
    key: string;
    initiatorId: string;
    attributes: ObjectAttributes;
    checksumAlgorithm: ChecksumAlgorithm | undefined;
    checksumType: ChecksumType | undefined;
    signal: AbortSignal;
  }): Promise<{ kind: "created"; upload: Upload } | Gone>;

  /** An open upload; undefined when never begun, aborted or completed. */
  find(request: {
    bucket: Bucket;
    key: string;
    uploadId: string;
    signal: AbortSignal;
  }): Promise<Upload | undefined>;

  putPart(request: {
    bucket: Bucket;
    upload: Upload;
    number: number;
    body: ObjectBody;
    signal: AbortSignal;
  }): Promise<{ kind: "stored"; part: UploadPart } | { kind: "no-such-upload" } | Gone>;

  copyPart(request: {
    bucket: Bucket;
    upload: Upload;
    number: number;
    source: { bucket: Bucket; version: ObjectVersion; start: number; end: number };
    signal: AbortSignal;
  }): Promise<
    | { kind: "stored"; part: UploadPart }
    | { kind: "no-such-upload" }
    | { kind: "source-gone" }
    | Gone
  >;

  listParts(request: {
    bucket: Bucket;
    upload: Upload;
    after: number;
    limit: number;
    signal: AbortSignal;
  }): Promise<{ parts: readonly UploadPart[]; isTruncated: boolean }>;

  /**
   * Idempotent: the same list again, also after the upload is gone, gives the same answer while the result is kept (24 h).
   * `expected` checksum of the whole object, when the client sent one, is verified before anything becomes visible.
   */
  complete(request: {
    bucket: Bucket;
    key: string;
    uploadId: string;
    parts: readonly {
      number: number;
      etag: string;
      checksum: Pick<Checksum, "algorithm" | "value"> | undefined;
    }[];
    expected: { checksum?: Checksum; size?: number };
    precondition?: Precondition;
    signal: AbortSignal;
  }): Promise<
    | Stored
    | Gone
    | { kind: "no-such-upload" }
    | { kind: "invalid-part"; number: number }
    | { kind: "invalid-part-order" }
    | { kind: "part-too-small"; number: number; size: number; etag: string }
    | { kind: "bad-checksum" }
    | { kind: "size-mismatch" }
  >;

  abort(request: {
    bucket: Bucket;
    key: string;
    uploadId: string;
    signal: AbortSignal;
  }): Promise<"aborted" | "no-such-upload">;

  /** By key, then by time of initiation. Only open ones. */
  list(
    request: ListRequest & { bucket: Bucket; afterUploadId: string | undefined },
  ): Promise<ListPage<Upload>>;
}
