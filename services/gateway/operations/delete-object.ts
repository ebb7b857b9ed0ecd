/** DeleteObject: a delete marker where versions are kept, else the object goes. */
import { noSuchBucket } from "#gateway/buckets.ts";
import { deleteConditions, deletePrecondition } from "#gateway/conditions.ts";
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { callerId } from "#gateway/object-headers.ts";
import { loadedBucket, requestedVersionId } from "#gateway/object-read.ts";
import { refuseMarker } from "#gateway/room.ts";

export async function deleteObject(request: S3Request, parts: Parts): Promise<S3Response> {
  const bucket = loadedBucket(request);
  const { key, caller, headers, signal } = request;
  const precondition = deletePrecondition(deleteConditions(headers));
  const versionId = requestedVersionId(request);
  refuseMarker(parts, { bucket, versionId });
  const removal = await parts.objects.remove({
    bucket,
    key,
    versionId,
    ownerId: callerId(caller),
    ...(precondition && { precondition }),
    signal,
  });
  if (removal.kind === "no-such-bucket") throw noSuchBucket(bucket.name);
  // S3 answers 204 even when the key never existed.
  return {
    status: 204,
    headers: {
      "x-amz-delete-marker": removal.deleteMarker ? "true" : undefined,
      "x-amz-version-id": removal.versionId,
    },
  };
}
