/** The pipeline step that finds out who sends a request, and proves it: header, query, form or nobody. */
import type { Caller, Users } from "#access/users.ts";
import {
  parseAuthorizationHeader,
  unsupportedMechanism,
} from "#gateway/auth/authorization-header.ts";
import {
  type CanonicalParameter,
  canonicalHeaderValue,
  canonicalPath,
  canonicalQuery,
  canonicalRequest,
  parseParameters,
  stringToSign,
} from "#gateway/auth/canonical-request.ts";
import {
  authenticateLegacyHeader,
  authenticateLegacyQuery,
  isLegacyAuthorization,
} from "#gateway/auth/legacy-authentication.ts";
import {
  type ChunkSigning,
  type Payload,
  parsePayload,
  UNSIGNED,
  UNSIGNED_PAYLOAD,
} from "#gateway/auth/payload.ts";
import {
  hoistedHeaders,
  parsePresignedUrl,
  querySignature,
  signedParameters,
} from "#gateway/auth/presigned-url.ts";
import { HeaderList, HoistedHeaders } from "#gateway/auth/request-headers.ts";
import { headersNotSigned, type SignatureClaim } from "#gateway/auth/signature-claim.ts";
import type { SigningKeys } from "#gateway/auth/signing-key.ts";
import type { AuthMode, RequestHeaders } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";

/** A request as it came from the wire. */
export interface UnverifiedRequest {
  readonly method: string;
  /** The parts of the target, exactly as they stood in the request line. */
  readonly rawPath: string;
  readonly rawQuery: string;
  readonly headers: RequestHeaders;
  /** The bucket in the host's name; undefined where the path names it. */
  readonly hostedBucket: string | undefined;
  /** Whether the operation takes aws-chunked bodies (its row's `streams`). */
  readonly streams: boolean;
}

export interface Authentication {
  readonly caller: Caller;
  readonly mode: AuthMode;
  readonly payload: Payload;
  readonly headers: RequestHeaders;
}

/** What it takes to judge a signature. */
export interface Verifier {
  readonly users: Users;
  readonly keys: SigningKeys;
  /** undefined: any. */
  readonly region: string | undefined;
  readonly nowMs: number;
  /** Whether Signature Version 2 will do. */
  readonly legacySignatures: boolean;
}

export function authenticate(request: UnverifiedRequest, verifier: Verifier): Authentication {
  const { headers, streams } = request;
  const parameters = parseParameters(request.rawQuery);
  refuseToken(headers, parameters);
  const authorization = headers.get("authorization");
  const inQuery = querySignature(parameters);
  if (authorization && inQuery) throw twoMechanisms(authorization);
  if (inQuery === "version-2") {
    if (!verifier.legacySignatures) throw unsupportedMechanism();
    return authenticateLegacyQuery(request, parameters, verifier);
  }
  if (inQuery) return authenticateQuery(request, parameters, verifier);
  if (authorization && verifier.legacySignatures && isLegacyAuthorization(authorization)) {
    return authenticateLegacyHeader(request, { authorization, parameters }, verifier);
  }
  if (authorization) return authenticateHeader(request, { parameters, authorization }, verifier);
  const value = headers.get("x-amz-content-sha256") ?? UNSIGNED_PAYLOAD;
  return {
    caller: { kind: "anonymous" },
    mode: "anonymous",
    payload: parsePayload(value, { streams, signing: undefined }),
    headers,
  };
}

/** AWS's words for a request that is signed in more than one place. */
export function twoMechanisms(authorization: string): S3Error {
  return new S3Error("InvalidArgument", {
    message:
      "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified",
    elements: { ArgumentName: "Authorization", ArgumentValue: authorization },
  });
}

function authenticateHeader(
  request: UnverifiedRequest,
  parsed: { parameters: readonly CanonicalParameter[]; authorization: string },
  verifier: Verifier,
): Authentication {
  const { headers, streams } = request;
  const claim = parseAuthorizationHeader(parsed.authorization, { headers, ...verifier });
  const value = headers.get("x-amz-content-sha256");
  if (value === undefined) {
    throw new S3Error("InvalidRequest", {
      message: "Missing required header for this request: x-amz-content-sha256",
    });
  }
  const query = canonicalQuery(parsed.parameters);
  const { caller, signing } = verify(claim, { request, query, payload: value }, verifier);
  return { caller, mode: "header", payload: parsePayload(value, { streams, signing }), headers };
}

function authenticateQuery(
  request: UnverifiedRequest,
  parameters: readonly CanonicalParameter[],
  verifier: Verifier,
): Authentication {
  const { headers, streams } = request;
  const claim = parsePresignedUrl(parameters, verifier);
  const header = headers.get("x-amz-content-sha256");
  const signedHeader = claim.signedHeaders.includes("x-amz-content-sha256") ? header : undefined;
  const value = claim.payload ?? signedHeader ?? UNSIGNED_PAYLOAD;
  const query = canonicalQuery(signedParameters(parameters));
  const { caller, signing } = verify(claim, { request, query, payload: value }, verifier);
  const payload = parsePayload(value, { streams, signing });
  const hoisted = HeaderList.fromEntries(hoistedHeaders(parameters));
  return {
    caller,
    mode: "query",
    payload: payload === UNSIGNED ? unsignedUnlessHashed(header) : payload,
    headers: new HoistedHeaders({ sent: headers, hoisted }),
  };
}

/** A hash that nobody signed still says what the body should be; how the body is framed is for the signer alone to say. */
function unsignedUnlessHashed(header: string | undefined): Payload {
  if (header === undefined || header === UNSIGNED_PAYLOAD) return UNSIGNED;
  const payload = parsePayload(header, { streams: true, signing: undefined });
  if (payload.mode !== "hash") throw headersNotSigned(["x-amz-content-sha256"]);
  return payload;
}

/** Temporary credentials need STS, which is not there. */
function refuseToken(headers: RequestHeaders, parameters: readonly CanonicalParameter[]): void {
  const isThere =
    headers.get("x-amz-security-token") !== undefined ||
    parameters.some(([name]) => name.toLowerCase() === "x-amz-security-token");
  if (isThere) throw new S3Error("InvalidToken");
}

interface SignedText {
  readonly request: UnverifiedRequest;
  /** Canonical. */
  readonly query: string;
  readonly payload: string;
}

function verify(
  claim: SignatureClaim,
  text: SignedText,
  { users, keys }: Verifier,
): { caller: Caller; signing: ChunkSigning } {
  refuseUnsigned(claim, text.request.headers);
  const user = users.byAccessKey(claim.accessKey);
  if (!user) {
    throw new S3Error("InvalidAccessKeyId", { elements: { AWSAccessKeyId: claim.accessKey } });
  }
  const key = keys.of(user.secretKey, claim.scope);
  const signed = signedHeaderLines(claim, text.request.headers);
  const ours = { timestamp: claim.timestamp, scope: claim.scope.text };
  const isSigned = (path: string, query: string) => {
    const canonical = describe(claim, text, { path, query, headers: signed.lines });
    return key.hasSigned(stringToSign(ours, canonical), claim.signature);
  };

  const path = canonicalPath(text.request.rawPath);
  const isGood = isSigned(path, text.query) || isSignedAsSent(path, text, isSigned);
  if (!isGood || signed.isMissingOne) {
    throw signatureDoesNotMatch(
      claim,
      describe(claim, text, { path, query: text.query, headers: signed.lines }),
    );
  }
  return {
    caller: { kind: "user", user },
    signing: { key, ...ours, seed: claim.signature },
  };
}

/**
 * Some clients (curl) sign their target as they send it, without encoding it canonically. That is as good: what
 * they signed, decoded once, is what we read.
 */
function isSignedAsSent(
  path: string,
  { request, query }: SignedText,
  isSigned: (path: string, query: string) => boolean,
): boolean {
  const { rawPath, rawQuery } = request;
  if (path !== rawPath && isSigned(rawPath, query)) return true;
  // A presigned query never equals what was signed: the signature has been added to it.
  return query !== rawQuery && isSigned(rawPath, rawQuery);
}

function describe(
  claim: SignatureClaim,
  { request, payload }: SignedText,
  form: { path: string; query: string; headers: string },
): string {
  return canonicalRequest({
    ...form,
    method: request.method,
    signedHeaders: claim.signedHeaders.join(";"),
    payload,
  });
}

/** Every `x-amz-*` header must be signed, or someone on the way could add one. Of x-amz-content-sha256 the value is signed anyway. */
function refuseUnsigned({ signedHeaders }: SignatureClaim, headers: RequestHeaders): void {
  const unsigned: string[] = signedHeaders.includes("host") ? [] : ["host"];
  for (const [name] of headers.withPrefix("x-amz-")) {
    if (!signedHeaders.includes(name) && name !== "x-amz-content-sha256") unsigned.push(name);
  }
  if (unsigned.length > 0) throw headersNotSigned(unsigned);
}

function signedHeaderLines(
  { signedHeaders }: SignatureClaim,
  headers: RequestHeaders,
): { lines: string; isMissingOne: boolean } {
  let lines = "";
  let isMissingOne = false;
  for (const name of signedHeaders) {
    const value = headers.get(name);
    if (value === undefined) isMissingOne = true;
    lines += `${name}:${canonicalHeaderValue(value ?? "")}\n`;
  }
  return { lines, isMissingOne };
}

/** With everything that the client's developer needs to see where the two texts part. */
function signatureDoesNotMatch(claim: SignatureClaim, canonical: string): S3Error {
  const text = stringToSign({ timestamp: claim.timestamp, scope: claim.scope.text }, canonical);
  return new S3Error("SignatureDoesNotMatch", {
    elements: {
      AWSAccessKeyId: claim.accessKey,
      StringToSign: text,
      SignatureProvided: claim.signature,
      StringToSignBytes: spacedHex(text),
      CanonicalRequest: canonical,
      CanonicalRequestBytes: spacedHex(canonical),
    },
  });
}

function spacedHex(text: string): string {
  return Buffer.from(text, "utf8")
    .toString("hex")
    .replace(/..(?!$)/g, "$& ");
}
