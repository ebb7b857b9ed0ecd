/**
 * Signature Version 2: the text that a client signs with HMAC-SHA1, made again from what arrived. Pure.
 *
 * Weaker than Version 4 by design: of the query only the parameters below are signed, of the headers only a few, and
 * nothing of the body. Hence everything that could select another operation or change what it does must be signed,
 * whether the clients' own lists know it or not: what they leave out then fails instead of being let in unproved.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { RequestHeaders } from "#gateway/context.ts";
import { decodeTarget } from "#gateway/query.ts";

export interface LegacyText {
  readonly method: string;
  /** As they stood in the request line: the path is signed so. */
  readonly rawPath: string;
  readonly rawQuery: string;
  /** The bucket in the host's name; undefined where the path names it. */
  readonly hostedBucket: string | undefined;
  /** With what a presigned URL carries for headers. */
  readonly headers: RequestHeaders;
  /** What stands in the date's place. */
  readonly date: string;
}

export function legacyStringToSign(text: LegacyText): string {
  const { method, headers, date } = text;
  const md5 = headers.get("content-md5")?.trim() ?? "";
  const type = headers.get("content-type")?.trim() ?? "";
  return `${method}\n${md5}\n${type}\n${date}\n${amzHeaders(headers)}${resource(text)}`;
}

/** In base64. */
export function legacySignature(secretKey: string, text: string): string {
  return createHmac("sha1", secretKey).update(text, "utf8").digest("base64");
}

/** Whether `signature`, in base64, is this key's of the text; takes the same time whatever differs. */
export function hasSignedLegacy(secretKey: string, text: string, signature: string): boolean {
  const expected = Buffer.from(legacySignature(secretKey, text), "latin1");
  const provided = Buffer.from(signature, "utf8");
  return provided.length === expected.length && timingSafeEqual(provided, expected);
}

/**
 * AWS's list (its sub-resources, the overrides of response headers, `delete`) and every other sub-resource of the
 * operation table, so that none can be added to a signed request.
 */
export const SIGNED_PARAMETERS: ReadonlySet<string> = new Set([
  "abac",
  "accelerate",
  "acl",
  "analytics",
  "annotation",
  "annotationName",
  "attributes",
  "cors",
  "delete",
  "encryption",
  "intelligent-tiering",
  "inventory",
  "legal-hold",
  "lifecycle",
  "location",
  "logging",
  "metadataAnnotationTable",
  "metadataConfiguration",
  "metadataInventoryTable",
  "metadataJournalTable",
  "metadataTable",
  "metrics",
  "notification",
  "object-lock",
  "ownershipControls",
  "partNumber",
  "policy",
  "policyStatus",
  "publicAccessBlock",
  "renameObject",
  "replication",
  "requestPayment",
  "response-cache-control",
  "response-content-disposition",
  "response-content-encoding",
  "response-content-language",
  "response-content-type",
  "response-expires",
  "restore",
  "retention",
  "select",
  "select-type",
  "session",
  "tagging",
  "torrent",
  "uploadId",
  "uploads",
  "versionId",
  "versioning",
  "versions",
  "website",
]);

function amzHeaders(headers: RequestHeaders): string {
  let lines = "";
  for (const [name, value] of headers.withPrefix("x-amz-").toSorted(byName)) {
    lines += `${name}:${value.trim()}\n`;
  }
  return lines;
}

/** The path literally, the parameters decoded: clients sign the values they mean. */
function resource({ hostedBucket, rawPath, rawQuery }: LegacyText): string {
  const path = hostedBucket === undefined ? rawPath : `/${hostedBucket}${rawPath}`;
  const parameters: [name: string, shown: string][] = [];
  for (const pair of rawQuery.split("&")) {
    const equals = pair.indexOf("=");
    const name = decodeTarget(equals < 0 ? pair : pair.slice(0, equals));
    if (!SIGNED_PARAMETERS.has(name)) continue;
    parameters.push([name, equals < 0 ? name : `${name}=${decodeTarget(pair.slice(equals + 1))}`]);
  }
  if (parameters.length === 0) return path;
  return `${path}?${parameters
    .toSorted(byName)
    .map(([, shown]) => shown)
    .join("&")}`;
}

function byName([left]: readonly [string, string], [right]: readonly [string, string]): number {
  return left < right ? -1 : Number(left > right);
}
