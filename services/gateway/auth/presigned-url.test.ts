import { describe, expect, test } from "vitest";
import { MINUTE_MS, NOW_MS, presign, received, refusal } from "#gateway/auth/reference-client.ts";

async function at(dateMs: number, expiresIn: number): Promise<() => string> {
  const request = await presign({}, { dateMs, expiresIn });
  return () => received(request).caller.kind;
}

describe("presigned URLs (SIG-8)", () => {
  test("hold to the second, and a clock's error is only allowed for at their beginning", async () => {
    expect((await at(NOW_MS - 60_000, 60))()).toBe("user");
    expect((await at(NOW_MS + 15 * MINUTE_MS, 60))()).toBe("user");
    expect((await at(NOW_MS - 604_800_000, 604_800))()).toBe("user");
    const expired = refusal(await at(NOW_MS - 61_000, 60));
    expect([expired.code, expired.message]).toEqual(["AccessDenied", "Request has expired"]);
    expect(expired.elements).toEqual({
      "X-Amz-Expires": "60",
      Expires: "2026-11-22T12:30:14Z",
      ServerTime: "2026-11-22T12:30:15Z",
    });
    const early = refusal(await at(NOW_MS + 15 * MINUTE_MS + 1000, 60));
    expect([early.code, early.message]).toEqual(["AccessDenied", "Request is not valid yet"]);
  });

  test.each([
    ["0", "AccessDenied"],
    ["-7", "AuthorizationQueryParametersError"],
    ["604801", "AuthorizationQueryParametersError"],
    ["soon", "AuthorizationQueryParametersError"],
    ["1e3", "AuthorizationQueryParametersError"],
    ["", "AuthorizationQueryParametersError"],
    ["60&X-Amz-Expires=60", "AuthorizationQueryParametersError"],
  ])("with X-Amz-Expires=%s: %s", async (expires, code) => {
    const request = await presign({});
    const rawQuery = request.rawQuery.replace(/X-Amz-Expires=\d+/, `X-Amz-Expires=${expires}`);
    expect(refusal(() => received({ ...request, rawQuery })).code).toBe(code);
  });

  test.each([
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
  ])("without %s", async (name) => {
    const request = await presign({});
    const pairs = request.rawQuery.split("&").filter((pair) => !pair.startsWith(`${name}=`));
    const error = refusal(() => received({ ...request, rawQuery: pairs.join("&") }));
    expect(error.code).toBe("AuthorizationQueryParametersError");
    expect(error.message).toContain("Query-string authentication version 4 requires");
  });

  test.each([
    ["another method", { method: "PUT" }],
    ["another key", { rawPath: "/bucket/other" }],
    ["another host", { headers: [["host", "other.example.com"] as const] }],
  ])("are not good for %s", async (_, change) => {
    const request = await presign({});
    const error = refusal(() => received({ ...request, ...change }));
    expect(error.code).toBe("SignatureDoesNotMatch");
  });

  test("are not good with another parameter", async () => {
    const request = await presign({});
    const rawQuery = `${request.rawQuery}&response-content-type=text%2Fhtml`;
    expect(refusal(() => received({ ...request, rawQuery })).code).toBe("SignatureDoesNotMatch");
  });

  test("carry headers as parameters, but not what describes a body that was not there", async () => {
    const query = {
      "X-Amz-Acl": "public-read",
      "x-amz-meta-a": "b c",
      "x-amz-checksum-crc32": "AAAAAA==",
      "x-amz-sdk-checksum-algorithm": "CRC32",
      "x-amz-checksum-mode": "ENABLED",
    };
    const { headers } = received(await presign({ query }));
    expect(headers.get("x-amz-acl")).toBe("public-read");
    expect(headers.withPrefix("x-amz-")).toEqual([
      ["x-amz-acl", "public-read"],
      ["x-amz-meta-a", "b c"],
      ["x-amz-checksum-mode", "ENABLED"],
    ]);
    expect(headers.get("x-amz-checksum-crc32")).toBeUndefined();
  });

  test("believe a signed header before a parameter of its name", async () => {
    const query = { "x-amz-acl": "public-read" };
    const { headers } = received(await presign({ query, headers: { "x-amz-acl": "private" } }));
    expect(headers.get("x-amz-acl")).toBe("private");
    expect(headers.withPrefix("x-amz-acl")).toEqual([["x-amz-acl", "private"]]);
  });
});
