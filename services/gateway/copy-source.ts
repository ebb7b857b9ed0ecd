/** x-amz-copy-source: what CopyObject and UploadPartCopy read from, found, permitted and judged by its conditions. */
import { noSuchBucket } from "#gateway/buckets.ts";
import { checkCopySourceConditions } from "#gateway/conditions.ts";
import type { Parts, S3Request } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import { checkedVersionId, existing, loadedBucket } from "#gateway/object-read.ts";
import { UPLOAD_BYTES_MAX } from "#gateway/upload-body.ts";
import type { Bucket, ObjectVersion } from "#objects/model.ts";

export interface CopySource {
  readonly bucket: Bucket;
  readonly version: ObjectVersion;
  /** The client named the version. */
  readonly isVersionNamed: boolean;
}

/** Where a copy-source header points. */
export interface CopySourceName {
  readonly bucketName: string;
  readonly key: string;
  readonly versionId: string | undefined;
}

export async function copySource(request: S3Request, parts: Parts): Promise<CopySource> {
  const { headers, signal } = request;
  const { bucketName, key, versionId } = parseCopySource(headers.get(HEADER) ?? "");
  const bucket = await sourceBucket(request, parts, bucketName);
  const found = await parts.objects.find({ bucket, key, versionId, signal });
  const action = versionId === undefined ? "s3:GetObject" : "s3:GetObjectVersion";
  request.permit(action, found ? { bucket, key, version: found } : { bucket, key });
  if (found?.isDeleteMarker && versionId !== undefined) {
    throw new S3Error("InvalidRequest", {
      message:
        "The source of a copy request may not specifically refer to a delete marker by version id.",
    });
  }
  const version = existing(found, { bucket, key, versionId, method: request.method });
  checkCopySourceConditions(headers, version, parts.clock.now());
  return { bucket, version, isVersionNamed: versionId !== undefined };
}

/** The header's parts, url-decoded once (edge rule 22); `+` is a space, as it is to AWS. */
export function parseCopySource(header: string): CopySourceName {
  const mark = header.lastIndexOf("?versionId=");
  const path = decode(mark < 0 ? header : header.slice(0, mark), header).replace(/^\//, "");
  const versionId = mark < 0 ? undefined : header.slice(mark + "?versionId=".length);
  const slash = path.indexOf("/");
  if (slash <= 0 || slash === path.length - 1) {
    throw invalid(
      header,
      "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
    );
  }
  return {
    bucketName: path.slice(0, slash),
    key: path.slice(slash + 1),
    versionId: versionId === undefined ? undefined : checkedVersionId(versionId, HEADER),
  };
}

/** For copies in one piece, of a whole object or of a range. */
export function refuseOversizedCopy(bytes: number): void {
  if (bytes <= UPLOAD_BYTES_MAX) return;
  throw new S3Error("InvalidRequest", {
    message: `The specified copy source is larger than the maximum allowable size for a copy source: ${UPLOAD_BYTES_MAX}`,
  });
}

/** x-amz-copy-source-version-id: told where the source's bucket keeps versions. */
export function copiedVersionId({ bucket, version }: CopySource): string | undefined {
  return bucket.versioning === "unversioned" ? undefined : version.versionId;
}

/** The source went away between being found and being copied. */
export function sourceGone({ version }: CopySource): S3Error {
  return new S3Error("NoSuchKey", { elements: { Key: version.key } });
}

const HEADER = "x-amz-copy-source";

async function sourceBucket(request: S3Request, parts: Parts, name: string): Promise<Bucket> {
  const target = loadedBucket(request);
  const bucket =
    name === target.name ? target : await parts.objects.buckets.get(name, request.signal);
  if (!bucket) throw noSuchBucket(name);
  const owner = request.headers.get("x-amz-source-expected-bucket-owner");
  if (owner !== undefined && owner !== bucket.ownerId) throw new S3Error("AccessDenied");
  return bucket;
}

function decode(text: string, header: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch (cause) {
    throw invalid(header, "Invalid copy source encoding.", cause);
  }
}

function invalid(header: string, message: string, cause?: unknown): S3Error {
  return new S3Error("InvalidArgument", {
    message,
    elements: { ArgumentName: HEADER, ArgumentValue: header },
    cause,
  });
}
