/** ListObjectVersions: every version and delete marker, keys ascending, newest first. */
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { isoDate } from "#gateway/dates.ts";
import { S3Error } from "#gateway/errors.ts";
import { keySpelling, pageLimit } from "#gateway/listing-parameters.ts";
import { checkedVersionId, loadedBucket } from "#gateway/object-read.ts";
import { ownerElements } from "#gateway/owner-element.ts";
import { document, escapeXml, field } from "#gateway/xml.ts";
import type { ListEntry, ListedVersion } from "#objects/object-layer.ts";

export async function listObjectVersions(request: S3Request, parts: Parts): Promise<S3Response> {
  const bucket = loadedBucket(request);
  const { query, signal } = request;
  const prefix = query.get("prefix") ?? "";
  const delimiter = query.get("delimiter") ?? "";
  const keyMarker = query.get("key-marker") ?? "";
  const versionIdMarker = markedVersionId(request, keyMarker);
  const limit = pageLimit(query, "max-keys");
  const { element: encoding, spell } = keySpelling(query);
  const page = await parts.objects.listVersions({
    bucket,
    prefix,
    delimiter,
    after: keyMarker,
    afterVersionId: versionIdMarker,
    limit,
    signal,
  });
  const body = document(
    "ListVersionsResult",
    field("Name", bucket.name),
    `<Prefix>${spell(prefix)}</Prefix>`,
    `<KeyMarker>${spell(keyMarker)}</KeyMarker>`,
    field("VersionIdMarker", versionIdMarker ?? ""),
    page.isTruncated ? nextMarkers(page.entries.at(-1), spell) : "",
    field("MaxKeys", limit),
    delimiter === "" ? "" : `<Delimiter>${spell(delimiter)}</Delimiter>`,
    encoding,
    field("IsTruncated", page.isTruncated),
    versionEntries(page.entries, spell, ownerElements(parts.users)),
  );
  return { status: 200, body };
}

function markedVersionId(request: S3Request, keyMarker: string): string | undefined {
  const marker = request.query.get("version-id-marker");
  if (marker === undefined) return undefined;
  if (keyMarker === "") {
    if (marker === "") return undefined;
    throw new S3Error("InvalidArgument", {
      message: "A version-id marker cannot be specified without a key marker.",
      elements: { ArgumentName: "version-id-marker", ArgumentValue: marker },
    });
  }
  if (marker !== "") return checkedVersionId(marker, "version-id-marker");
  throw new S3Error("InvalidArgument", {
    message: "A version-id marker cannot be empty.",
    elements: { ArgumentName: "version-id-marker", ArgumentValue: marker },
  });
}

function nextMarkers(
  last: ListEntry<ListedVersion> | undefined,
  spell: (key: string) => string,
): string {
  if (!last) return "";
  if (last.kind === "prefix") return `<NextKeyMarker>${spell(last.prefix)}</NextKeyMarker>`;
  const { key, versionId } = last.item.version;
  return `<NextKeyMarker>${spell(key)}</NextKeyMarker>${field("NextVersionIdMarker", versionId)}`;
}

function versionEntries(
  entries: readonly ListEntry<ListedVersion>[],
  spell: (key: string) => string,
  showOwner: (ownerId: string) => string,
): string {
  let versions = "";
  let prefixes = "";
  for (const entry of entries) {
    if (entry.kind === "prefix") {
      prefixes += `<CommonPrefixes><Prefix>${spell(entry.prefix)}</Prefix></CommonPrefixes>`;
      continue;
    }
    const { version, isLatest } = entry.item;
    const { checksum } = version;
    const name = `<Key>${spell(version.key)}</Key><VersionId>${version.versionId}</VersionId><IsLatest>${isLatest}</IsLatest><LastModified>${isoDate(version.lastModifiedMs)}</LastModified>`;
    const owner = showOwner(version.ownerId);
    if (version.isDeleteMarker) {
      versions += `<DeleteMarker>${name}${owner}</DeleteMarker>`;
      continue;
    }
    const algorithm = checksum
      ? `<ChecksumAlgorithm>${checksum.algorithm}</ChecksumAlgorithm><ChecksumType>${checksum.type}</ChecksumType>`
      : "";
    versions += `<Version>${name}<ETag>&quot;${version.etag}&quot;</ETag>${algorithm}<Size>${version.size}</Size>${owner}<StorageClass>${escapeXml(version.storageClass)}</StorageClass></Version>`;
  }
  return versions + prefixes;
}
