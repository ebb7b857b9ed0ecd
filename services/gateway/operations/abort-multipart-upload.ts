/** AbortMultipartUpload: the upload and its parts are forgotten. */
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { loadedBucket } from "#gateway/object-read.ts";
import { noSuchUpload, requestedUploadId } from "#gateway/uploads.ts";

export async function abortMultipartUpload(
  request: S3Request,
  { objects }: Parts,
): Promise<S3Response> {
  const bucket = loadedBucket(request);
  const { key, signal } = request;
  const uploadId = requestedUploadId(request);
  const outcome = await objects.uploads.abort({ bucket, key, uploadId, signal });
  if (outcome === "no-such-upload") throw noSuchUpload(uploadId);
  return { status: 204 };
}
