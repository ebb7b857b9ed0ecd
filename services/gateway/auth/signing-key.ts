/** Signing keys of Signature Version 4: derived by four HMACs, good for a day, so they are kept. */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { Scope } from "#gateway/auth/credential.ts";

/** Users × regions × two days around midnight; beyond it somebody invents regions, and deriving again is cheap. */
const KEPT_MAX = 4096;

export class SigningKeys {
  /** Secrets are part of the name: a key that was replaced is simply never asked for again. */
  readonly #kept = new Map<string, Buffer>();

  of(secretKey: string, scope: Scope): Buffer {
    const name = `${scope.text}\n${secretKey}`;
    const kept = this.#kept.get(name);
    if (kept) return kept;
    const key = deriveSigningKey(secretKey, scope);
    if (this.#kept.size >= KEPT_MAX) this.#kept.clear();
    this.#kept.set(name, key);
    return key;
  }
}

export function deriveSigningKey(secretKey: string, scope: Scope): Buffer {
  const dateKey = hmac(`AWS4${secretKey}`, scope.date);
  return hmac(hmac(hmac(dateKey, scope.region), scope.service), "aws4_request");
}

export function hmac(key: Buffer | string, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}

const SIGNATURE = /^[0-9a-f]{64}$/;

/** Whether `signature`, in lower-case hex, is what the key makes of the text; takes the same time whatever differs. */
export function isSignatureOf(signature: string, key: Buffer, text: string): boolean {
  if (!SIGNATURE.test(signature)) return false;
  return timingSafeEqual(Buffer.from(signature, "hex"), hmac(key, text));
}
