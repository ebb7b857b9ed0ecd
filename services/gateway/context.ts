/** All that a handler sees of HTTP: a request already authenticated, and the answer it gives. */
import type { Caller, Users } from "#access/users.ts";
import type { S3ErrorCode } from "#gateway/errors.ts";
import type { Clock } from "#lib/clock.ts";
import type { Random } from "#lib/random.ts";
import type {
  Bucket,
  ChecksumAlgorithm,
  ObjectBody,
  ObjectVersion,
  Ownership,
} from "#objects/model.ts";
import type { ObjectLayer } from "#objects/object-layer.ts";

/** Decoded query parameters, in order; a name without `=` has the value "". */
export interface Query {
  get(name: string): string | undefined;
  has(name: string): boolean;
  names(): readonly string[];
}

/**
 * Request headers that handlers may trust: with a signed request every `x-amz-*` one here was signed. Names in lower case,
 * values as Unicode (UTF-8, or Latin-1 where they are not). With a presigned URL its `x-amz-*` parameters count as headers;
 * with a form these are the form's fields, `${filename}` already put into the key.
 */
export interface RequestHeaders {
  get(name: string): string | undefined;
  /** Headers whose names begin so, in the client's order. */
  withPrefix(prefix: string): readonly (readonly [name: string, value: string])[];
}

export interface RequestBody {
  /** Bytes without transfer framing (Content-Length or x-amz-decoded-content-length); undefined when not announced. */
  readonly size: number | undefined;
  /** True when the client gave Content-MD5 or an x-amz-checksum-* (header or trailer). */
  readonly hasDigest: boolean;
  /** The algorithm of the x-amz-checksum-* header or trailer the client sent, if any. */
  readonly checksumAlgorithm: ChecksumAlgorithm | undefined;
  /**
   * All of a small body, every digest and signature verified. Throws MaxMessageLengthExceeded over the limit.
   * `checksumsAreOf`: what the x-amz-checksum-* headers speak of; with CompleteMultipartUpload it is the object, not this document.
   */
  document(limitBytes: number, checksumsAreOf?: "document" | "object"): Promise<Buffer>;
  /**
   * The body as an object's bytes; throws MissingContentLength when neither a size nor chunked transfer was announced.
   * `checksum` is what to compute when the client sent none (undefined: nothing but MD5).
   */
  object(options: { checksum: ChecksumAlgorithm | undefined }): ObjectBody;
}

export interface S3Request {
  /** x-amz-request-id of the answer. */
  readonly id: string;
  readonly method: string;
  /** Empty for operations on the service. */
  readonly bucketName: string;
  /** Decoded once; empty for operations on a bucket. */
  readonly key: string;
  readonly query: Query;
  readonly headers: RequestHeaders;
  readonly caller: Caller;
  readonly body: RequestBody;
  /** Aborts when the client has gone or the server gives up on it. */
  readonly signal: AbortSignal;
  /** The bucket addressed, already loaded; undefined for service operations and CreateBucket. */
  readonly bucket: Bucket | undefined;
  /** `http://host[:port]` as the client sees this server, for Location. */
  readonly origin: string;
  readonly isVirtualHost: boolean;
  /**
   * Throws AccessDenied unless the caller may do this. Bucket-level rows are checked before the handler runs; handlers of rows with
   * `authorises: "handler"` call it themselves, with the version once they have it. CopyObject calls it for its source too.
   */
  permit(action: string, resource: { bucket: Bucket; key?: string; version?: ObjectVersion }): void;
  /** The same as a question: some things are told only to those who may ask for them. */
  mayDo(action: string, resource: { bucket: Bucket; version?: ObjectVersion }): boolean;
}

export interface S3Response {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string | undefined>>;
  /** A string is an XML document without its declaration. Pieces of known length are sent with the head in one write; of iterated ones each leaves before the next is asked for. */
  readonly body?: string | readonly Uint8Array[] | AsyncIterable<Uint8Array> | undefined;
  /** Bytes of `body`; needed when it is iterated, and for HEAD. */
  readonly length?: number;
}

/** What the operator decided that handlers need. */
export interface GatewaySettings {
  /** undefined: any region is accepted and us-east-1 reported. */
  readonly region: string | undefined;
  readonly defaultOwnership: Ownership;
  /** Domains whose sub-domains are buckets. */
  readonly domains: readonly string[];
  readonly legacySignatures: boolean;
}

/** The parts of the program that handlers use. */
export interface Parts {
  readonly objects: ObjectLayer;
  readonly users: Users;
  readonly settings: GatewaySettings;
  readonly clock: Clock;
  readonly random: Random;
  /** Whether the index should take no more than it must; undefined: it has no bounds that one would have to know of. */
  readonly room?: { readonly isShort: boolean } | undefined;
}

export type Handler = (request: S3Request, parts: Parts) => Promise<S3Response>;

/** How a request says who sends it. */
export type AuthMode = "header" | "query" | "form" | "anonymous";

/** The value of x-amz-content-sha256. */
export type PayloadMode =
  | "hash"
  | "unsigned"
  | "signed-chunks"
  | "signed-chunks-trailer"
  | "unsigned-chunks-trailer";

/** One row of the operation table (operations.ts). */
export interface Operation {
  readonly method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE" | "OPTIONS";
  readonly target: "service" | "bucket" | "object";
  /** Query parameters that must be there (`uploads`, or `list-type=2`), and headers (`x-amz-copy-source`); more specific rows win. */
  readonly query?: readonly string[];
  readonly headers?: readonly string[];
  /** IAM's name of what is being permitted. */
  readonly action: string;
  /** The action instead of it when the request names a version (`?versionId=`). */
  readonly versionAction?: string;
  /** Cloud Portable Storage's tier; undefined beyond it. */
  readonly tier?: 1 | 2 | 3;
  /** Who calls `permit`; the pipeline unless said otherwise. */
  readonly authorises?: "handler";
  /** Whether the pipeline loads the bucket and answers NoSuchBucket; yes unless said otherwise. */
  readonly bucket?: "not-loaded";
  /** Payload modes beyond "hash" and "unsigned". */
  readonly streams?: boolean;
  /** It adds to the index, and is refused while that is short of room (R20). */
  readonly grows?: true;
  /** undefined: 501 NotImplemented. */
  readonly handle?: Handler;
  /** Instead of a handler, for a configuration that we do not offer (edge rule 14). */
  readonly notConfigured?: NotConfigured;
}

/**
 * The truth about a configuration that no bucket can have yet: reading answers the code that says so, or an empty document where S3
 * has one; deleting it succeeds, as on AWS, since it is not there afterwards. Writing it has no such answer and is 501.
 */
export type NotConfigured =
  | { readonly code: S3ErrorCode; readonly message?: string }
  | { readonly document: string }
  | { readonly status: 204 };
