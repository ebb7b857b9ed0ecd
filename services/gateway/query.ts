/** The query of a request's target, decoded once. */
import type { Query } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";

/** `raw` is what stands behind the `?`. A `+` is a plus, as in signatures; of a name given twice the first counts. */
export function parseQuery(raw: string): Query {
  return raw === "" ? EMPTY : new ParsedQuery(raw);
}

/** Decodes percent escapes into strict UTF-8; bytes sent raw count as if they had been escaped. */
export function decodeTarget(raw: string): string {
  if (PLAIN.test(raw)) return raw;
  try {
    // Node hands over raw bytes as Latin-1.
    return decodeURIComponent(raw.replace(RAW_BYTES, escapeByte));
  } catch (cause) {
    throw new S3Error("InvalidURI", { cause });
  }
}

/** Neither escapes nor bytes beyond ASCII: nothing to decode. */
const PLAIN = /^[\u0020-\u0024\u0026-\u007e]*$/;
const RAW_BYTES = /[\u007f-\u00ff]/g;

function escapeByte(byte: string): string {
  return `%${byte.charCodeAt(0).toString(16)}`;
}

/** Requests have few parameters, so that two short arrays beat a map. */
class ParsedQuery implements Query {
  readonly #names: string[] = [];
  readonly #values: string[] = [];

  constructor(raw: string) {
    for (const pair of raw.split("&")) {
      if (pair === "") continue;
      const equals = pair.indexOf("=");
      this.#names.push(decodeTarget(equals < 0 ? pair : pair.slice(0, equals)));
      this.#values.push(equals < 0 ? "" : decodeTarget(pair.slice(equals + 1)));
    }
  }

  get(name: string): string | undefined {
    const at = this.#names.indexOf(name);
    return at < 0 ? undefined : this.#values[at];
  }

  has(name: string): boolean {
    return this.#names.includes(name);
  }

  names(): readonly string[] {
    return this.#names;
  }
}

const EMPTY: Query = {
  get: () => undefined,
  has: () => false,
  names: () => [],
};
