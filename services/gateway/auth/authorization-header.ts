/** The Authorization header of Signature Version 4. */
import { parseHeaderDate, type SignedDate } from "#gateway/auth/amz-date.ts";
import { ALGORITHM } from "#gateway/auth/canonical-request.ts";
import { parseCredential } from "#gateway/auth/credential.ts";
import {
  CLOCK_SKEW_MAX_MS,
  isoDate,
  parseSignedHeaders,
  type SignatureClaim,
} from "#gateway/auth/signature-claim.ts";
import type { RequestHeaders } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";

const CODE = "AuthorizationHeaderMalformed";
const PREFIX = "The authorization header is malformed; ";

export function parseAuthorizationHeader(
  authorization: string,
  context: { headers: RequestHeaders; nowMs: number; region: string | undefined },
): SignatureClaim {
  if (!authorization.startsWith(`${ALGORITHM} `)) throw unsupported(authorization);
  const { credential, signedHeaders, signature } = parseComponents(
    authorization.slice(ALGORITHM.length + 1),
  );
  const date = signingDate(context.headers);
  const { accessKey, scope } = parseCredential(credential, {
    timestamp: date.timestamp,
    region: context.region,
    faults: { code: CODE, prefix: PREFIX },
  });
  checkSkew(date, context.nowMs);
  return {
    accessKey,
    scope,
    timestamp: date.timestamp,
    signedHeaders: parseSignedHeaders(signedHeaders, CODE),
    signature,
  };
}

interface Components {
  readonly credential: string;
  readonly signedHeaders: string;
  readonly signature: string;
}

/** As SDKs write it. */
const USUAL = /^Credential=([^,\s]+),\s*SignedHeaders=([^,\s]+),\s*Signature=([^,\s]+)$/;

/** `Credential=…, SignedHeaders=…, Signature=…`: in any order, with or without the space. */
function parseComponents(text: string): Components {
  const usual = USUAL.exec(text);
  if (usual) {
    const [, credential = "", signedHeaders = "", signature = ""] = usual;
    return { credential, signedHeaders, signature };
  }
  const components = new Map<string, string>();
  for (const component of text.split(",")) {
    const trimmed = component.trim();
    const equals = trimmed.indexOf("=");
    const name = trimmed.slice(0, Math.max(equals, 0));
    if (components.has(name)) throw new S3Error(CODE, { message: `${PREFIX}duplicate ${name}.` });
    components.set(name, trimmed.slice(equals + 1));
  }
  const credential = components.get("Credential");
  const signedHeaders = components.get("SignedHeaders");
  const signature = components.get("Signature");
  if (!credential || !signedHeaders || !signature || components.size !== 3) {
    throw new S3Error(CODE, {
      message: `${PREFIX}the authorization header requires three components: Credential, SignedHeaders, and Signature.`,
    });
  }
  return { credential, signedHeaders, signature };
}

/** The date that was signed: x-amz-date, or Date where a client sends only that. It is bound by the string to sign. */
function signingDate(headers: RequestHeaders): SignedDate {
  const date = parseHeaderDate(headers.get("x-amz-date") ?? headers.get("date") ?? "");
  if (date) return date;
  throw new S3Error("AccessDenied", {
    message: "AWS authentication requires a valid Date or x-amz-date header",
  });
}

function checkSkew(date: SignedDate, nowMs: number): void {
  if (Math.abs(nowMs - date.ms) <= CLOCK_SKEW_MAX_MS) return;
  throw new S3Error("RequestTimeTooSkewed", {
    elements: {
      RequestTime: date.timestamp,
      ServerTime: isoDate(nowMs),
      MaxAllowedSkewMilliseconds: String(CLOCK_SKEW_MAX_MS),
    },
  });
}

/** AWS tells three kinds apart: the older signature (well-formed or not), newer ones, and what is no signature at all. */
function unsupported(authorization: string): S3Error {
  if (authorization === "AWS" || authorization.startsWith("AWS ")) {
    if (/^AWS [^:\s]+:\S+$/.test(authorization)) return unsupportedMechanism();
    return new S3Error("InvalidArgument", {
      message: "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature",
      elements: { ArgumentName: "Authorization", ArgumentValue: authorization },
    });
  }
  if (authorization.startsWith("AWS4-")) return unsupportedMechanism();
  return new S3Error("InvalidArgument", {
    message: "Unsupported Authorization Type",
    // The value may be somebody's password for another service: it is not sent back.
    elements: { ArgumentName: "Authorization" },
  });
}

/** For Signature Version 2 and 4A, in the header or in the query. */
export function unsupportedMechanism(): S3Error {
  return new S3Error("InvalidRequest", {
    message:
      "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
  });
}
