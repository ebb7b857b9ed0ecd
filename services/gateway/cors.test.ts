/** Edge rule 27: what browsers are told, from a bucket's rules. */
import { describe, expect, test } from "vitest";
import { answerPreflight, corsHeaders } from "#gateway/cors.ts";
import type { CorsRule } from "#objects/model.ts";

const rule = (fields: Partial<CorsRule>): CorsRule => ({
  id: undefined,
  allowedOrigins: ["*"],
  allowedMethods: ["GET"],
  allowedHeaders: [],
  exposeHeaders: [],
  maxAgeSeconds: undefined,
  ...fields,
});
const code = (name: string) => expect.objectContaining({ name: "S3Error", code: name });
const ask = (fields: { origin?: string; method?: string; headers?: string }) => ({
  origin: fields.origin,
  method: fields.method,
  headers: fields.headers,
});

function originFor(patterns: readonly string[], origin: string): string | undefined {
  const headers = corsHeaders([rule({ allowedOrigins: patterns })], origin, "GET");
  return headers?.["Access-Control-Allow-Origin"];
}

describe("a preflight", () => {
  test("without Origin or with no method of S3 is 400, whatever the rules say", () => {
    expect(() => answerPreflight([rule({})], ask({ method: "GET" }))).toThrow(code("BadRequest"));
    expect(() => answerPreflight([rule({})], ask({ origin: "a" }))).toThrow(code("BadRequest"));
    expect(() => answerPreflight([rule({})], ask({ origin: "a", method: "PATCH" }))).toThrow(
      code("BadRequest"),
    );
  });

  test("that no rule matches is 403", () => {
    const question = ask({ origin: "https://a.example", method: "PUT" });
    for (const rules of [undefined, [], [rule({})], [rule({ allowedOrigins: ["https://b"] })]]) {
      expect(() => answerPreflight(rules, question)).toThrow(code("AccessForbidden"));
    }
  });

  test("names origin, methods and headers granted, and for how long", () => {
    const rules = [
      rule({
        allowedOrigins: ["https://a.example"],
        allowedMethods: ["GET", "PUT"],
        allowedHeaders: ["X-Amz-*", "content-type"],
        exposeHeaders: ["ETag", "x-amz-version-id"],
        maxAgeSeconds: 600,
      }),
    ];
    const question = ask({
      origin: "https://a.example",
      method: "PUT",
      headers: "x-amz-date, Content-Type",
    });
    expect(answerPreflight(rules, question)).toEqual({
      "Access-Control-Allow-Origin": "https://a.example",
      "Access-Control-Allow-Methods": "GET, PUT",
      "Access-Control-Allow-Headers": "x-amz-date, content-type",
      "Access-Control-Expose-Headers": "ETag, x-amz-version-id",
      "Access-Control-Max-Age": "600",
      "Access-Control-Allow-Credentials": "true",
    });
  });

  test("needs one rule that grants everything it asks, and takes the first", () => {
    const rules = [
      rule({ allowedMethods: ["GET"], allowedHeaders: ["*"] }),
      rule({ allowedMethods: ["PUT"], maxAgeSeconds: 1 }),
      rule({ allowedMethods: ["PUT"], allowedHeaders: ["*"], maxAgeSeconds: 2 }),
    ];
    const put = (headers?: string) =>
      answerPreflight(rules, ask({ origin: "a", method: "PUT", ...(headers && { headers }) }));
    expect(put()).toMatchObject({ "Access-Control-Max-Age": "1" });
    expect(put("x-a")).toMatchObject({ "Access-Control-Max-Age": "2" });
  });
});

describe("an answer", () => {
  test("has no CORS headers where no rule matches", () => {
    expect(corsHeaders([rule({})], "a", "PUT")).toBeUndefined();
    expect(corsHeaders([], "a", "GET")).toBeUndefined();
  });

  test.each([
    ["*suffix", "foo.suffix", true],
    ["*suffix", "foo.suffix.com", false],
    ["start*end", "startend", true],
    ["start*end", "start1end", true],
    ["start*end", "0start12end", false],
    ["prefix*", "prefix.suffix", true],
    ["aba*ba", "aba", false],
    ["https://a.example", "https://A.example", false],
  ])("%s lets %s in: %s", (pattern, origin, isIn) => {
    expect(originFor([pattern], origin)).toBe(isIn ? origin : undefined);
  });

  test("never carries credentials for a pattern", () => {
    expect(originFor(["*"], "https://a")).toBe("*");
    for (const pattern of ["*", "https://*"]) {
      const headers = corsHeaders([rule({ allowedOrigins: [pattern] })], "https://a", "GET");
      expect(headers).not.toHaveProperty("Access-Control-Allow-Credentials");
    }
  });
});
