/** ListParts: what an open upload holds so far, by part number. */
import { partChecksumElement } from "#gateway/checksum-headers.ts";
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { isoDate } from "#gateway/dates.ts";
import { pageLimit } from "#gateway/listing-parameters.ts";
import { loadedBucket } from "#gateway/object-read.ts";
import { ownerElement } from "#gateway/owner-element.ts";
import { partNumberMarker } from "#gateway/part-number.ts";
import { openUpload } from "#gateway/uploads.ts";
import { document, field } from "#gateway/xml.ts";
import type { UploadPart } from "#objects/model.ts";

export async function listParts(request: S3Request, parts: Parts): Promise<S3Response> {
  const bucket = loadedBucket(request);
  const { query, key, signal } = request;
  const limit = pageLimit(query, "max-parts");
  const after = partNumberMarker("part-number-marker", query.get("part-number-marker"));
  const upload = await openUpload(request, parts);
  const page = await parts.objects.uploads.listParts({ bucket, upload, after, limit, signal });
  const { attributes, checksumAlgorithm, checksumType, initiatorId } = upload;
  const body = document(
    "ListPartsResult",
    field("Bucket", bucket.name),
    field("Key", key),
    field("UploadId", upload.uploadId),
    ownerElement("Initiator", initiatorId, parts.users),
    ownerElement("Owner", attributes.ownerId, parts.users),
    field("StorageClass", attributes.storageClass),
    field("PartNumberMarker", after),
    field("NextPartNumberMarker", page.parts.at(-1)?.number ?? 0),
    field("MaxParts", limit),
    field("IsTruncated", page.isTruncated),
    field("ChecksumAlgorithm", checksumAlgorithm),
    field("ChecksumType", checksumType),
    page.parts.map(partElement).join(""),
  );
  return { status: 200, body };
}

function partElement({ number, lastModifiedMs, etag, size, checksum }: UploadPart): string {
  return `<Part><PartNumber>${number}</PartNumber><LastModified>${isoDate(lastModifiedMs)}</LastModified><ETag>&quot;${etag}&quot;</ETag><Size>${size}</Size>${partChecksumElement(checksum)}</Part>`;
}
