/** Signature Version 4 in the query: URLs that carry the right to one request for a while. */
import { parseBasicDate, type SignedDate } from "#gateway/auth/amz-date.ts";
import { unsupportedMechanism } from "#gateway/auth/authorization-header.ts";
import {
  ALGORITHM,
  type CanonicalParameter,
  decodeParameter,
} from "#gateway/auth/canonical-request.ts";
import { parseCredential } from "#gateway/auth/credential.ts";
import {
  CLOCK_SKEW_MAX_MS,
  isoDate,
  parseSignedHeaders,
  type SignatureClaim,
} from "#gateway/auth/signature-claim.ts";
import { S3Error } from "#gateway/errors.ts";

const CODE = "AuthorizationQueryParametersError";

/** The parameters of the signature itself; S3 spells them exactly so. */
const SIGNATURE_PARAMETERS = [
  "X-Amz-Algorithm",
  "X-Amz-Credential",
  "X-Amz-Date",
  "X-Amz-Expires",
  "X-Amz-SignedHeaders",
  "X-Amz-Signature",
] as const;

export interface PresignedUrl extends SignatureClaim {
  /** X-Amz-Content-Sha256, if it is there. */
  readonly payload: string | undefined;
}

/** Which kind of signature the query carries, if any. Canonical names are plain text, since nothing in them needs encoding. */
export function querySignature(
  parameters: readonly CanonicalParameter[],
): "version-4" | "version-2" | undefined {
  for (const [name] of parameters) {
    if ((SIGNATURE_PARAMETERS as readonly string[]).includes(name)) return "version-4";
    if (name === "AWSAccessKeyId" || name === "Signature") return "version-2";
  }
  return undefined;
}

export function parsePresignedUrl(
  parameters: readonly CanonicalParameter[],
  { nowMs, region }: { nowMs: number; region: string | undefined },
): PresignedUrl {
  const values = decodeSignatureParameters(parameters);
  const algorithm = values.get("X-Amz-Algorithm") ?? "";
  if (algorithm.startsWith("AWS4-ECDSA-")) throw unsupportedMechanism();
  if (algorithm !== ALGORITHM) {
    throw new S3Error(CODE, { message: `X-Amz-Algorithm only supports "${ALGORITHM}"` });
  }
  const date = parseBasicDate(values.get("X-Amz-Date") ?? "");
  if (!date) {
    throw new S3Error(CODE, {
      message: `X-Amz-Date must be in the ISO8601 Long Format "yyyyMMdd'T'HHmmss'Z'"`,
    });
  }
  const { accessKey, scope } = parseCredential(values.get("X-Amz-Credential") ?? "", {
    timestamp: date.timestamp,
    region,
    faults: { code: CODE, prefix: "Error parsing the X-Amz-Credential parameter; " },
  });
  const signedHeaders = parseSignedHeaders(values.get("X-Amz-SignedHeaders") ?? "", CODE);
  checkLifetime(date, values.get("X-Amz-Expires") ?? "", nowMs);
  return {
    accessKey,
    scope,
    timestamp: date.timestamp,
    signedHeaders,
    signature: values.get("X-Amz-Signature") ?? "",
    payload: values.get("X-Amz-Content-Sha256"),
  };
}

/** The parameters that were signed: all but the signature. */
export function signedParameters(
  parameters: readonly CanonicalParameter[],
): readonly CanonicalParameter[] {
  return parameters.filter(([name]) => name !== "X-Amz-Signature");
}

/**
 * SDKs move `x-amz-*` headers into the query when they presign, and S3 reads them there. Not those that describe
 * the body: the SDK that signs has no body and puts the checksum of nothing; S3 does not verify them either.
 */
export function* hoistedHeaders(
  parameters: readonly CanonicalParameter[],
): Generator<readonly [name: string, value: string]> {
  for (const [name, value] of parameters) {
    const header = name.toLowerCase();
    if (header.startsWith("x-amz-") && !NOT_HOISTED.has(header) && !isBodyChecksum(header)) {
      yield [header, decodeParameter(value)];
    }
  }
}

const NOT_HOISTED = new Set([
  ...SIGNATURE_PARAMETERS.map((name) => name.toLowerCase()),
  "x-amz-content-sha256",
  "x-amz-decoded-content-length",
  "x-amz-sdk-checksum-algorithm",
  "x-amz-security-token",
  "x-amz-trailer",
]);

const CHECKSUM_SETTINGS = new Set([
  "x-amz-checksum-algorithm",
  "x-amz-checksum-mode",
  "x-amz-checksum-type",
]);

function isBodyChecksum(header: string): boolean {
  return header.startsWith("x-amz-checksum-") && !CHECKSUM_SETTINGS.has(header);
}

function decodeSignatureParameters(parameters: readonly CanonicalParameter[]): Map<string, string> {
  const values = new Map<string, string>();
  for (const [name, value] of parameters) {
    if (!name.startsWith("X-Amz-")) continue;
    if (values.has(name)) {
      throw new S3Error(CODE, { message: `The parameter ${name} was specified more than once.` });
    }
    values.set(name, decodeParameter(value));
  }
  if (SIGNATURE_PARAMETERS.some((name) => !values.has(name))) {
    throw new S3Error(CODE, {
      message:
        "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
    });
  }
  return values;
}

/** A week, as AWS allows. */
const EXPIRES_MAX_SECONDS = 604_800;

function checkLifetime(date: SignedDate, expires: string, nowMs: number): void {
  if (/^-\d+$/.test(expires)) {
    throw new S3Error(CODE, { message: "X-Amz-Expires must be non-negative" });
  }
  if (!/^\d+$/.test(expires))
    throw new S3Error(CODE, { message: "X-Amz-Expires should be a number" });
  const seconds = Number(expires);
  if (seconds > EXPIRES_MAX_SECONDS) {
    throw new S3Error(CODE, {
      message: `X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than ${EXPIRES_MAX_SECONDS} seconds`,
    });
  }
  if (date.ms > nowMs + CLOCK_SKEW_MAX_MS) {
    throw new S3Error("AccessDenied", {
      message: "Request is not valid yet",
      elements: { "X-Amz-Date": date.timestamp, ServerTime: isoDate(nowMs) },
    });
  }
  const endMs = date.ms + seconds * 1000;
  // A URL made for no time at all is never good, however the clocks differ.
  if (seconds === 0 || nowMs > endMs) {
    throw new S3Error("AccessDenied", {
      message: "Request has expired",
      elements: {
        "X-Amz-Expires": expires,
        Expires: isoDate(endMs),
        ServerTime: isoDate(nowMs),
      },
    });
  }
}
