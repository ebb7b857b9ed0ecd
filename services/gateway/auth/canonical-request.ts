/**
 * The text that a client signs, made again from what arrived: canonical request and string to sign of Signature
 * Version 4 as S3 has it. Pure. It works on the raw request target: nothing is collapsed (`//` and `..` are just
 * keys), what is percent-encoded is decoded once and encoded once, and `+` is a plus sign.
 */
import { hash } from "node:crypto";
import { S3Error } from "#gateway/errors.ts";

export const ALGORITHM = "AWS4-HMAC-SHA256";

/** A query parameter in canonical encoding. */
export type CanonicalParameter = readonly [name: string, value: string];

/** The path as S3's signers encode it: everything but unreserved characters and the slash. */
export function canonicalPath(rawPath: string): string {
  return encodeOnce(rawPath, true);
}

/** In the client's order. `rawQuery` is what stands behind the question mark. */
export function parseParameters(rawQuery: string): readonly CanonicalParameter[] {
  const parameters: CanonicalParameter[] = [];
  if (rawQuery === "") return parameters;
  for (const pair of rawQuery.split("&")) {
    if (pair === "") continue;
    const equals = pair.indexOf("=");
    const name = equals === -1 ? pair : pair.slice(0, equals);
    const value = equals === -1 ? "" : pair.slice(equals + 1);
    parameters.push([encodeOnce(name, false), encodeOnce(value, false)]);
  }
  return parameters;
}

/** Sorted by name, then by value, after encoding. */
export function canonicalQuery(parameters: readonly CanonicalParameter[]): string {
  if (parameters.length === 0) return "";
  const sorted = parameters.length === 1 ? parameters : parameters.toSorted(byNameThenValue);
  let query = "";
  for (const [name, value] of sorted) query += `${query === "" ? "" : "&"}${name}=${value}`;
  return query;
}

/** A header's value as it is signed: runs of white space become one space. */
export function canonicalHeaderValue(value: string): string {
  const trimmed = value.trim();
  return trimmed.includes("  ") || trimmed.includes("\t") ? trimmed.replace(/\s+/g, " ") : trimmed;
}

export function canonicalRequest(request: {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  /** `name:value\n` of each signed header. */
  readonly headers: string;
  /** `a;b;c`. */
  readonly signedHeaders: string;
  readonly payload: string;
}): string {
  const { method, path, query, headers, signedHeaders, payload } = request;
  return `${method}\n${path}\n${query}\n${headers}\n${signedHeaders}\n${payload}`;
}

export function stringToSign(
  signing: { readonly timestamp: string; readonly scope: string },
  request: string,
): string {
  return `${ALGORITHM}\n${signing.timestamp}\n${signing.scope}\n${hash("sha256", request, "hex")}`;
}

/** The text behind a canonical parameter. Throws InvalidURI when it is not UTF-8. */
export function decodeParameter(canonical: string): string {
  try {
    return decodeURIComponent(canonical);
  } catch (cause) {
    throw new S3Error("InvalidURI", { cause });
  }
}

function byNameThenValue(left: CanonicalParameter, right: CanonicalParameter): number {
  const side = left[0] === right[0] ? 1 : 0;
  if (left[side] === right[side]) return 0;
  return left[side] < right[side] ? -1 : 1;
}

const PERCENT = 0x25;
const SLASH = 0x2f;

/** Characters that are never encoded, by code. */
const IS_UNRESERVED = new Uint8Array(256);
for (const character of "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") {
  IS_UNRESERVED[character.charCodeAt(0)] = 1;
}

const ESCAPES = Array.from(
  { length: 256 },
  (_, byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`,
);

/** Values of hexadecimal digits by code, 255 for anything else; from 16 on, written in lower case. */
const HEX_VALUES = new Uint8Array(256).fill(255);
for (let value = 0; value < 16; value++) {
  HEX_VALUES[value.toString(16).charCodeAt(0)] = value < 10 ? value : value + 16;
  HEX_VALUES[value.toString(16).toUpperCase().charCodeAt(0)] = value;
}

/** Most targets arrive in canonical encoding: then nothing is copied. */
function encodeOnce(raw: string, keepsSlash: boolean): string {
  for (let index = 0; index < raw.length; index++) {
    const code = raw.charCodeAt(index);
    if (isPlain(code, keepsSlash)) continue;
    if (code !== PERCENT || !isCanonicalEscape(raw, index, keepsSlash)) {
      return reencode(raw, index, keepsSlash);
    }
    index += 2;
  }
  return raw;
}

function reencode(raw: string, start: number, keepsSlash: boolean): string {
  let encoded = raw.slice(0, start);
  for (let index = start; index < raw.length; index++) {
    let byte = raw.charCodeAt(index);
    // Node hands over the bytes of the request line as Latin-1.
    if (byte > 255) throw new S3Error("InvalidURI");
    if (byte === PERCENT) {
      byte = escapedByte(raw, index);
      index += 2;
    }
    encoded += isPlain(byte, keepsSlash) ? String.fromCharCode(byte) : ESCAPES[byte];
  }
  return encoded;
}

function isPlain(code: number, keepsSlash: boolean): boolean {
  return IS_UNRESERVED[code] === 1 || (code === SLASH && keepsSlash);
}

function isCanonicalEscape(raw: string, index: number, keepsSlash: boolean): boolean {
  const high = HEX_VALUES[raw.charCodeAt(index + 1)] ?? 255;
  const low = HEX_VALUES[raw.charCodeAt(index + 2)] ?? 255;
  return high < 16 && low < 16 && !isPlain(high * 16 + low, keepsSlash);
}

function escapedByte(raw: string, index: number): number {
  const high = HEX_VALUES[raw.charCodeAt(index + 1)] ?? 255;
  const low = HEX_VALUES[raw.charCodeAt(index + 2)] ?? 255;
  if (high === 255 || low === 255) throw new S3Error("InvalidURI");
  return (high & 15) * 16 + (low & 15);
}
