/** Requests as handlers and their helpers see them, made by hand for tests. */
import type { Caller, User } from "#access/users.ts";
import type { RequestBody, RequestHeaders, S3Request } from "#gateway/context.ts";
import { parseQuery } from "#gateway/query.ts";
import type { Bucket, ObjectBody, ObjectVersion } from "#objects/model.ts";

export function headersOf(fields: Readonly<Record<string, string>> = {}): RequestHeaders {
  const entries = Object.entries(fields);
  return {
    get: (name) => fields[name],
    withPrefix: (prefix) => entries.filter(([name]) => name.startsWith(prefix)),
  };
}

export const ALICE: User = {
  name: "alice",
  ownerId: "a".repeat(64),
  displayName: "Alice",
  email: undefined,
  accessKey: "ALICE",
  secretKey: "alice's secret",
};

export function bucketOf(fields: Partial<Bucket> = {}): Bucket {
  return {
    name: "photos",
    id: "0".repeat(32),
    ownerId: ALICE.ownerId,
    createdMs: Date.UTC(2026, 0, 1),
    region: "",
    versioning: "unversioned",
    ownership: "ObjectWriter",
    acl: "private",
    tags: undefined,
    cors: undefined,
    ...fields,
  };
}

export function versionOf(fields: Partial<ObjectVersion> = {}): ObjectVersion {
  return {
    key: "summer.jpg",
    versionId: "null",
    isDeleteMarker: false,
    sequence: 1,
    lastModifiedMs: Date.UTC(2026, 5, 1, 12, 0, 0, 250),
    ownerId: ALICE.ownerId,
    size: 10,
    etag: "781e5e245d69b566979b86e28d23f2c7",
    checksum: { algorithm: "CRC64NVME", type: "FULL_OBJECT", value: "AAAAAAAAAAA=" },
    storageClass: "STANDARD",
    headers: {},
    metadata: [],
    tags: [],
    acl: "private",
    partCount: 0,
    ...fields,
  };
}

export function requestOf(fields: {
  method?: string;
  key?: string;
  query?: string;
  headers?: Readonly<Record<string, string>>;
  body?: string;
  hasDigest?: boolean;
  bucket?: Bucket;
  caller?: Caller;
  permit?: S3Request["permit"];
}): S3Request {
  const bucket = fields.bucket ?? bucketOf();
  return {
    id: "request",
    method: fields.method ?? "GET",
    bucketName: bucket.name,
    key: fields.key ?? "summer.jpg",
    query: parseQuery(fields.query ?? ""),
    headers: headersOf(fields.headers),
    caller: fields.caller ?? { kind: "user", user: ALICE },
    body: bodyOf(fields.body ?? "", fields.hasDigest ?? false),
    signal: new AbortController().signal,
    bucket,
    origin: "http://localhost:9000",
    isVirtualHost: false,
    permit: fields.permit ?? (() => undefined),
    mayDo: () => true,
  };
}

function bodyOf(text: string, hasDigest: boolean): RequestBody {
  const bytes = Buffer.from(text);
  const object: ObjectBody = {
    size: bytes.length,
    digests: () => ({ md5: Buffer.alloc(16), checksum: undefined }),
    async *[Symbol.asyncIterator]() {
      yield bytes;
    },
  };
  return {
    size: bytes.length,
    hasDigest,
    checksumAlgorithm: undefined,
    document: async () => bytes,
    object: () => object,
  };
}
