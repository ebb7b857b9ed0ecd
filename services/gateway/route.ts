/** What a request is addressed to and which operation it is; pure. Nothing here decodes twice, normalises or guesses. */
import { mayNameBucket } from "#gateway/bucket-name.ts";
import type { Operation, Query, RequestHeaders } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import { OPERATIONS, type OperationName } from "#gateway/operations.ts";
import { decodeTarget } from "#gateway/query.ts";

/** A request's target in its parts, as sent: signatures are computed on these. */
export interface Target {
  readonly rawPath: string;
  /** Behind the `?`; empty when there is none. */
  readonly rawQuery: string;
  /** Of the absolute form (`GET http://host/path`), which wins over the Host header; undefined otherwise. */
  readonly authority: string | undefined;
}

export interface Address {
  /** Empty: the service. */
  readonly bucketName: string;
  /** Empty: the bucket. */
  readonly key: string;
  readonly isVirtualHost: boolean;
}

export interface Match {
  readonly name: OperationName;
  readonly operation: Operation;
}

export function splitTarget(target: string): Target {
  let path = target;
  let authority: string | undefined;
  if (!target.startsWith("/")) {
    const absolute = ABSOLUTE_FORM.exec(target);
    if (absolute === null) throw new S3Error("InvalidURI");
    authority = absolute[1];
    path = absolute[2] === "" ? "/" : (absolute[2] ?? "/");
  }
  const mark = path.indexOf("?");
  if (mark < 0) return { rawPath: path, rawQuery: "", authority };
  return { rawPath: path.slice(0, mark) || "/", rawQuery: path.slice(mark + 1), authority };
}

/** The name in a Host header, in lower case, without port and final dot; throws for what is no host. */
export function hostName(host: string): string {
  const found = HOST.exec(host);
  if (found === null) throw new S3Error("BadRequest", { message: "The Host header is not valid." });
  return (found[1] ?? "").toLowerCase();
}

/** `domains` in lower case: those whose sub-domains are buckets. `*.localhost` always is. */
export function findAddress(rawPath: string, host: string, domains: readonly string[]): Address {
  const hosted = bucketOfHost(host, domains);
  if (hosted !== undefined) {
    return { bucketName: bucketNamed(hosted), key: keyOf(rawPath, 1), isVirtualHost: true };
  }
  const slash = rawPath.indexOf("/", 1);
  const first = slash < 0 ? rawPath.slice(1) : rawPath.slice(1, slash);
  if (first === "") {
    // `//x` names no bucket and is no request on the service.
    if (slash >= 0) throw new S3Error("InvalidBucketName", { elements: { BucketName: "" } });
    return SERVICE;
  }
  return {
    bucketName: bucketNamed(decodeTarget(first)),
    key: slash < 0 ? "" : keyOf(rawPath, slash + 1),
    isVirtualHost: false,
  };
}

/**
 * The row that fits with the most conditions. What fits no row, or names a sub-resource that its row does not know, is
 * 501 and never taken for something else (edge rule 13).
 */
export function findOperation(request: {
  readonly method: string;
  readonly address: Pick<Address, "bucketName" | "key">;
  readonly query: Query;
  readonly headers: Pick<RequestHeaders, "get">;
}): Match {
  const { method, address, query } = request;
  if (method === "OPTIONS") return PREFLIGHT;
  const target = targetOf(address);
  const candidates = CANDIDATES.get(`${method} ${target}`);
  const match = candidates?.find((candidate) => fits(candidate, request));
  if (match === undefined) throw notImplemented(method);
  const names = query.names();
  for (const name of names) refuseStray(name, match, request);
  return match.match;
}

const ABSOLUTE_FORM = /^https?:\/\/([^/?#]+)(.*)$/i;
/** A name (compose services may have an underscore), an IPv4 or a bracketed IPv6 address, and a port. */
const HOST = /^([a-z0-9_](?:[a-z0-9._-]{0,253}[a-z0-9_-])?|\[[0-9a-f:.]{2,45}\])\.?(?::\d{1,5})?$/i;
const KEY_BYTES_MAX = 1024;
/** A UTF-16 unit takes at most three bytes of UTF-8. */
const SURELY_SHORT = Math.floor(KEY_BYTES_MAX / 3);

const SERVICE: Address = { bucketName: "", key: "", isVirtualHost: false };

function bucketOfHost(host: string, domains: readonly string[]): string | undefined {
  let found: string | undefined;
  for (const domain of domains) {
    if (host === domain) return undefined;
    // Of nested domains the longest counts.
    if (isBelow(host, domain)) {
      const name = host.slice(0, -domain.length - 1);
      if (found === undefined || name.length < found.length) found = name;
    }
  }
  if (found === undefined && isBelow(host, "localhost")) return host.slice(0, -".localhost".length);
  return found;
}

function isBelow(host: string, domain: string): boolean {
  return (
    host.length > domain.length + 1 && host.endsWith(domain) && host.at(-domain.length - 1) === "."
  );
}

function bucketNamed(name: string): string {
  if (!mayNameBucket(name)) {
    throw new S3Error("InvalidBucketName", { elements: { BucketName: name } });
  }
  return name;
}

function keyOf(rawPath: string, start: number): string {
  const key = decodeTarget(rawPath.slice(start));
  if (key.includes("\0")) throw new S3Error("InvalidURI");
  if (key.length > SURELY_SHORT) {
    const bytes = Buffer.byteLength(key);
    if (bytes > KEY_BYTES_MAX) {
      throw new S3Error("KeyTooLongError", {
        elements: { Size: String(bytes), MaxSizeAllowed: String(KEY_BYTES_MAX) },
      });
    }
  }
  return key;
}

function targetOf({ bucketName, key }: Pick<Address, "bucketName" | "key">): Operation["target"] {
  if (bucketName === "") return "service";
  return key === "" ? "bucket" : "object";
}

interface Candidate {
  readonly match: Match;
  readonly query: readonly { readonly name: string; readonly value: string | undefined }[];
  readonly headers: readonly string[];
}

/** Rows by method and target, those with the most conditions first. */
const CANDIDATES = new Map<string, Candidate[]>();
/** Names that select an operation in some row: the first condition of a row; those behind it only tell rows apart. */
const SUBRESOURCES = new Set<string>();
const PREFLIGHT: Match = { name: "Preflight", operation: OPERATIONS.Preflight };

for (const [name, operation] of Object.entries<Operation>(OPERATIONS)) {
  const query = (operation.query ?? []).map((condition) => {
    const [parameter = "", value] = condition.split("=");
    return { name: parameter, value };
  });
  const candidate: Candidate = {
    match: { name: name as OperationName, operation },
    query,
    headers: operation.headers ?? [],
  };
  const place = `${operation.method} ${operation.target}`;
  const rows = CANDIDATES.get(place) ?? [];
  rows.push(candidate);
  rows.sort((a, b) => conditionsOf(b) - conditionsOf(a));
  CANDIDATES.set(place, rows);
  // Every SDK sends x-id=Operation along; it selects nothing.
  if (query[0] !== undefined && query[0].name !== "x-id") SUBRESOURCES.add(query[0].name);
}

function conditionsOf({ query, headers }: Candidate): number {
  return query.length + headers.length;
}

function fits(candidate: Candidate, request: Parameters<typeof findOperation>[0]): boolean {
  for (const { name, value } of candidate.query) {
    if (value === undefined ? !request.query.has(name) : request.query.get(name) !== value) {
      return false;
    }
  }
  // A presigned URL carries its headers as parameters.
  return candidate.headers.every(
    (name) => request.headers.get(name) !== undefined || request.query.has(name),
  );
}

/**
 * Parameters that SDKs, AWS's model or signatures use and that select nothing. A parameter without a value that is not
 * among them may be a sub-resource younger than this table.
 */
const PLAIN_PARAMETERS: ReadonlySet<string> = new Set([
  "annotation-prefix",
  "annotationName",
  "bucket-region",
  "continuation-token",
  "delimiter",
  "encoding-type",
  "fetch-owner",
  "id",
  "key-marker",
  "marker",
  "max-annotation-results",
  "max-buckets",
  "max-directory-buckets",
  "max-keys",
  "max-parts",
  "max-uploads",
  "part-number-marker",
  "partNumber",
  "prefix",
  "response-cache-control",
  "response-content-disposition",
  "response-content-encoding",
  "response-content-language",
  "response-content-type",
  "response-expires",
  "start-after",
  "upload-id-marker",
  "version-id-marker",
  "versionId",
  "x-id",
]);

function refuseStray(
  name: string,
  candidate: Candidate,
  request: Parameters<typeof findOperation>[0],
): void {
  if (PLAIN_PARAMETERS.has(name)) {
    // Without its upload a part would overwrite the object.
    if (name === "partNumber" && request.method === "PUT" && !request.query.has("uploadId")) {
      throw new S3Error("InvalidArgument", {
        message: "This operation does not accept a partNumber without an uploadId.",
        elements: { ArgumentName: "partNumber", ArgumentValue: request.query.get(name) ?? "" },
      });
    }
    return;
  }
  if (candidate.query.some((condition) => condition.name === name)) return;
  if (SUBRESOURCES.has(name)) throw notImplemented(request.method, name);
  // Readers of public objects put `?1234` behind a name so that caches miss; anything else may be a sub-resource.
  const isRead =
    (request.method === "GET" || request.method === "HEAD") && request.address.key !== "";
  if (isRead || request.query.get(name) !== "" || /^x-amz-/i.test(name)) return;
  throw notImplemented(request.method, name);
}

function notImplemented(method: string, subresource?: string): S3Error {
  return new S3Error("NotImplemented", {
    message: "A header or query you provided implies functionality that is not implemented.",
    elements: { Method: method, ...(subresource !== undefined && { ResourceType: subresource }) },
  });
}
