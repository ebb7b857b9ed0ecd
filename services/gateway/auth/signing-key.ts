/**
 * Signing keys of Signature Version 4: derived by four HMACs, good for a day, so they are kept.
 *
 * A signature is HMAC-SHA256 in its textbook form, two hashes over the padded key. node:crypto's own Hmac costs
 * 3.7 µs a call, most of it for making the object; two one-shot hashes with the pads at hand take 2.2 µs.
 */
import { createHmac, hash } from "node:crypto";
import type { Scope } from "#gateway/auth/credential.ts";

/** Users × regions × two days around midnight; beyond it somebody invents regions, and deriving again is cheap. */
const KEPT_MAX = 4096;

export class SigningKeys {
  /** Secrets are part of the name: a key that was replaced is simply never asked for again. */
  readonly #kept = new Map<string, SigningKey>();

  of(secretKey: string, scope: Scope): SigningKey {
    const name = `${scope.text}\n${secretKey}`;
    const kept = this.#kept.get(name);
    if (kept) return kept;
    const key = deriveSigningKey(secretKey, scope);
    if (this.#kept.size >= KEPT_MAX) this.#kept.clear();
    this.#kept.set(name, key);
    return key;
  }
}

export function deriveSigningKey(
  secretKey: string,
  { date, region, service }: Pick<Scope, "date" | "region" | "service">,
): SigningKey {
  const dateKey = hmac(`AWS4${secretKey}`, date);
  return new SigningKey(hmac(hmac(hmac(dateKey, region), service), "aws4_request"));
}

const BLOCK_BYTES = 64;
const DIGEST_BYTES = 32;

export class SigningKey {
  readonly #inner: Buffer;
  readonly #outer: Buffer;

  /** `key` is at most a block long, as every derived key is. */
  constructor(key: Buffer) {
    if (key.length > BLOCK_BYTES) throw new Error(`Cannot sign with a key of ${key.length} bytes`);
    this.#inner = Buffer.alloc(BLOCK_BYTES, 0x36);
    this.#outer = Buffer.alloc(BLOCK_BYTES + DIGEST_BYTES, 0x5c);
    for (const [index, byte] of key.entries()) {
      this.#inner.writeUInt8(byte ^ 0x36, index);
      this.#outer.writeUInt8(byte ^ 0x5c, index);
    }
  }

  sign(text: string): Buffer {
    const length = Buffer.byteLength(text);
    const message = Buffer.allocUnsafe(BLOCK_BYTES + length);
    this.#inner.copy(message);
    message.write(text, BLOCK_BYTES, "utf8");
    hash("sha256", message, "buffer").copy(this.#outer, BLOCK_BYTES);
    return hash("sha256", this.#outer, "buffer");
  }

  /** Whether `signature`, in lower-case hex, is this key's of the text; takes the same time whatever differs. */
  hasSigned(text: string, signature: string): boolean {
    if (signature.length !== 2 * DIGEST_BYTES) return false;
    const right = this.sign(text).toString("hex");
    let difference = 0;
    for (let index = 0; index < right.length; index += 1) {
      difference |= right.charCodeAt(index) ^ signature.charCodeAt(index);
    }
    return difference === 0;
  }
}

function hmac(key: Buffer | string, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}
