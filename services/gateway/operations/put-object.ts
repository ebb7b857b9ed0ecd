/** PutObject: a new version, visible once its last byte is verified and durable. */
import { noSuchBucket } from "#gateway/buckets.ts";
import { addChecksumHeaders, DEFAULT_CHECKSUM } from "#gateway/checksum-headers.ts";
import { writePrecondition } from "#gateway/conditions.ts";
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { type HeaderFields, objectAttributes, writtenVersionId } from "#gateway/object-headers.ts";
import { loadedBucket } from "#gateway/object-read.ts";
import { uploadBody } from "#gateway/upload-body.ts";

export async function putObject(request: S3Request, { objects }: Parts): Promise<S3Response> {
  const bucket = loadedBucket(request);
  const { key, signal } = request;
  const precondition = writePrecondition(request.headers);
  const outcome = await objects.put({
    bucket,
    key,
    attributes: objectAttributes(request, bucket),
    body: uploadBody(request, DEFAULT_CHECKSUM),
    ...(precondition && { precondition }),
    signal,
  });
  if (outcome.kind === "no-such-bucket") throw noSuchBucket(bucket.name);
  const { version } = outcome;
  const headers: HeaderFields = { etag: `"${version.etag}"` };
  addChecksumHeaders(headers, version);
  headers["x-amz-version-id"] = writtenVersionId(version);
  return { status: 200, headers };
}
