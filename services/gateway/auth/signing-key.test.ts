import { createHmac } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { deriveSigningKey, SigningKey, SigningKeys } from "#gateway/auth/signing-key.ts";
import { rounds } from "#lib/testing/rounds.ts";

function scope(region: string) {
  return { date: "20150830", region, service: "iam", text: `20150830/${region}/iam/aws4_request` };
}

describe("a signing key", () => {
  test("is derived as in AWS's documentation", () => {
    const key = deriveSigningKey("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", scope("us-east-1"));
    const derived = Buffer.from(
      "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9",
      "hex",
    );
    expect(key.sign("text")).toEqual(createHmac("sha256", derived).update("text").digest());
  });

  test("signs as node:crypto's HMAC does, one text after the other", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 64 }),
        fc.array(fc.string({ unit: "grapheme", maxLength: 300 }), { minLength: 1, maxLength: 3 }),
        (bytes, texts) => {
          const key = new SigningKey(Buffer.from(bytes));
          for (const text of texts) {
            const expected = createHmac("sha256", bytes).update(text).digest();
            expect(key.sign(text)).toEqual(expected);
            expect(key.hasSigned(text, expected.toString("hex"))).toBe(true);
            expect(key.hasSigned(`${text}.`, expected.toString("hex"))).toBe(false);
          }
        },
      ),
      { numRuns: rounds(60) },
    );
  });

  test("longer than a block would be another HMAC, and is refused", () => {
    expect(() => new SigningKey(Buffer.alloc(65))).toThrow("a key of 65 bytes");
  });

  test.each(["", "ab", "g".repeat(64), "A".repeat(64), `${"a".repeat(64)}\n`])(
    "has not signed with %j",
    (signature) => {
      expect(new SigningKey(Buffer.alloc(32)).hasSigned("text", signature)).toBe(false);
    },
  );

  test("is kept for its secret and scope, and not for ever", () => {
    const keys = new SigningKeys();
    const kept = keys.of("secret", scope("a"));
    expect(keys.of("secret", scope("a"))).toBe(kept);
    expect(keys.of("other", scope("a"))).not.toBe(kept);
    for (let region = 0; region < 5000; region++) keys.of("secret", scope(`region-${region}`));
    expect(keys.of("secret", scope("a"))).not.toBe(kept);
  });
});
