/** UploadPart: one numbered part; the same number again replaces it. */
import { noSuchBucket } from "#gateway/buckets.ts";
import { addPartChecksumHeader, DEFAULT_CHECKSUM } from "#gateway/checksum-headers.ts";
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import type { HeaderFields } from "#gateway/object-headers.ts";
import { loadedBucket } from "#gateway/object-read.ts";
import { partNumberOf } from "#gateway/part-number.ts";
import { uploadBody } from "#gateway/upload-body.ts";
import { noSuchUpload, openUpload } from "#gateway/uploads.ts";
import type { Upload } from "#objects/model.ts";

export async function uploadPart(request: S3Request, parts: Parts): Promise<S3Response> {
  const bucket = loadedBucket(request);
  const number = partNumberOf(request.query.get("partNumber"));
  const upload = await openUpload(request, parts);
  refuseOtherChecksum(request, upload);
  const outcome = await parts.objects.uploads.putPart({
    bucket,
    upload,
    number,
    body: uploadBody(request, upload.checksumAlgorithm ?? DEFAULT_CHECKSUM),
    signal: request.signal,
  });
  if (outcome.kind === "no-such-bucket") throw noSuchBucket(bucket.name);
  if (outcome.kind === "no-such-upload") throw noSuchUpload(upload.uploadId);
  const headers: HeaderFields = { etag: `"${outcome.part.etag}"` };
  addPartChecksumHeader(headers, outcome.part.checksum);
  return { status: 200, headers };
}

/** Parts of another algorithm could never be put together, so they are refused when they come. */
function refuseOtherChecksum({ body }: S3Request, upload: Upload): void {
  const { checksumAlgorithm: expected, checksumType: type } = upload;
  const actual = body.checksumAlgorithm;
  if (expected === undefined || expected === actual) return;
  // Of a whole object's checksum, a part's share can be computed here.
  if (actual === undefined && type === "FULL_OBJECT") return;
  throw new S3Error("InvalidRequest", {
    message: `Checksum Type mismatch occurred, expected checksum Type: ${expected.toLowerCase()}, actual checksum Type: ${actual?.toLowerCase() ?? "null"}`,
  });
}
