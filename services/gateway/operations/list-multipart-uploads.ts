/** ListMultipartUploads: open uploads by key, then by when they were begun (edge rule 8). */
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { isoDate } from "#gateway/dates.ts";
import { keySpelling, pageLimit } from "#gateway/listing-parameters.ts";
import { loadedBucket } from "#gateway/object-read.ts";
import { ownerElement, ownerElements } from "#gateway/owner-element.ts";
import { document, element, field } from "#gateway/xml.ts";
import type { Upload } from "#objects/model.ts";
import type { ListEntry } from "#objects/object-layer.ts";

export async function listMultipartUploads(request: S3Request, parts: Parts): Promise<S3Response> {
  const bucket = loadedBucket(request);
  const { query, signal } = request;
  const prefix = query.get("prefix") ?? "";
  const delimiter = query.get("delimiter") ?? "";
  const keyMarker = query.get("key-marker") ?? "";
  // As on AWS, it means nothing without the key that it belongs to.
  const uploadIdMarker = keyMarker === "" ? "" : (query.get("upload-id-marker") ?? "");
  const limit = pageLimit(query, "max-uploads");
  const { element: encoding, spell } = keySpelling(query);
  const page = await parts.objects.uploads.list({
    bucket,
    prefix,
    delimiter,
    after: keyMarker,
    afterUploadId: uploadIdMarker === "" ? undefined : uploadIdMarker,
    limit,
    signal,
  });
  const body = document(
    "ListMultipartUploadsResult",
    field("Bucket", bucket.name),
    `<KeyMarker>${spell(keyMarker)}</KeyMarker>`,
    field("UploadIdMarker", uploadIdMarker),
    nextMarkers(page.entries.at(-1), spell),
    `<Prefix>${spell(prefix)}</Prefix>`,
    delimiter === "" ? "" : `<Delimiter>${spell(delimiter)}</Delimiter>`,
    encoding,
    field("MaxUploads", limit),
    field("IsTruncated", page.isTruncated),
    uploadEntries(page.entries, spell, parts),
  );
  return { status: 200, body };
}

/** AWS gives them with every page that is not empty. */
function nextMarkers(last: ListEntry<Upload> | undefined, spell: (key: string) => string): string {
  if (!last) return "";
  if (last.kind === "prefix") return `<NextKeyMarker>${spell(last.prefix)}</NextKeyMarker>`;
  const { key, uploadId } = last.item;
  return `<NextKeyMarker>${spell(key)}</NextKeyMarker>${field("NextUploadIdMarker", uploadId)}`;
}

function uploadEntries(
  entries: readonly ListEntry<Upload>[],
  spell: (key: string) => string,
  { users }: Parts,
): string {
  const showOwner = ownerElements(users);
  let uploads = "";
  let prefixes = "";
  for (const entry of entries) {
    if (entry.kind === "prefix") {
      prefixes += `<CommonPrefixes><Prefix>${spell(entry.prefix)}</Prefix></CommonPrefixes>`;
      continue;
    }
    const { key, uploadId, initiatorId, attributes, initiatedMs } = entry.item;
    uploads += element(
      "Upload",
      `<Key>${spell(key)}</Key>`,
      field("UploadId", uploadId),
      ownerElement("Initiator", initiatorId, users),
      showOwner(attributes.ownerId),
      field("StorageClass", attributes.storageClass),
      field("Initiated", isoDate(initiatedMs)),
      field("ChecksumAlgorithm", entry.item.checksumAlgorithm),
      field("ChecksumType", entry.item.checksumType),
    );
  }
  return uploads + prefixes;
}
