/** What the operations on uploads in parts share: the upload of a request, and the answer when there is none. */
import type { Parts, S3Request } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import { loadedBucket } from "#gateway/object-read.ts";
import type { Upload } from "#objects/model.ts";

/** The open upload that `?uploadId=` names. */
export async function openUpload(request: S3Request, { objects }: Parts): Promise<Upload> {
  const { key, signal } = request;
  const bucket = loadedBucket(request);
  const uploadId = requestedUploadId(request);
  const upload = await objects.uploads.find({ bucket, key, uploadId, signal });
  if (upload) return upload;
  throw noSuchUpload(uploadId);
}

export function requestedUploadId(request: S3Request): string {
  return request.query.get("uploadId") ?? "";
}

export function noSuchUpload(uploadId: string): S3Error {
  return new S3Error("NoSuchUpload", { elements: { UploadId: uploadId } });
}
