/** UploadPartCopy: a part whose bytes are another object's, or a range of them. */
import { noSuchBucket } from "#gateway/buckets.ts";
import { partChecksumElement } from "#gateway/checksum-headers.ts";
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import {
  copiedVersionId,
  copySource,
  refuseOversizedCopy,
  sourceGone,
} from "#gateway/copy-source.ts";
import { isoDate } from "#gateway/dates.ts";
import { loadedBucket } from "#gateway/object-read.ts";
import { partNumberOf } from "#gateway/part-number.ts";
import { copySourceRange } from "#gateway/range.ts";
import { noSuchUpload, openUpload } from "#gateway/uploads.ts";
import { document, field } from "#gateway/xml.ts";

export async function uploadPartCopy(request: S3Request, parts: Parts): Promise<S3Response> {
  const bucket = loadedBucket(request);
  const number = partNumberOf(request.query.get("partNumber"));
  const upload = await openUpload(request, parts);
  const source = await copySource(request, parts);
  const { size } = source.version;
  const range = request.headers.get("x-amz-copy-source-range");
  const { start, end } =
    range === undefined ? { start: 0, end: size } : copySourceRange(range, size);
  refuseOversizedCopy(end - start);
  const outcome = await parts.objects.uploads.copyPart({
    bucket,
    upload,
    number,
    source: { bucket: source.bucket, version: source.version, start, end },
    signal: request.signal,
  });
  switch (outcome.kind) {
    case "no-such-bucket":
      throw noSuchBucket(bucket.name);
    case "no-such-upload":
      throw noSuchUpload(upload.uploadId);
    case "source-gone":
      throw sourceGone(source);
    case "stored": {
      const { etag, lastModifiedMs, checksum } = outcome.part;
      const body = document(
        "CopyPartResult",
        field("ETag", `"${etag}"`),
        field("LastModified", isoDate(lastModifiedMs)),
        partChecksumElement(checksum),
      );
      const headers = { "x-amz-copy-source-version-id": copiedVersionId(source) };
      return { status: 200, headers, body };
    }
  }
}
