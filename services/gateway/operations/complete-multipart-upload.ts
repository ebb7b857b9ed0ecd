/** CompleteMultipartUpload: the listed parts become the object. Everything is judged before the first byte of the answer (edge rule 6). */
import { noSuchBucket } from "#gateway/buckets.ts";
import {
  CHECKSUM_ALGORITHMS,
  CHECKSUM_ELEMENTS,
  checksumElements,
  expectedChecksum,
  isChecksumValue,
} from "#gateway/checksum-headers.ts";
import { matchSize, writePrecondition } from "#gateway/conditions.ts";
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import { writtenVersionId } from "#gateway/object-headers.ts";
import { objectLocation } from "#gateway/object-location.ts";
import { loadedBucket } from "#gateway/object-read.ts";
import { isPartNumber, PART_NUMBER_MAX } from "#gateway/part-number.ts";
import { noSuchUpload, requestedUploadId } from "#gateway/uploads.ts";
import { document, type Element, field, readDocument } from "#gateway/xml.ts";
import type { Checksum, ChecksumAlgorithm } from "#objects/model.ts";
import type { ObjectLayer, Uploads } from "#objects/object-layer.ts";

type Completion = Parameters<Uploads["complete"]>[0];
type Outcome = Awaited<ReturnType<Uploads["complete"]>>;
type Refusal = Exclude<Outcome, { kind: "stored" }>;

export async function completeMultipartUpload(
  request: S3Request,
  { objects }: Parts,
): Promise<S3Response> {
  const bucket = loadedBucket(request);
  const { key, signal } = request;
  const precondition = writePrecondition(request.headers);
  const parts = readParts(await request.body.document(DOCUMENT_BYTES_MAX, "object"));
  const expected = expectedObject(request);
  await refuseOtherType(request, objects);
  const outcome = await objects.uploads.complete({
    bucket,
    key,
    uploadId: requestedUploadId(request),
    parts,
    expected,
    ...(precondition && { precondition }),
    signal,
  });
  if (outcome.kind !== "stored") throw refusal(request, outcome, parts);
  const { version } = outcome;
  const body = document(
    "CompleteMultipartUploadResult",
    field("Location", objectLocation(request, key)),
    field("Bucket", bucket.name),
    field("Key", key),
    field("ETag", `"${version.etag}"`),
    checksumElements(version),
  );
  return { status: 200, headers: { "x-amz-version-id": writtenVersionId(version) }, body };
}

/** 10,000 parts with their checksums, generously indented. */
const DOCUMENT_BYTES_MAX = 4 * 1024 * 1024;
/** https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html */
const PART_BYTES_MIN = 5 * 1024 ** 2;

function readParts(bytes: Buffer): Completion["parts"] {
  if (bytes.length === 0) throw new S3Error("MalformedXML");
  const parts = readDocument(bytes, "CompleteMultipartUpload").only("Part").children.map(readPart);
  if (parts.length === 0 || parts.length > PART_NUMBER_MAX) throw new S3Error("MalformedXML");
  return parts;
}

const PART_ELEMENTS: ReadonlySet<string> = new Set([
  "PartNumber",
  "ETag",
  ...Object.values(CHECKSUM_ELEMENTS),
]);

function readPart(part: Element): Completion["parts"][number] {
  for (const { name } of part.children) {
    if (PART_ELEMENTS.has(name)) continue;
    // A checksum that we cannot check must not look checked.
    throw new S3Error(name.startsWith("Checksum") ? "NotImplemented" : "MalformedXML");
  }
  const number = part.required("PartNumber").integer;
  if (!isPartNumber(number)) {
    throw new S3Error("InvalidArgument", {
      message: `Part number must be an integer between 1 and ${PART_NUMBER_MAX}, inclusive`,
      elements: { ArgumentName: "PartNumber", ArgumentValue: String(number) },
    });
  }
  const etag = part.required("ETag").text.trim().replace(QUOTED, "$1");
  return { number, etag, checksum: partChecksum(part) };
}

const QUOTED = /^"(.*)"$/;

function partChecksum(part: Element): Pick<Checksum, "algorithm" | "value"> | undefined {
  let found: { algorithm: ChecksumAlgorithm; value: string } | undefined;
  for (const algorithm of CHECKSUM_ALGORITHMS) {
    const value = part.child(CHECKSUM_ELEMENTS[algorithm])?.text.trim();
    if (value === undefined || value === "") continue;
    if (found) throw new S3Error("MalformedXML");
    found = { algorithm, value };
  }
  return found;
}

/** What the client says the whole object must turn out to be. */
function expectedObject(request: S3Request): Completion["expected"] {
  const expected: { checksum?: Checksum; size?: number } = {};
  const checksum = expectedChecksum(request);
  if (checksum) {
    // No object can have a checksum that is none.
    if (!isChecksumValue(checksum.algorithm, checksum.value)) throw badDigest(checksum.algorithm);
    expected.checksum = checksum;
  }
  const size = request.headers.get("x-amz-mp-object-size");
  if (size !== undefined) expected.size = matchSize("x-amz-mp-object-size", size);
  return expected;
}

/** x-amz-checksum-type may only repeat what the upload was created with. A replay has no upload left to compare with. */
async function refuseOtherType(request: S3Request, { uploads }: ObjectLayer): Promise<void> {
  const type = request.headers.get("x-amz-checksum-type");
  if (type === undefined) return;
  const { key, signal } = request;
  const bucket = loadedBucket(request);
  const upload = await uploads.find({ bucket, key, uploadId: requestedUploadId(request), signal });
  if (!upload || upload.checksumType === undefined || upload.checksumType === type) return;
  throw new S3Error("InvalidRequest", {
    message: `The upload was created using the ${upload.checksumType} checksum mode. The complete request must use the same checksum mode.`,
  });
}

function refusal(request: S3Request, outcome: Refusal, parts: Completion["parts"]): S3Error {
  const uploadId = requestedUploadId(request);
  switch (outcome.kind) {
    case "no-such-bucket":
      return noSuchBucket(request.bucketName);
    case "no-such-upload":
      return noSuchUpload(uploadId);
    case "invalid-part": {
      const etag = parts.find(({ number }) => number === outcome.number)?.etag ?? "";
      const elements = { UploadId: uploadId, PartNumber: String(outcome.number), ETag: etag };
      return new S3Error("InvalidPart", { elements });
    }
    case "invalid-part-order":
      return new S3Error("InvalidPartOrder", { elements: { UploadId: uploadId } });
    case "part-too-small":
      return new S3Error("EntityTooSmall", {
        elements: {
          ProposedSize: String(outcome.size),
          MinSizeAllowed: String(PART_BYTES_MIN),
          PartNumber: String(outcome.number),
          ETag: outcome.etag,
        },
      });
    case "bad-checksum":
      return badDigest(expectedChecksum(request)?.algorithm);
    case "size-mismatch":
      return new S3Error("InvalidRequest", {
        message:
          "The provided 'x-amz-mp-object-size' header value does not match the size of the assembled object.",
      });
  }
}

function badDigest(algorithm: ChecksumAlgorithm | undefined): S3Error {
  const name = algorithm?.toLowerCase() ?? "checksum";
  return new S3Error("BadDigest", {
    message: `The ${name} you specified did not match the calculated checksum.`,
  });
}
