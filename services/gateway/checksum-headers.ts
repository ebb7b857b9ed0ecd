/** The x-amz-checksum-* family: names, what a client asks for, and how a stored checksum is shown. */
import type { RequestHeaders, S3Request } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import { CHECKSUM_BYTES } from "#lib/checksums.ts";
import type { Checksum, ChecksumAlgorithm, ChecksumType, ObjectVersion } from "#objects/model.ts";

/** What is computed when the client names nothing else, as AWS does since 2025. */
export const DEFAULT_CHECKSUM: ChecksumAlgorithm = "CRC64NVME";

const HEADERS = {
  CRC32: "x-amz-checksum-crc32",
  CRC32C: "x-amz-checksum-crc32c",
  CRC64NVME: "x-amz-checksum-crc64nvme",
  SHA1: "x-amz-checksum-sha1",
  SHA256: "x-amz-checksum-sha256",
} as const satisfies Readonly<Record<ChecksumAlgorithm, string>>;

export const CHECKSUM_ALGORITHMS = Object.keys(HEADERS) as readonly ChecksumAlgorithm[];

/** The element that shows a checksum in a document. */
export const CHECKSUM_ELEMENTS = {
  CRC32: "ChecksumCRC32",
  CRC32C: "ChecksumCRC32C",
  CRC64NVME: "ChecksumCRC64NVME",
  SHA1: "ChecksumSHA1",
  SHA256: "ChecksumSHA256",
} as const satisfies Readonly<Record<ChecksumAlgorithm, string>>;

/** A composite checksum shows of how many parts it is made. */
export function shownChecksum(checksum: Checksum, partCount: number): string {
  return checksum.type === "COMPOSITE" ? `${checksum.value}-${partCount}` : checksum.value;
}

/** The two headers that tell of a checksum; nothing when there is none. */
export function addChecksumHeaders(
  headers: Record<string, string | undefined>,
  version: Pick<ObjectVersion, "checksum" | "partCount">,
): void {
  const { checksum, partCount } = version;
  if (!checksum) return;
  headers[HEADERS[checksum.algorithm]] = shownChecksum(checksum, partCount);
  headers["x-amz-checksum-type"] = checksum.type;
}

/** A part's own checksum, which has no type. */
export function addPartChecksumHeader(
  headers: Record<string, string | undefined>,
  checksum: Pick<Checksum, "algorithm" | "value"> | undefined,
): void {
  if (checksum) headers[HEADERS[checksum.algorithm]] = checksum.value;
}

/** `<ChecksumCRC32>…</ChecksumCRC32>` of a part; base64 needs no escaping. */
export function partChecksumElement(
  checksum: Pick<Checksum, "algorithm" | "value"> | undefined,
): string {
  if (!checksum) return "";
  const name = CHECKSUM_ELEMENTS[checksum.algorithm];
  return `<${name}>${checksum.value}</${name}>`;
}

/** `<ChecksumCRC32>…</ChecksumCRC32><ChecksumType>…</ChecksumType>` of an object. */
export function checksumElements(version: Pick<ObjectVersion, "checksum" | "partCount">): string {
  const { checksum, partCount } = version;
  if (!checksum) return "";
  const name = CHECKSUM_ELEMENTS[checksum.algorithm];
  return `<${name}>${shownChecksum(checksum, partCount)}</${name}><ChecksumType>${checksum.type}</ChecksumType>`;
}

/** x-amz-checksum-mode, the only way to see checksums on GET and HEAD. */
export function wantsChecksums(headers: RequestHeaders): boolean {
  const mode = headers.get("x-amz-checksum-mode");
  if (mode === undefined) return false;
  if (mode.toUpperCase() === "ENABLED") return true;
  throw new S3Error("InvalidArgument", {
    elements: { ArgumentName: "x-amz-checksum-mode", ArgumentValue: mode },
  });
}

/** The algorithm that x-amz-checksum-algorithm names. */
export function requestedAlgorithm(headers: RequestHeaders): ChecksumAlgorithm | undefined {
  const header = headers.get("x-amz-checksum-algorithm");
  return header === undefined ? undefined : parseAlgorithm(header);
}

export function parseAlgorithm(text: string): ChecksumAlgorithm {
  const algorithm = text.toUpperCase();
  if (isAlgorithm(algorithm)) return algorithm;
  throw new S3Error("InvalidRequest", {
    message:
      "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
  });
}

/** The type an upload in parts will have: as asked, where the algorithm allows it (edge rule 2). */
export function checksumType(
  algorithm: ChecksumAlgorithm | undefined,
  header: string | undefined,
): ChecksumType | undefined {
  if (header === undefined) {
    if (algorithm === undefined) return undefined;
    return algorithm === "CRC64NVME" ? "FULL_OBJECT" : "COMPOSITE";
  }
  const type = header.toUpperCase();
  if (type !== "FULL_OBJECT" && type !== "COMPOSITE") {
    throw new S3Error("InvalidRequest", {
      message: "Value for x-amz-checksum-type header is invalid.",
    });
  }
  if (algorithm === undefined) {
    throw new S3Error("InvalidRequest", {
      message:
        "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
    });
  }
  const isAllowed = type === "COMPOSITE" ? algorithm !== "CRC64NVME" : algorithm.startsWith("CRC");
  if (isAllowed) return type;
  throw new S3Error("InvalidRequest", {
    message: `The ${type} checksum type cannot be used with the ${algorithm.toLowerCase()} checksum algorithm.`,
  });
}

/** The checksum of a whole upload that its completion carries in headers. */
export function expectedChecksum(request: S3Request): Checksum | undefined {
  const given = CHECKSUM_ALGORITHMS.filter(
    (algorithm) => request.headers.get(HEADERS[algorithm]) !== undefined,
  );
  if (given.length > 1) {
    throw new S3Error("InvalidRequest", {
      message:
        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
    });
  }
  const [algorithm] = given;
  if (algorithm === undefined) return undefined;
  const text = request.headers.get(HEADERS[algorithm]) ?? "";
  const [value = "", count] = text.split("-");
  const type = count === undefined ? "FULL_OBJECT" : "COMPOSITE";
  return { algorithm, type, value };
}

/** Base64 of as many bytes as the algorithm's digest has. */
export function isChecksumValue(algorithm: ChecksumAlgorithm, value: string): boolean {
  return (
    /^[A-Za-z0-9+/]+={0,2}$/.test(value) &&
    Buffer.from(value, "base64").length === CHECKSUM_BYTES[algorithm]
  );
}

function isAlgorithm(text: string): text is ChecksumAlgorithm {
  return Object.hasOwn(HEADERS, text);
}
