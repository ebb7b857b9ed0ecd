/** What reads of objects have in common: which version, whether it may be read, and which of its bytes. */
import {
  addChecksumHeaders,
  addPartChecksumHeader,
  wantsChecksums,
} from "#gateway/checksum-headers.ts";
import { checkReadConditions } from "#gateway/conditions.ts";
import type { Parts, S3Request } from "#gateway/context.ts";
import { httpDate, parseHttpDate } from "#gateway/dates.ts";
import { S3Error } from "#gateway/errors.ts";
import { applyOverrides, type HeaderFields, versionHeaders } from "#gateway/object-headers.ts";
import { partNumberOf } from "#gateway/part-number.ts";
import { type ByteRange, contentRange, requestedRange } from "#gateway/range.ts";
import type { Bucket, ObjectVersion } from "#objects/model.ts";

/** IAM's names of an action on the current version and on one that is named. */
export interface ObjectAction {
  readonly current: string;
  readonly version: string;
}

/** The bucket of a request whose row has it loaded. */
export function loadedBucket(request: S3Request): Bucket {
  if (request.bucket) return request.bucket;
  throw new Error(`Cannot ${request.method} in ${request.bucketName}: the bucket is not loaded`);
}

/** `?versionId=`, checked. */
export function requestedVersionId(request: S3Request): string | undefined {
  const versionId = request.query.get("versionId");
  return versionId === undefined ? undefined : checkedVersionId(versionId, "versionId");
}

export function checkedVersionId(versionId: string, argument: string): string {
  if (versionId === "null" || VERSION_ID.test(versionId)) return versionId;
  throw new S3Error("InvalidArgument", {
    message: "Invalid version id specified",
    elements: { ArgumentName: argument, ArgumentValue: versionId },
  });
}

/** The version that the request names and the caller may do this with; throws as S3 does when there is none (rules 15 and 25). */
export async function permittedVersion(
  request: S3Request,
  { objects }: Parts,
  action: ObjectAction,
): Promise<ObjectVersion> {
  const bucket = loadedBucket(request);
  const { key, signal } = request;
  const versionId = requestedVersionId(request);
  const version = await objects.find({ bucket, key, versionId, signal });
  const name = versionId === undefined ? action.current : action.version;
  request.permit(name, version ? { bucket, key, version } : { bucket, key });
  return existing(version, { bucket, key, versionId, method: request.method });
}

/** The version if it is an object; else what S3 answers for an absent key, an unknown version or a delete marker. */
export function existing(
  version: ObjectVersion | undefined,
  named: { bucket: Bucket; key: string; versionId: string | undefined; method: string },
): ObjectVersion {
  const { bucket, key, versionId, method } = named;
  if (version && !version.isDeleteMarker) return version;
  if (!version) {
    if (versionId === undefined) throw new S3Error("NoSuchKey", { elements: { Key: key } });
    throw new S3Error("NoSuchVersion", { elements: { Key: key, VersionId: versionId } });
  }
  const headers: Record<string, string> = { "x-amz-delete-marker": "true" };
  if (bucket.versioning !== "unversioned") headers["x-amz-version-id"] = version.versionId;
  if (versionId === undefined) {
    throw new S3Error("NoSuchKey", { elements: { Key: key }, headers });
  }
  throw new S3Error("MethodNotAllowed", {
    elements: { Method: method, ResourceType: "DeleteMarker" },
    headers: { ...headers, allow: "DELETE", "last-modified": httpDate(version.lastModifiedMs) },
  });
}

/** The head of a GET's answer, and the bytes that follow it. */
export interface ObjectRead extends ByteRange {
  readonly version: ObjectVersion;
  readonly status: 200 | 206;
  readonly headers: HeaderFields;
}

export async function planRead(request: S3Request, parts: Parts): Promise<ObjectRead> {
  const version = await permittedVersion(request, parts, GET_OBJECT);
  checkReadConditions(request.headers, version, parts.clock.now());
  const headers = versionHeaders(version, loadedBucket(request));
  addTaggingCount(headers, request, version);
  const showsChecksums = wantsChecksums(request.headers);
  const partNumber = request.query.get("partNumber");
  let selected: ByteRange | undefined;
  if (partNumber === undefined) {
    const range = applicableRange(request, version);
    selected = requestedRange(range, version.size);
    if (showsChecksums && !selected) addChecksumHeaders(headers, version);
  } else {
    selected = await selectPart(request, parts, { version, partNumber, headers, showsChecksums });
  }
  applyOverrides(headers, request);
  if (!selected) return { version, status: 200, headers, start: 0, end: version.size };
  headers["content-range"] = contentRange(selected, version.size);
  return { version, status: 206, headers, start: selected.start, end: selected.end };
}

/** Tags are not public with their object, nor is how many there are. */
function addTaggingCount(headers: HeaderFields, request: S3Request, version: ObjectVersion): void {
  const count = version.tags.length;
  if (count === 0) return;
  const action = request.query.has("versionId")
    ? "s3:GetObjectVersionTagging"
    : "s3:GetObjectTagging";
  if (!request.mayDo(action, { bucket: loadedBucket(request), version })) return;
  headers["x-amz-tagging-count"] = String(count);
}

const GET_OBJECT: ObjectAction = { current: "s3:GetObject", version: "s3:GetObjectVersion" };
/** Ours and AWS's have 32 characters; what looks otherwise cannot be one. */
const VERSION_ID = /^[\w.-]{32}$/;

/** The Range header, unless If-Range says that the client holds another version (RFC 9110 §13.1.5). */
function applicableRange(request: S3Request, version: ObjectVersion): string | undefined {
  const range = request.headers.get("range");
  if (range === undefined) return undefined;
  const condition = request.headers.get("if-range");
  if (condition === undefined || condition === `"${version.etag}"`) return range;
  const date = parseHttpDate(condition);
  const isSame = date !== undefined && httpDate(date) === httpDate(version.lastModifiedMs);
  return isSame ? range : undefined;
}

async function selectPart(
  request: S3Request,
  { objects }: Parts,
  wanted: {
    version: ObjectVersion;
    partNumber: string;
    headers: HeaderFields;
    showsChecksums: boolean;
  },
): Promise<ByteRange | undefined> {
  const { version, headers, showsChecksums } = wanted;
  const number = partNumberOf(wanted.partNumber);
  if (request.headers.get("range") !== undefined) {
    throw new S3Error("InvalidRequest", {
      message: "Cannot specify both Range header and partNumber query parameter",
    });
  }
  if (version.partCount === 0) {
    if (number > 1) throw noSuchPart(number, 1);
    if (showsChecksums) addChecksumHeaders(headers, version);
    return version.size === 0 ? undefined : { start: 0, end: version.size };
  }
  headers["x-amz-mp-parts-count"] = String(version.partCount);
  const stored = await objects.parts({
    bucket: loadedBucket(request),
    version,
    signal: request.signal,
  });
  // By position: an upload may have left numbers out, and readers count what is there.
  const part = stored[number - 1];
  if (!part) throw noSuchPart(number, version.partCount);
  if (showsChecksums && version.checksum && part.checksum !== undefined) {
    const { algorithm, type } = version.checksum;
    addPartChecksumHeader(headers, { algorithm, value: part.checksum });
    headers["x-amz-checksum-type"] = type;
  }
  return part.size === 0 ? undefined : { start: part.offset, end: part.offset + part.size };
}

/** AWS answers 416 InvalidPartNumber; ceph/s3-tests asks for the code of an unknown part, which clients take as final too. */
function noSuchPart(number: number, count: number): S3Error {
  return new S3Error("InvalidPart", {
    message: "The requested partnumber is not satisfiable",
    elements: { PartNumberRequested: String(number), ActualPartCount: String(count) },
  });
}
