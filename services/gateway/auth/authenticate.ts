/** The pipeline step that finds out who sends a request, and proves it: header, query, form or nobody. */
import type { Caller, Users } from "#access/users.ts";
import {
  parseAuthorizationHeader,
  unsupportedMechanism,
} from "#gateway/auth/authorization-header.ts";
import {
  canonicalHeaderValue,
  canonicalPath,
  canonicalQuery,
  canonicalRequest,
  parseTarget,
  type RequestTarget,
  stringToSign,
} from "#gateway/auth/canonical-request.ts";
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
import { HeaderList } from "#gateway/auth/request-headers.ts";
import { headersNotSigned, type SignatureClaim } from "#gateway/auth/signature-claim.ts";
import { isSignatureOf, type SigningKeys } from "#gateway/auth/signing-key.ts";
import type { AuthMode, RequestHeaders } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";

/** A request as it came from the wire. */
export interface UnverifiedRequest {
  readonly method: string;
  /** Node's `url`: exactly what stood in the request line. */
  readonly rawTarget: string;
  /** Node's `rawHeaders`. */
  readonly rawHeaders: readonly string[];
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
}

export function authenticate(request: UnverifiedRequest, verifier: Verifier): Authentication {
  const headers = HeaderList.fromRaw(request.rawHeaders);
  const target = parseTarget(request.rawTarget);
  refuseToken(headers, target);
  const authorization = headers.get("authorization");
  const inQuery = querySignature(target.parameters);
  if (authorization && inQuery) throw twoMechanisms(authorization);
  if (inQuery === "version-2") throw unsupportedMechanism();
  if (inQuery) return authenticateQuery(request, { headers, target }, verifier);
  if (authorization) {
    return authenticateHeader(request, { headers, target, authorization }, verifier);
  }
  const value = headers.get("x-amz-content-sha256") ?? UNSIGNED_PAYLOAD;
  return {
    caller: { kind: "anonymous" },
    mode: "anonymous",
    payload: parsePayload(value, { streams: request.streams, signing: undefined }),
    headers: headers.withoutTransferEncoding(),
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
  parsed: { headers: HeaderList; target: RequestTarget; authorization: string },
  verifier: Verifier,
): Authentication {
  const { headers, target } = parsed;
  const claim = parseAuthorizationHeader(parsed.authorization, { headers, ...verifier });
  const value = headers.get("x-amz-content-sha256");
  if (value === undefined) {
    throw new S3Error("InvalidRequest", {
      message: "Missing required header for this request: x-amz-content-sha256",
    });
  }
  const query = canonicalQuery(target.parameters);
  const { caller, signing } = verify(
    claim,
    { request, headers, target, query, payload: value },
    verifier,
  );
  return {
    caller,
    mode: "header",
    payload: parsePayload(value, { streams: request.streams, signing }),
    headers: headers.withoutTransferEncoding(),
  };
}

function authenticateQuery(
  request: UnverifiedRequest,
  parsed: { headers: HeaderList; target: RequestTarget },
  verifier: Verifier,
): Authentication {
  const { headers, target } = parsed;
  const claim = parsePresignedUrl(target.parameters, verifier);
  const signed = signedParameters(target.parameters);
  const header = headers.get("x-amz-content-sha256");
  const signedHeader = claim.signedHeaders.includes("x-amz-content-sha256") ? header : undefined;
  const value = claim.payload ?? signedHeader ?? UNSIGNED_PAYLOAD;
  const query = canonicalQuery(signed);
  const { caller, signing } = verify(
    claim,
    { request, headers, target, query, payload: value },
    verifier,
  );
  const payload = parsePayload(value, { streams: request.streams, signing });
  return {
    caller,
    mode: "query",
    payload: payload === UNSIGNED ? unsignedUnlessHashed(header) : payload,
    headers: withHoisted(headers, target).withoutTransferEncoding(),
  };
}

/** A hash that nobody signed still says what the body should be; how the body is framed is for the signer alone to say. */
function unsignedUnlessHashed(header: string | undefined): Payload {
  if (header === undefined || header === UNSIGNED_PAYLOAD) return UNSIGNED;
  const payload = parsePayload(header, { streams: true, signing: undefined });
  if (payload.mode !== "hash") throw headersNotSigned(["x-amz-content-sha256"]);
  return payload;
}

function withHoisted(headers: HeaderList, target: RequestTarget): HeaderList {
  const hoisted = [...hoistedHeaders(target.parameters)];
  return hoisted.length === 0
    ? headers
    : HeaderList.fromEntries([...hoisted, ...headers.entries()]);
}

/** Temporary credentials need STS, which is not there. */
function refuseToken(headers: HeaderList, { parameters }: RequestTarget): void {
  const isThere =
    headers.get("x-amz-security-token") !== undefined ||
    parameters.some(([name]) => name.toLowerCase() === "x-amz-security-token");
  if (isThere) throw new S3Error("InvalidToken");
}

interface SignedText {
  readonly request: UnverifiedRequest;
  readonly headers: HeaderList;
  readonly target: RequestTarget;
  /** Canonical. */
  readonly query: string;
  readonly payload: string;
}

function verify(
  claim: SignatureClaim,
  text: SignedText,
  { users, keys }: Verifier,
): { caller: Caller; signing: ChunkSigning } {
  refuseUnsigned(claim, text.headers);
  const user = users.byAccessKey(claim.accessKey);
  if (!user) {
    throw new S3Error("InvalidAccessKeyId", { elements: { AWSAccessKeyId: claim.accessKey } });
  }
  const key = keys.of(user.secretKey, claim.scope);
  const signed = signedHeaderLines(claim, text.headers);
  const ours = { timestamp: claim.timestamp, scope: claim.scope.text };
  const isSigned = (path: string, query: string) => {
    const canonical = describe(claim, text, { path, query, headers: signed.lines });
    return isSignatureOf(claim.signature, key, stringToSign(ours, canonical));
  };

  const path = canonicalPath(text.target.rawPath);
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
  { target, query }: SignedText,
  isSigned: (path: string, query: string) => boolean,
): boolean {
  const { rawPath, rawQuery } = target;
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
function refuseUnsigned({ signedHeaders }: SignatureClaim, headers: HeaderList): void {
  const signed = new Set(signedHeaders);
  const unsigned: string[] = signed.has("host") ? [] : ["host"];
  for (const name of headers.names()) {
    if (name.startsWith("x-amz-") && !signed.has(name) && name !== "x-amz-content-sha256") {
      unsigned.push(name);
    }
  }
  if (unsigned.length > 0) throw headersNotSigned(unsigned);
}

function signedHeaderLines(
  { signedHeaders }: SignatureClaim,
  headers: HeaderList,
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
