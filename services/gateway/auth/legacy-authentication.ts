/**
 * Who sends a request that is signed with Version 2, in the Authorization header or in the query. Off unless the
 * operator asks for it; boto3 still presigns so for endpoints that are not AWS's.
 */
import type { User } from "#access/users.ts";
import type { Authentication, UnverifiedRequest, Verifier } from "#gateway/auth/authenticate.ts";
import { type CanonicalParameter, decodeParameter } from "#gateway/auth/canonical-request.ts";
import { hasSignedLegacy, legacyStringToSign } from "#gateway/auth/legacy-signature.ts";
import { type Payload, parsePayload, UNSIGNED_PAYLOAD } from "#gateway/auth/payload.ts";
import { hoistedHeaders } from "#gateway/auth/presigned-url.ts";
import { HeaderList, HoistedHeaders } from "#gateway/auth/request-headers.ts";
import { CLOCK_SKEW_MAX_MS, isoDate } from "#gateway/auth/signature-claim.ts";
import type { RequestHeaders } from "#gateway/context.ts";
import { parseHttpDate } from "#gateway/dates.ts";
import { S3Error } from "#gateway/errors.ts";

/** `AWS key:signature`; what only begins so is answered as malformed elsewhere. */
export function isLegacyAuthorization(authorization: string): boolean {
  return AUTHORIZATION.test(authorization);
}

export function authenticateLegacyHeader(
  request: UnverifiedRequest,
  signed: { readonly authorization: string; readonly parameters: readonly CanonicalParameter[] },
  verifier: Verifier,
): Authentication {
  const [, accessKey = "", signature = ""] = AUTHORIZATION.exec(signed.authorization) ?? [];
  const { headers } = request;
  const amzDate = headers.get("x-amz-date");
  checkDate(amzDate ?? headers.get("date") ?? "", verifier.nowMs);
  // x-amz-date is among the signed headers and takes the date's place there.
  const claim = { accessKey, signature, date: amzDate === undefined ? headers.get("date") : "" };
  const user = verify(claim, { request, headers: withParameters(request, signed) }, verifier);
  return { caller: { kind: "user", user }, mode: "header", payload: payloadOf(request), headers };
}

export function authenticateLegacyQuery(
  request: UnverifiedRequest,
  parameters: readonly CanonicalParameter[],
  verifier: Verifier,
): Authentication {
  const accessKey = only(parameters, "AWSAccessKeyId");
  const signature = only(parameters, "Signature");
  const date = only(parameters, "Expires");
  checkExpiry(date, verifier.nowMs);
  const headers = withParameters(request, { parameters });
  const user = verify({ accessKey, signature, date }, { request, headers }, verifier);
  const hoisted = HeaderList.fromEntries([
    ...hoistedHeaders(parameters),
    ...entityHeaders(parameters),
  ]);
  return {
    caller: { kind: "user", user },
    mode: "query",
    payload: payloadOf(request),
    headers: new HoistedHeaders({ sent: request.headers, hoisted }),
  };
}

const AUTHORIZATION = /^AWS ([^:\s]+):(\S+)$/;
const BARE_BUCKET = /^\/[^/]+$/;

interface LegacyClaim {
  readonly accessKey: string;
  readonly signature: string;
  readonly date: string | undefined;
}

function verify(
  { accessKey, signature, date = "" }: LegacyClaim,
  { request, headers }: { request: UnverifiedRequest; headers: RequestHeaders },
  { users }: Verifier,
): User {
  const user = users.byAccessKey(accessKey);
  if (!user) {
    throw new S3Error("InvalidAccessKeyId", { elements: { AWSAccessKeyId: accessKey } });
  }
  const claimed = { ...request, headers, date };
  const text = legacyStringToSign(claimed);
  if (hasSignedLegacy(user.secretKey, text, signature)) return user;
  // boto3 signs `/bucket/` where it sends `/bucket`: the same resource by another spelling.
  if (request.hostedBucket === undefined && BARE_BUCKET.test(request.rawPath)) {
    const spelled = legacyStringToSign({ ...claimed, rawPath: `${request.rawPath}/` });
    if (hasSignedLegacy(user.secretKey, spelled, signature)) return user;
  }
  throw new S3Error("SignatureDoesNotMatch", {
    elements: {
      AWSAccessKeyId: accessKey,
      StringToSign: text,
      SignatureProvided: signature,
      StringToSignBytes: Buffer.from(text, "utf8")
        .toString("hex")
        .replace(/..(?!$)/g, "$& "),
    },
  });
}

/** The body is not part of what is signed; a hash in the headers is, and still says what the body should be. */
function payloadOf({ headers, streams }: UnverifiedRequest): Payload {
  const value = headers.get("x-amz-content-sha256") ?? UNSIGNED_PAYLOAD;
  return parsePayload(value, { streams, signing: undefined });
}

/** Whatever stands for a header is signed as one, or somebody could add it. */
function withParameters(
  { headers }: UnverifiedRequest,
  { parameters }: { parameters: readonly CanonicalParameter[] },
): RequestHeaders {
  const amz = parameters
    .map(([name, value]) => [name.toLowerCase(), value] as const)
    .filter(([name]) => name.startsWith("x-amz-"))
    .map(([name, value]) => [name, decodeParameter(value)] as const);
  const hoisted = HeaderList.fromEntries([...amz, ...entityHeaders(parameters)]);
  return new HoistedHeaders({ sent: headers, hoisted });
}

/** boto3 moves these two into the query as well. */
const ENTITY_HEADERS = new Set(["content-md5", "content-type"]);

function* entityHeaders(
  parameters: readonly CanonicalParameter[],
): Generator<readonly [name: string, value: string]> {
  for (const [name, value] of parameters) {
    if (ENTITY_HEADERS.has(name)) yield [name, decodeParameter(value)];
  }
}

function only(parameters: readonly CanonicalParameter[], wanted: string): string {
  const [found, another] = parameters.filter(([name]) => name === wanted);
  if (found === undefined || found[1] === "" || another !== undefined) {
    throw new S3Error("AccessDenied", {
      message:
        "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
    });
  }
  return decodeParameter(found[1]);
}

function checkDate(text: string, nowMs: number): void {
  const ms = parseHttpDate(text);
  // AWS takes no date before 1970 for one.
  if (ms === undefined || ms < 0) {
    throw new S3Error("AccessDenied", {
      message: "AWS authentication requires a valid Date or x-amz-date header",
    });
  }
  if (Math.abs(nowMs - ms) <= CLOCK_SKEW_MAX_MS) return;
  throw new S3Error("RequestTimeTooSkewed", {
    elements: {
      RequestTime: text,
      ServerTime: isoDate(nowMs),
      MaxAllowedSkewMilliseconds: String(CLOCK_SKEW_MAX_MS),
    },
  });
}

/** Of what Date can hold. */
const SECONDS_MAX = 8_640_000_000_000;

function checkExpiry(expires: string, nowMs: number): void {
  const seconds = /^\d+$/.test(expires) ? Number(expires) : Number.NaN;
  if (!(seconds <= SECONDS_MAX)) {
    throw new S3Error("AccessDenied", {
      message: `Invalid date (should be seconds since epoch): ${expires}`,
    });
  }
  if (nowMs <= seconds * 1000) return;
  throw new S3Error("AccessDenied", {
    message: "Request has expired",
    elements: { Expires: isoDate(seconds * 1000), ServerTime: isoDate(nowMs) },
  });
}
