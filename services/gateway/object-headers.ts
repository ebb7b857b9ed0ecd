/** The headers that travel with an object: read from the request that writes it, shown when it is read. */
import type { Caller } from "#access/users.ts";
import { uploadAcl } from "#gateway/canned-acl.ts";
import type { RequestHeaders, S3Request } from "#gateway/context.ts";
import { httpDate } from "#gateway/dates.ts";
import { S3Error } from "#gateway/errors.ts";
import { headerText, shownMetadata } from "#gateway/header-text.ts";
import { tagsFromHeader } from "#gateway/tags.ts";
import type {
  Bucket,
  CannedAcl,
  ContentHeaders,
  ObjectAttributes,
  ObjectVersion,
  UserMetadata,
} from "#objects/model.ts";

/** An answer's headers while they are gathered. */
export type HeaderFields = Record<string, string | undefined>;

/** S3's default when a client names no type. */
const DEFAULT_TYPE = "binary/octet-stream";
/** https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html */
const METADATA_BYTES_MAX = 2048;
/** Who owns what nobody signed for: AWS's own id of the anonymous user. */
const ANONYMOUS_ID = "65a011a29cdf8ec533ec3d1ccaae921c";

/** All that the headers of PutObject, CreateMultipartUpload and PostObject say of the object to be. */
export function objectAttributes(request: S3Request, bucket: Bucket): ObjectAttributes {
  const { headers } = request;
  const acl = uploadAcl(headers, bucket);
  return {
    ownerId: uploadOwner(request.caller, bucket, acl),
    headers: contentHeaders(headers),
    metadata: userMetadata(headers),
    tags: tagsFromHeader(headers.get("x-amz-tagging")),
    acl,
    storageClass: storageClass(headers),
  };
}

export function contentHeaders(headers: RequestHeaders): ContentHeaders {
  const fields: { -readonly [Name in keyof ContentHeaders]: string } = {};
  const type = headers.get("content-type");
  if (type) fields.contentType = single(type);
  const encoding = headers.get("content-encoding");
  if (encoding) {
    const kept = withoutAwsChunked(encoding);
    if (kept) fields.contentEncoding = single(kept);
  }
  const language = headers.get("content-language");
  if (language) fields.contentLanguage = single(language);
  const disposition = headers.get("content-disposition");
  if (disposition) fields.contentDisposition = single(disposition);
  const cacheControl = headers.get("cache-control");
  if (cacheControl) fields.cacheControl = single(cacheControl);
  const expires = headers.get("expires");
  if (expires) fields.expires = single(expires);
  const redirect = headers.get("x-amz-website-redirect-location");
  if (redirect) fields.websiteRedirectLocation = redirectLocation(redirect);
  return fields;
}

export function userMetadata(headers: RequestHeaders): UserMetadata {
  const given = headers.withPrefix(METADATA_PREFIX);
  if (given.length === 0) return NO_METADATA;
  let bytes = 0;
  const metadata = given.map(([header, value]): readonly [string, string] => {
    const name = header.slice(METADATA_PREFIX.length);
    bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
    return [name, single(value)];
  });
  if (bytes <= METADATA_BYTES_MAX) return metadata;
  throw new S3Error("MetadataTooLarge", {
    elements: { Size: String(bytes), MaxSizeAllowed: String(METADATA_BYTES_MAX) },
  });
}

/** The only class there is; others are refused rather than kept as a label (edge rule 31). */
export function storageClass(headers: RequestHeaders): string {
  const name = headers.get("x-amz-storage-class");
  if (name === undefined || name === "STANDARD") return "STANDARD";
  throw new S3Error("InvalidStorageClass", { elements: { StorageClassRequested: name } });
}

/** Who will own an object that the caller writes here. */
export function uploadOwner(caller: Caller, bucket: Bucket, acl: CannedAcl): string {
  if (bucket.ownership === "BucketOwnerEnforced") return bucket.ownerId;
  if (bucket.ownership === "BucketOwnerPreferred" && acl === "bucket-owner-full-control") {
    return bucket.ownerId;
  }
  return callerId(caller);
}

export function callerId(caller: Caller): string {
  return caller.kind === "user" ? caller.user.ownerId : ANONYMOUS_ID;
}

/** The headers of GetObject and HeadObject but those of tags, checksums and ranges. */
export function versionHeaders(version: ObjectVersion, bucket: Bucket): HeaderFields {
  const { headers: content } = version;
  const fields: HeaderFields = {
    "accept-ranges": "bytes",
    "last-modified": httpDate(version.lastModifiedMs),
    etag: `"${version.etag}"`,
    "content-type":
      content.contentType === undefined ? DEFAULT_TYPE : headerText(content.contentType),
  };
  if (bucket.versioning !== "unversioned") fields["x-amz-version-id"] = version.versionId;
  if (content.contentEncoding !== undefined) {
    fields["content-encoding"] = headerText(content.contentEncoding);
  }
  if (content.contentLanguage !== undefined) {
    fields["content-language"] = headerText(content.contentLanguage);
  }
  if (content.contentDisposition !== undefined) {
    fields["content-disposition"] = headerText(content.contentDisposition);
  }
  if (content.cacheControl !== undefined) {
    fields["cache-control"] = headerText(content.cacheControl);
  }
  if (content.expires !== undefined) fields.expires = headerText(content.expires);
  if (content.websiteRedirectLocation !== undefined) {
    fields["x-amz-website-redirect-location"] = headerText(content.websiteRedirectLocation);
  }
  for (const [name, value] of version.metadata) {
    fields[METADATA_PREFIX + name] = shownMetadata(value);
  }
  if (version.storageClass !== "STANDARD") fields["x-amz-storage-class"] = version.storageClass;
  return fields;
}

/** The version id that a write tells: AWS names it only where versioning is enabled. */
export function writtenVersionId(version: ObjectVersion): string | undefined {
  return version.versionId === "null" ? undefined : version.versionId;
}

/** Replaces headers by the `response-*` parameters of a signed request. */
export function applyOverrides(fields: HeaderFields, request: S3Request): void {
  for (const name of request.query.names()) {
    const header = OVERRIDES[name];
    if (header === undefined) continue;
    if (request.caller.kind === "anonymous") {
      throw new S3Error("InvalidRequest", {
        message: "Request specific response headers cannot be used for anonymous GET requests.",
      });
    }
    const value = request.query.get(name) ?? "";
    if (!LATIN_1.test(value)) {
      throw new S3Error("InvalidArgument", {
        message: "Header value cannot be represented using ISO-8859-1.",
        elements: { ArgumentName: name, ArgumentValue: value },
      });
    }
    fields[header] = value;
  }
}

const METADATA_PREFIX = "x-amz-meta-";
const NO_METADATA: UserMetadata = [];
const LATIN_1 = /^[\t\x20-\x7e\x80-\xff]*$/;
// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const CONTROL = /[\0-\x08\x0a-\x1f\x7f]/;

const OVERRIDES: Readonly<Record<string, string>> = Object.assign(Object.create(null), {
  "response-cache-control": "cache-control",
  "response-content-disposition": "content-disposition",
  "response-content-encoding": "content-encoding",
  "response-content-language": "content-language",
  "response-content-type": "content-type",
  "response-expires": "expires",
});

/** aws-chunked is how the body came, not what it is (edge rule 1). */
function withoutAwsChunked(encoding: string): string {
  if (!encoding.includes("aws-chunked")) return encoding;
  return encoding
    .split(",")
    .map((coding) => coding.trim())
    .filter((coding) => coding !== "" && coding !== "aws-chunked")
    .join(", ");
}

function redirectLocation(location: string): string {
  if (/^(?:\/|https?:\/\/)/.test(location)) return single(location);
  throw new S3Error("InvalidRedirectLocation");
}

/** A form's fields may hold line breaks, which no header can give back. */
function single(value: string): string {
  if (!CONTROL.test(value)) return value;
  throw new S3Error("InvalidArgument", {
    message: "Header value contains characters that cannot be sent back.",
    elements: { ArgumentValue: value },
  });
}
