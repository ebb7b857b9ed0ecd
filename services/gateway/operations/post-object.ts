/** PostObject: an upload from a browser's form, whose fields stand for the headers of PutObject. */
import { noSuchBucket } from "#gateway/buckets.ts";
import { addChecksumHeaders, DEFAULT_CHECKSUM } from "#gateway/checksum-headers.ts";
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import { type HeaderFields, objectAttributes, writtenVersionId } from "#gateway/object-headers.ts";
import { objectLocation } from "#gateway/object-location.ts";
import { loadedBucket } from "#gateway/object-read.ts";
import { parseTagging } from "#gateway/tagging-document.ts";
import { OBJECT_TAGS_MAX } from "#gateway/tags.ts";
import { uploadBody } from "#gateway/upload-body.ts";
import { field } from "#gateway/xml.ts";
import type { Bucket, ObjectAttributes, ObjectVersion } from "#objects/model.ts";

export async function postObject(request: S3Request, { objects }: Parts): Promise<S3Response> {
  const bucket = loadedBucket(request);
  const key = formKey(request);
  request.permit("s3:PutObject", { bucket, key });
  const outcome = await objects.put({
    bucket,
    key,
    attributes: formAttributes(request, bucket),
    body: uploadBody(request, DEFAULT_CHECKSUM),
    signal: request.signal,
  });
  if (outcome.kind === "no-such-bucket") throw noSuchBucket(bucket.name);
  return answer(request, bucket, outcome.version);
}

const KEY_BYTES_MAX = 1024;

function formKey({ headers }: S3Request): string {
  const key = headers.get("key") ?? "";
  if (key === "") {
    throw new S3Error("InvalidArgument", {
      message:
        "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields.",
      elements: { ArgumentName: "key", ArgumentValue: "" },
    });
  }
  const bytes = Buffer.byteLength(key);
  if (bytes <= KEY_BYTES_MAX) return key;
  throw new S3Error("KeyTooLongError", {
    elements: { Size: String(bytes), MaxSizeAllowed: String(KEY_BYTES_MAX) },
  });
}

function formAttributes(request: S3Request, bucket: Bucket): ObjectAttributes {
  const attributes = objectAttributes(request, bucket);
  const tagging = request.headers.get("tagging");
  if (tagging === undefined) return attributes;
  const tags = parseTagging(Buffer.from(tagging, "utf8"), { max: OBJECT_TAGS_MAX });
  return { ...attributes, tags };
}

/** A redirect if one was asked for and is one, else the status asked for, 204 when that is none of three. */
function answer(request: S3Request, bucket: Bucket, version: ObjectVersion): S3Response {
  const etag = `"${version.etag}"`;
  const headers: HeaderFields = { etag, location: objectLocation(request, version.key) };
  addChecksumHeaders(headers, version);
  headers["x-amz-version-id"] = writtenVersionId(version);
  const redirect = redirectTarget(request);
  if (redirect) {
    redirect.searchParams.append("bucket", bucket.name);
    redirect.searchParams.append("key", version.key);
    redirect.searchParams.append("etag", etag);
    return { status: 303, headers: { ...headers, location: redirect.href } };
  }
  switch (request.headers.get("success_action_status")) {
    case "200":
      return { status: 200, headers };
    case "201":
      return { status: 201, headers, body: postResponse(headers.location ?? "", bucket, version) };
    case undefined:
    default:
      return { status: 204, headers };
  }
}

function redirectTarget({ headers }: S3Request): URL | undefined {
  const url = URL.parse(headers.get("success_action_redirect") ?? headers.get("redirect") ?? "");
  const isWeb = url?.protocol === "http:" || url?.protocol === "https:";
  return url && isWeb ? url : undefined;
}

/** The one document of S3 without a namespace. */
function postResponse(location: string, bucket: Bucket, version: ObjectVersion): string {
  return `<PostResponse>${field("Location", location)}${field("Bucket", bucket.name)}${field("Key", version.key)}${field("ETag", `"${version.etag}"`)}</PostResponse>`;
}
