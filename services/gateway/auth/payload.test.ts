import { describe, expect, test } from "vitest";
import {
  ALICE,
  HASH,
  PLAIN,
  presign,
  received,
  refusal,
  signHeader,
  withHeader,
} from "#gateway/auth/reference-client.ts";
import { S3Error } from "#gateway/errors.ts";

const PAYLOADS = [
  HASH,
  "UNSIGNED-PAYLOAD",
  "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
  "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
  "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
  "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
  "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER",
  "garbage",
  "",
];

describe("payloads (SIG-2, SIG-3, SIG-12)", () => {
  const forms = [
    ["header", signHeader],
    ["query", presign],
  ] as const;
  const cells = forms.flatMap(([where, sign]) =>
    PAYLOADS.flatMap((payload) =>
      [true, false].map((streams) => ({ where, sign, payload, streams })),
    ),
  );

  test.each(cells)(
    "a forged signature in the $where with payload '$payload', streams: $streams, is only that",
    async ({ sign, payload, streams }) => {
      const user = { ...ALICE, secretKey: "not her secret" };
      const request = await sign({ headers: { "x-amz-content-sha256": payload } }, { user });
      const error = refusal(() => received(request, { streams }));
      expect([error.status, error.code]).toEqual([403, "SignatureDoesNotMatch"]);
    },
  );

  test.each([
    [HASH, "hash", "hash"],
    ["UNSIGNED-PAYLOAD", "unsigned", "unsigned"],
    ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "signed-chunks", "InvalidArgument"],
    ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", "signed-chunks-trailer", "InvalidArgument"],
    ["STREAMING-UNSIGNED-PAYLOAD-TRAILER", "unsigned-chunks-trailer", "InvalidArgument"],
    ["STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "NotImplemented", "NotImplemented"],
    ["STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER", "NotImplemented", "NotImplemented"],
    ["garbage", "InvalidArgument", "InvalidArgument"],
    ["constructor", "InvalidArgument", "InvalidArgument"],
    ["", "InvalidArgument", "InvalidArgument"],
  ])("'%s' is %s where bodies may stream, else %s", async (payload, streaming, plain) => {
    for (const [, sign] of forms) {
      const request = await sign({ headers: { "x-amz-content-sha256": payload } });
      const outcome = (streams: boolean) => {
        try {
          return received(request, { streams }).payload.mode;
        } catch (error) {
          return error instanceof S3Error ? error.code : error;
        }
      };
      expect([outcome(true), outcome(false)]).toEqual([streaming, plain]);
    }
  });

  test("nobody can sign chunks, and anybody may send them unsigned", async () => {
    const request = await signHeader({});
    const send = (payload: string) =>
      received({ ...request, headers: [["x-amz-content-sha256", payload]] }, { streams: true })
        .payload.mode;
    expect(send("STREAMING-UNSIGNED-PAYLOAD-TRAILER")).toBe("unsigned-chunks-trailer");
    expect(refusal(() => send("STREAMING-AWS4-HMAC-SHA256-PAYLOAD")).status).toBe(400);
    expect(refusal(() => send("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER")).status).toBe(400);
  });

  test("a header signature needs x-amz-content-sha256", async () => {
    const request = withHeader(await signHeader(PLAIN), "x-amz-content-sha256", undefined);
    const error = refusal(() => received(request));
    expect(error.message).toBe("Missing required header for this request: x-amz-content-sha256");
  });

  test("a presigned URL leaves the body open, unless it says otherwise", async () => {
    expect(received(await presign({})).payload.mode).toBe("unsigned");
    const said = await presign({ query: { "X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD" } });
    expect(received(said).payload.mode).toBe("unsigned");
    const hashed = await presign({ headers: { "x-amz-content-sha256": HASH } });
    expect(received(hashed).payload.sha256?.toString("hex")).toBe(HASH);
    const other = withHeader(hashed, "x-amz-content-sha256", HASH.replace("4", "5"));
    expect(refusal(() => received(other)).code).toBe("SignatureDoesNotMatch");
  });

  test("a hash that a presigned URL does not sign is believed as a check, framing is not", async () => {
    const request = await presign({ method: "PUT" });
    const hashed = received(withHeader(request, "x-amz-content-sha256", HASH));
    expect(hashed.payload.sha256?.toString("hex")).toBe(HASH);
    const framed = withHeader(
      request,
      "x-amz-content-sha256",
      "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    );
    const error = refusal(() => received(framed, { streams: true }));
    expect(error.elements).toEqual({ HeadersNotSigned: "x-amz-content-sha256" });
  });
});
