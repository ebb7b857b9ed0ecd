/** DeleteObjects: up to a thousand deletes in one request, each with its own outcome. */
import { noSuchBucket } from "#gateway/buckets.ts";
import { deletePrecondition, matchSize, matchTime } from "#gateway/conditions.ts";
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import { callerId } from "#gateway/object-headers.ts";
import { checkedVersionId, loadedBucket } from "#gateway/object-read.ts";
import { refuseMarker } from "#gateway/room.ts";
import { document, type Element, element, field, readDocument } from "#gateway/xml.ts";
import { Unavailable } from "#lib/unavailable.ts";

export async function deleteObjects(request: S3Request, parts: Parts): Promise<S3Response> {
  if (!request.body.hasDigest) {
    throw new S3Error("InvalidRequest", {
      message: "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
    });
  }
  const root = readDocument(await request.body.document(DOCUMENT_BYTES_MAX), "Delete");
  const isQuiet = root.child("Quiet")?.boolean ?? false;
  const deletions = root.all("Object").map(readDeletion);
  if (deletions.length === 0 || deletions.length > DELETIONS_MAX) throw new S3Error("MalformedXML");
  const results = await removeAll(request, parts, deletions);
  return { status: 200, body: document("DeleteResult", ...results.map(resultElement(isQuiet))) };
}

interface Deletion {
  readonly key: string;
  readonly versionId: string | undefined;
  readonly etag: string | undefined;
  readonly size: string | undefined;
  readonly lastModified: string | undefined;
}

type Result =
  | { kind: "removed"; deletion: Deletion; versionId: string | undefined; deleteMarker: boolean }
  | { kind: "refused"; deletion: Deletion; code: string; message: string };

/** https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html */
const DELETIONS_MAX = 1000;
/** A thousand keys of 1,024 bytes, each spelled with references. */
const DOCUMENT_BYTES_MAX = 4 * 1024 * 1024;
const KEY_BYTES_MAX = 1024;
/** Enough to share commits among each other; more would only crowd out other requests. */
const REMOVALS_AT_ONCE = 64;

function readDeletion(object: Element): Deletion {
  object.only("Key", "VersionId", "ETag", "LastModifiedTime", "Size");
  const key = object.required("Key").text;
  if (key === "") throw new S3Error("MalformedXML");
  // An empty version id is none: SDKs send the element whenever they have the field.
  const versionId = object.child("VersionId")?.text;
  return {
    key,
    versionId: versionId === "" ? undefined : versionId,
    etag: object.child("ETag")?.text,
    size: object.child("Size")?.text,
    lastModified: object.child("LastModifiedTime")?.text,
  };
}

async function removeAll(
  request: S3Request,
  parts: Parts,
  deletions: readonly Deletion[],
): Promise<readonly Result[]> {
  const results: Result[] = [];
  // The same key twice in one batch would race with itself: the order in the document decides.
  let batch: Deletion[] = [];
  let keys = new Set<string>();
  const flush = async () => {
    results.push(
      ...(await Promise.all(batch.map((deletion) => removeOne(request, parts, deletion)))),
    );
    batch = [];
    keys = new Set();
  };
  for (const deletion of deletions) {
    if (batch.length === REMOVALS_AT_ONCE || keys.has(deletion.key)) await flush();
    batch.push(deletion);
    keys.add(deletion.key);
  }
  await flush();
  return results;
}

async function removeOne(request: S3Request, parts: Parts, deletion: Deletion): Promise<Result> {
  const bucket = loadedBucket(request);
  const { key, etag } = deletion;
  try {
    if (Buffer.byteLength(key) > KEY_BYTES_MAX) throw new S3Error("KeyTooLongError");
    const versionId =
      deletion.versionId === undefined
        ? undefined
        : checkedVersionId(deletion.versionId, "VersionId");
    request.permit(versionId === undefined ? "s3:DeleteObject" : "s3:DeleteObjectVersion", {
      bucket,
      key,
    });
    refuseMarker(parts, { bucket, versionId });
    const precondition = deletePrecondition({
      etag,
      size: deletion.size === undefined ? undefined : matchSize("Size", deletion.size),
      lastModifiedMs:
        deletion.lastModified === undefined
          ? undefined
          : matchTime("LastModifiedTime", deletion.lastModified),
    });
    const removal = await parts.objects.remove({
      bucket,
      key,
      versionId,
      ownerId: callerId(request.caller),
      ...(precondition && { precondition }),
      signal: request.signal,
    });
    if (removal.kind === "no-such-bucket") throw noSuchBucket(bucket.name);
    return { deletion, ...removal };
  } catch (error) {
    return { kind: "refused", deletion, ...refusal(error) };
  }
}

/** What fails one key alone is told with that key; anything else fails the request. */
function refusal(error: unknown): { code: string; message: string } {
  if (error instanceof Unavailable) {
    const { code, message } = new S3Error("SlowDown", { cause: error });
    return { code, message };
  }
  if (error instanceof S3Error && error.code !== "NoSuchBucket") {
    return { code: error.code, message: error.message };
  }
  throw error;
}

function resultElement(isQuiet: boolean): (result: Result) => string {
  return (result) => {
    const { key, versionId } = result.deletion;
    const named = field("Key", key) + field("VersionId", versionId);
    if (result.kind === "refused") {
      const { code, message } = result;
      return element("Error", named, field("Code", code), field("Message", message));
    }
    if (isQuiet) return "";
    if (!result.deleteMarker) return element("Deleted", named);
    const marker = field("DeleteMarkerVersionId", result.versionId);
    return element("Deleted", named, field("DeleteMarker", true), marker);
  };
}
