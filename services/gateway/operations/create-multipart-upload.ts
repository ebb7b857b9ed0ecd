/** CreateMultipartUpload: the object's attributes are fixed here, its bytes follow in parts. */
import { noSuchBucket } from "#gateway/buckets.ts";
import { checksumType, requestedAlgorithm } from "#gateway/checksum-headers.ts";
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { callerId, objectAttributes } from "#gateway/object-headers.ts";
import { loadedBucket } from "#gateway/object-read.ts";
import { document, field } from "#gateway/xml.ts";

export async function createMultipartUpload(
  request: S3Request,
  { objects }: Parts,
): Promise<S3Response> {
  const bucket = loadedBucket(request);
  const { key, headers, caller, signal } = request;
  const algorithm = requestedAlgorithm(headers);
  const type = checksumType(algorithm, headers.get("x-amz-checksum-type"));
  const outcome = await objects.uploads.create({
    bucket,
    key,
    initiatorId: callerId(caller),
    attributes: objectAttributes(request, bucket),
    checksumAlgorithm: algorithm,
    checksumType: type,
    signal,
  });
  if (outcome.kind === "no-such-bucket") throw noSuchBucket(bucket.name);
  const body = document(
    "InitiateMultipartUploadResult",
    field("Bucket", bucket.name),
    field("Key", key),
    field("UploadId", outcome.upload.uploadId),
  );
  return {
    status: 200,
    headers: { "x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": type },
    body,
  };
}
