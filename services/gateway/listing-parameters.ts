/** Query parameters and spelling that the listings share: limits, encoding-type, continuation tokens. */
import type { Query } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import { encodeUrl, escapeXml } from "#gateway/xml.ts";

/** What one page of a listing holds at most. */
export const PAGE_MAX = 1000;

/** How keys are written into a listing. */
export interface KeySpelling {
  /** `<EncodingType>` or nothing. */
  readonly element: string;
  readonly spell: (key: string) => string;
}

/** `max-keys` and its like: up to the page's size, however much more is asked for. */
export function pageLimit(query: Query, name: string): number {
  const text = query.get(name);
  if (text === undefined || text === "") return PAGE_MAX;
  if (!INTEGER.test(text)) {
    throw invalid(name, text, `Provided ${name} not an integer or within integer range`);
  }
  const limit = Number(text);
  if (limit < 0 || limit > INTEGER_MAX) {
    throw invalid(name, text, `Argument ${name} must be an integer between 0 and ${INTEGER_MAX}`);
  }
  return Math.min(limit, PAGE_MAX);
}

/** Raw, or url-encoded as `encoding-type=url` asks (edge rule 10). */
export function keySpelling(query: Query): KeySpelling {
  const type = query.get("encoding-type");
  if (type === undefined || type === "") return RAW;
  if (type.toLowerCase() === "url") return URL_ENCODED;
  throw invalid("encoding-type", type, "Invalid Encoding Method specified in Request");
}

/** Opaque to clients: where the next page begins, so spelled that nobody is tempted to build one. */
export function continuationToken(after: string): string {
  return Buffer.from(TOKEN_VERSION + after, "utf8").toString("base64url");
}

/** What `continuationToken` was made of; throws InvalidArgument on anything else. */
export function readContinuationToken(token: string): string {
  const bytes = Buffer.from(token, "base64url");
  const text = bytes.toString("utf8");
  if (bytes.toString("base64url") === token && text.startsWith(TOKEN_VERSION)) {
    return text.slice(TOKEN_VERSION.length);
  }
  throw invalid("continuation-token", token, "The continuation token provided is incorrect");
}

const RAW: KeySpelling = { element: "", spell: escapeXml };
const URL_ENCODED: KeySpelling = {
  element: "<EncodingType>url</EncodingType>",
  spell: encodeUrl,
};

const INTEGER = /^[+-]?\d+$/;
const INTEGER_MAX = 2_147_483_647;
const TOKEN_VERSION = "1:";

function invalid(name: string, value: string, message: string): S3Error {
  return new S3Error("InvalidArgument", {
    message,
    elements: { ArgumentName: name, ArgumentValue: value },
  });
}
