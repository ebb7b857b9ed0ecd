/** CopyObject: another object's bytes under this key, with its metadata or new ones. */
import { noSuchBucket } from "#gateway/buckets.ts";
import { uploadAcl } from "#gateway/canned-acl.ts";
import { checksumElements, requestedAlgorithm } from "#gateway/checksum-headers.ts";
import { writePrecondition } from "#gateway/conditions.ts";
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import {
  type CopySource,
  copiedVersionId,
  copySource,
  refuseOversizedCopy,
  sourceGone,
} from "#gateway/copy-source.ts";
import { isoDate } from "#gateway/dates.ts";
import { S3Error } from "#gateway/errors.ts";
import {
  contentHeaders,
  storageClass,
  uploadOwner,
  userMetadata,
  writtenVersionId,
} from "#gateway/object-headers.ts";
import { loadedBucket } from "#gateway/object-read.ts";
import { tagsFromHeader } from "#gateway/tags.ts";
import { document, field } from "#gateway/xml.ts";
import type { Bucket, ContentHeaders } from "#objects/model.ts";
import type { CopyChanges } from "#objects/object-layer.ts";

export async function copyObject(request: S3Request, parts: Parts): Promise<S3Response> {
  const bucket = loadedBucket(request);
  const { key, headers, signal } = request;
  refuseRange(request);
  const precondition = writePrecondition(headers);
  const source = await copySource(request, parts);
  refuseOversizedCopy(source.version.size);
  const changes = copyChanges(request, bucket, source);
  refuseIdleCopy(request, bucket, source);
  const outcome = await parts.objects.copy({
    source,
    target: { bucket, key },
    changes,
    ...(precondition && { precondition }),
    signal,
  });
  if (outcome.kind === "no-such-bucket") throw noSuchBucket(bucket.name);
  if (outcome.kind === "source-gone") throw sourceGone(source);
  const { version } = outcome;
  const body = document(
    "CopyObjectResult",
    field("ETag", `"${version.etag}"`),
    field("LastModified", isoDate(version.lastModifiedMs)),
    checksumElements(version),
  );
  return {
    status: 200,
    headers: {
      "x-amz-version-id": writtenVersionId(version),
      "x-amz-copy-source-version-id": copiedVersionId(source),
    },
    body,
  };
}

function copyChanges(request: S3Request, bucket: Bucket, source: CopySource): CopyChanges {
  const { headers } = request;
  const replacesMetadata = isReplaced(request, "metadata");
  const replacesTags = isReplaced(request, "tagging");
  const acl = uploadAcl(headers, bucket);
  return {
    headers: replacesMetadata ? contentHeaders(headers) : keptHeaders(request, source),
    metadata: replacesMetadata ? userMetadata(headers) : undefined,
    tags: replacesTags ? tagsFromHeader(headers.get("x-amz-tagging")) : undefined,
    ownerId: uploadOwner(request.caller, bucket, acl),
    acl,
    storageClass: storageClass(headers),
    checksumAlgorithm: requestedAlgorithm(headers),
  };
}

/** The source's headers, but for the redirect, which S3 never copies. */
function keptHeaders(request: S3Request, { version }: CopySource): ContentHeaders | undefined {
  const { websiteRedirectLocation: given } = contentHeaders(request.headers);
  if (given === undefined && version.headers.websiteRedirectLocation === undefined)
    return undefined;
  const { websiteRedirectLocation: _dropped, ...kept } = version.headers;
  return given === undefined ? kept : { ...kept, websiteRedirectLocation: given };
}

function isReplaced(request: S3Request, what: "metadata" | "tagging"): boolean {
  const name = `x-amz-${what}-directive`;
  const directive = request.headers.get(name);
  if (directive === undefined || directive === "COPY") return false;
  if (directive === "REPLACE") return true;
  throw new S3Error("InvalidArgument", {
    message: `Unknown ${what} directive.`,
    elements: { ArgumentName: name, ArgumentValue: directive },
  });
}

/** Ranges are for UploadPartCopy; ignored, one would copy more than was asked for (edge rule 22). */
function refuseRange({ headers }: S3Request): void {
  for (const name of ["x-amz-copy-source-range", "range"]) {
    if (headers.get(name) === undefined) continue;
    throw new S3Error("InvalidRequest", {
      message: `The ${name} header cannot be used with CopyObject`,
    });
  }
}

/** A copy of the current version onto itself must change something; of an older version, it restores that. */
function refuseIdleCopy(request: S3Request, target: Bucket, source: CopySource): void {
  const { version, bucket, isVersionNamed } = source;
  if (bucket.id !== target.id || version.key !== request.key) return;
  if (isVersionNamed && bucket.versioning !== "unversioned") return;
  const changesSomething =
    isReplaced(request, "metadata") ||
    isReplaced(request, "tagging") ||
    CHANGING_HEADERS.some((name) => request.headers.get(name) !== undefined);
  if (changesSomething) return;
  throw new S3Error("InvalidRequest", {
    message:
      "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
  });
}

const CHANGING_HEADERS = [
  "x-amz-storage-class",
  "x-amz-website-redirect-location",
  "x-amz-checksum-algorithm",
];
