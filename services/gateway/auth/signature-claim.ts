/** What a request says of its own signature, in the Authorization header or in the query. */
import type { Scope } from "#gateway/auth/credential.ts";
import { S3Error, type S3ErrorCode } from "#gateway/errors.ts";
import { memoized } from "#lib/memoized.ts";

export interface SignatureClaim {
  readonly accessKey: string;
  readonly scope: Scope;
  /** `20130524T000000Z`. */
  readonly timestamp: string;
  /** Sorted, without repetition, `host` among them. */
  readonly signedHeaders: readonly string[];
  /** In lower-case hex if it is one at all. */
  readonly signature: string;
}

/** Distance between the client's clock and ours beyond which a request is refused. */
export const CLOCK_SKEW_MAX_MS = 15 * 60 * 1000;

/** Names of headers as they may stand in SignedHeaders: tokens of HTTP in lower case. */
const HEADER_NAME = /^[0-9a-z!#$%&'*+.^_`|~-]+$/;

export function parseSignedHeaders(text: string, code: S3ErrorCode): readonly string[] {
  const names = knownNames(text);
  if (names.length > 0) return names;
  throw new S3Error(code, {
    message: `SignedHeaders must list the names of the signed headers in lower case, sorted, each once: "${text}".`,
  });
}

/** A client signs the same few sets of headers again and again. */
const knownNames = memoized(sortedNames, 256);

/** None when the text is not as it should be. */
function sortedNames(text: string): readonly string[] {
  const names = text.split(";");
  const isSorted = names.every(
    (name, index) => HEADER_NAME.test(name) && name > (names[index - 1] ?? ""),
  );
  return isSorted ? names : [];
}

/** As AWS answers, whichever headers they are. */
export function headersNotSigned(names: readonly string[]): S3Error {
  return new S3Error("AccessDenied", {
    message: "There were headers present in the request which were not signed",
    elements: { HeadersNotSigned: names.join(", ") },
  });
}

export function isoDate(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
}
