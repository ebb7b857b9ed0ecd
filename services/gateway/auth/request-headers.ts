/** Headers as handlers see them: names in lower case, values as Unicode, one value a name. */
import { isUtf8 } from "node:buffer";
import type { RequestHeaders } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";

/** Two of one of these would let two readers of one request believe different things. */
const ONCE_ONLY = new Set([
  "authorization",
  "content-length",
  "content-md5",
  "content-type",
  "date",
  "host",
  "x-amz-content-sha256",
  "x-amz-copy-source",
  "x-amz-date",
  "x-amz-decoded-content-length",
  "x-amz-sdk-checksum-algorithm",
  "x-amz-security-token",
  "x-amz-trailer",
]);

/** What handlers ask for by prefix begins like this. */
const AMZ = "x-amz-";

export class HeaderList implements RequestHeaders {
  readonly #values: Map<string, string>;
  #amz: readonly (readonly [name: string, value: string])[] | undefined;

  private constructor(values: Map<string, string>) {
    this.#values = values;
  }

  /** From Node's `rawHeaders`: name, value, name, value. Repeated headers are joined by commas, or refused where they must not repeat. */
  static fromRaw(rawHeaders: readonly string[]): HeaderList {
    const values = new Map<string, string>();
    for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
      const name = (rawHeaders[index] as string).toLowerCase();
      const value = unicode(rawHeaders[index + 1] as string);
      const earlier = values.get(name);
      if (earlier === undefined) {
        values.set(name, value);
        continue;
      }
      if (ONCE_ONLY.has(name) || name.startsWith("x-amz-checksum-")) {
        throw new S3Error("InvalidRequest", {
          message: `The header ${name} was specified more than once.`,
        });
      }
      values.set(name, `${earlier},${value}`);
    }
    return new HeaderList(values);
  }

  /** From what stands for headers: a form's fields, a presigned URL's parameters. Names in lower case. */
  static fromEntries(entries: Iterable<readonly [name: string, value: string]>): HeaderList {
    return new HeaderList(new Map(entries));
  }

  get(name: string): string | undefined {
    return this.#values.get(name);
  }

  withPrefix(prefix: string): readonly (readonly [name: string, value: string])[] {
    if (!prefix.startsWith(AMZ)) return beginningWith(prefix, this.#values);
    this.#amz ??= beginningWith(AMZ, this.#values);
    return prefix === AMZ ? this.#amz : beginningWith(prefix, this.#amz);
  }
}

function beginningWith(
  prefix: string,
  entries: Iterable<readonly [name: string, value: string]>,
): readonly (readonly [string, string])[] {
  const found: (readonly [string, string])[] = [];
  for (const entry of entries) if (entry[0].startsWith(prefix)) found.push(entry);
  return found;
}

/** Headers that a presigned URL carries as parameters, beside those that were sent, which count first. */
export class HoistedHeaders implements RequestHeaders {
  readonly #sent: RequestHeaders;
  readonly #hoisted: RequestHeaders;

  constructor({ sent, hoisted }: { sent: RequestHeaders; hoisted: RequestHeaders }) {
    this.#sent = sent;
    this.#hoisted = hoisted;
  }

  get(name: string): string | undefined {
    return this.#sent.get(name) ?? this.#hoisted.get(name);
  }

  withPrefix(prefix: string): readonly (readonly [name: string, value: string])[] {
    const hoisted = this.#hoisted.withPrefix(prefix);
    const isAlone = ([name]: readonly [string, string]) => this.#sent.get(name) === undefined;
    return [...this.#sent.withPrefix(prefix), ...hoisted.filter(isAlone)];
  }
}

const NOT_ASCII = /[^\0-\x7f]/;

/** Node gives bytes as Latin-1; clients mean UTF-8 wherever the bytes are UTF-8. */
function unicode(latin1: string): string {
  if (!NOT_ASCII.test(latin1)) return latin1;
  const bytes = Buffer.from(latin1, "latin1");
  return isUtf8(bytes) ? bytes.toString("utf8") : latin1;
}
