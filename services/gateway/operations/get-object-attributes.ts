/** GetObjectAttributes: ETag, checksum, parts, class and size, as asked for. */
import { checksumElements, partChecksumElement } from "#gateway/checksum-headers.ts";
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { httpDate } from "#gateway/dates.ts";
import { S3Error } from "#gateway/errors.ts";
import { loadedBucket, permittedVersion } from "#gateway/object-read.ts";
import { partNumberMarker } from "#gateway/part-number.ts";
import { document, element, field } from "#gateway/xml.ts";
import type { ObjectVersion } from "#objects/model.ts";

export async function getObjectAttributes(request: S3Request, parts: Parts): Promise<S3Response> {
  const wanted = wantedAttributes(request);
  const version = await permittedVersion(request, parts, GET_ATTRIBUTES);
  const checksum = wanted.has("Checksum") ? checksumElements(version) : "";
  const listsParts = wanted.has("ObjectParts") && version.partCount > 0;
  const body = document(
    "GetObjectAttributesResponse",
    // The one place where S3 shows an entity tag without quotes.
    wanted.has("ETag") ? field("ETag", version.etag) : "",
    checksum === "" ? "" : element("Checksum", checksum),
    listsParts ? await partElements(request, parts, version) : "",
    wanted.has("StorageClass") ? field("StorageClass", version.storageClass) : "",
    wanted.has("ObjectSize") ? field("ObjectSize", version.size) : "",
  );
  const isVersioned = loadedBucket(request).versioning !== "unversioned";
  return {
    status: 200,
    headers: {
      "last-modified": httpDate(version.lastModifiedMs),
      "x-amz-version-id": isVersioned ? version.versionId : undefined,
    },
    body,
  };
}

const GET_ATTRIBUTES = {
  current: "s3:GetObjectAttributes",
  version: "s3:GetObjectVersionAttributes",
};
const ATTRIBUTES = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"];
const PARTS_MAX = 1000;

function wantedAttributes(request: S3Request): ReadonlySet<string> {
  const header = request.headers.get("x-amz-object-attributes") ?? "";
  const names = header
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
  if (names.length === 0) {
    throw new S3Error("InvalidRequest", {
      message:
        "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty",
    });
  }
  if (names.every((name) => ATTRIBUTES.includes(name))) return new Set(names);
  throw new S3Error("InvalidArgument", {
    message: "Invalid attribute name specified.",
    elements: { ArgumentName: "x-amz-object-attributes", ArgumentValue: header },
  });
}

async function partElements(
  request: S3Request,
  { objects }: Parts,
  version: ObjectVersion,
): Promise<string> {
  const { headers, signal } = request;
  const after = partNumberMarker(
    "x-amz-part-number-marker",
    headers.get("x-amz-part-number-marker"),
  );
  const limit = Math.min(
    headers.get("x-amz-max-parts") === undefined
      ? PARTS_MAX
      : partNumberMarker("x-amz-max-parts", headers.get("x-amz-max-parts")),
    PARTS_MAX,
  );
  const all = await objects.parts({ bucket: loadedBucket(request), version, signal });
  const later = all.filter(({ number }) => number > after);
  const page = later.slice(0, limit);
  const algorithm = version.checksum?.algorithm;
  const listed = page.map(({ number, size, checksum: value }) =>
    element(
      "Part",
      algorithm !== undefined && value !== undefined
        ? partChecksumElement({ algorithm, value })
        : "",
      field("PartNumber", number),
      field("Size", size),
    ),
  );
  return element(
    "ObjectParts",
    field("PartsCount", version.partCount),
    field("PartNumberMarker", after),
    field("NextPartNumberMarker", page.at(-1)?.number ?? 0),
    field("MaxParts", limit),
    field("IsTruncated", later.length > page.length && limit > 0),
    ...listed,
  );
}
