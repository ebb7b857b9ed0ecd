/**
 * Version ids and upload ids: 32 characters for six bytes of order and fourteen of chance. The order is a version's
 * sequence number or an upload's time of initiation, so an id leads to its key without a search, and ids sort as
 * what they name. The alphabet is base32hex in lower case: URL-safe, and its order is that of the bytes.
 */
import { NONCE_BYTES, UPLOAD_ID_BYTES } from "#metadata/keys.ts";

const ALPHABET = "0123456789abcdefghijklmnopqrstuv";
const ID_CHARACTERS = 32;
const ORDER_BYTES = UPLOAD_ID_BYTES - NONCE_BYTES;

const CODES = Uint8Array.from(ALPHABET, (character) => character.charCodeAt(0));
const VALUES = new Uint8Array(128).fill(0xff);
CODES.forEach((code, value) => {
  VALUES[code] = value;
});

export interface IdParts {
  readonly order: number;
  readonly nonce: Uint8Array;
}

export function formatId({ order, nonce }: IdParts): string {
  return formatIdBytes(idBytes({ order, nonce }));
}

/** undefined when the text is no id that we could have given out. */
export function parseId(text: string): IdParts | undefined {
  const bytes = parseIdBytes(text);
  return bytes && { order: bytes.readUIntBE(0, ORDER_BYTES), nonce: bytes.subarray(ORDER_BYTES) };
}

export function idBytes({ order, nonce }: IdParts): Buffer {
  const bytes = Buffer.allocUnsafe(UPLOAD_ID_BYTES);
  bytes.writeUIntBE(order, 0, ORDER_BYTES);
  bytes.set(nonce, ORDER_BYTES);
  return bytes;
}

const scratch = Buffer.allocUnsafeSlow(ID_CHARACTERS);

export function formatIdBytes(bytes: Uint8Array): string {
  let at = 0;
  let pending = 0;
  let bits = 0;
  for (const byte of bytes) {
    pending = ((pending << 8) | byte) & 0xfff;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      scratch[at++] = CODES[(pending >>> bits) & 31] ?? 0;
    }
  }
  return scratch.toString("latin1", 0, at);
}

export function parseIdBytes(text: string): Buffer | undefined {
  if (text.length !== ID_CHARACTERS) return undefined;
  const bytes = Buffer.allocUnsafe(UPLOAD_ID_BYTES);
  let at = 0;
  let pending = 0;
  let bits = 0;
  for (let index = 0; index < ID_CHARACTERS; index += 1) {
    const value = VALUES[text.charCodeAt(index)] ?? 0xff;
    if (value === 0xff) return undefined;
    pending = ((pending << 5) | value) & 0xfff;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes[at++] = (pending >>> bits) & 0xff;
    }
  }
  return bytes;
}
