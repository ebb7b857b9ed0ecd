import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  ALICE,
  encoded,
  HASH,
  headerOf,
  MINUTE_MS,
  NOW_MS,
  PLAIN,
  presign,
  received,
  refusal,
  signHeader,
  type WireRequest,
  withHeader,
} from "#gateway/auth/reference-client.ts";
import { deriveSigningKey, SigningKeys } from "#gateway/auth/signing-key.ts";
import { S3Error } from "#gateway/errors.ts";
import { rounds } from "#lib/testing/rounds.ts";

/** The same bytes written otherwise: lower-case escapes, plain characters escaped, reserved ones not. */
function respelled(raw: string, choose: () => number): string {
  return raw.replace(/%[0-9A-F]{2}|[A-Za-z0-9]/g, (unit) => {
    const choice = choose();
    if (unit.length === 1) return choice < 0.2 ? `%${unit.charCodeAt(0).toString(16)}` : unit;
    const character = String.fromCharCode(Number.parseInt(unit.slice(1), 16));
    if (choice < 0.3 && /[!$'()*,:;@]/.test(character)) return character;
    return choice < 0.6 ? unit.toLowerCase() : unit;
  });
}

describe("against AWS's own signer", () => {
  const text = fc.string({ unit: "grapheme", minLength: 1, maxLength: 12 });
  const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,10}$/);
  const headerValue = fc.stringMatching(/^[!-~]([ -~]{0,20}[!-~])?$/);
  const plain = fc.record({
    method: fc.constantFrom("GET", "HEAD", "PUT", "POST", "DELETE"),
    key: text,
    query: fc.dictionary(
      text.filter((each) => !/^x-amz-|^(AWSAccessKeyId|Signature)$/i.test(each)),
      fc.string({ unit: "grapheme", maxLength: 12 }),
      { maxKeys: 4 },
    ),
    metadata: fc.dictionary(name, headerValue, { maxKeys: 4 }),
    secretKey: fc.string({ minLength: 8, maxLength: 60 }),
    region: fc.constantFrom("us-east-1", "eu-central-1", "local"),
  });

  test("what it signs is let in, however the target is spelled, and as that user", async () => {
    await fc.assert(
      fc.asyncProperty(
        plain,
        fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true })),
        async (of, choices) => {
          const user = { ...ALICE, secretKey: of.secretKey };
          const headers = Object.fromEntries(
            Object.entries(of.metadata).map(([key, value]) => [`x-amz-meta-${key}`, value]),
          );
          const request = {
            method: of.method,
            path: `/bucket/${of.key.split("/").map(encoded).join("/")}`,
            query: of.query,
            headers: { ...headers, "x-amz-content-sha256": "UNSIGNED-PAYLOAD" },
          };
          const verifier = { users: { byAccessKey: () => user, byOwnerId: () => user } };
          const signing = { user, region: of.region };
          const choose = () => choices.next().value ?? 0;
          for (const signed of [
            await signHeader(request, signing),
            await presign(request, signing),
          ]) {
            const sent = {
              ...signed,
              rawPath: respelled(signed.rawPath, choose),
              rawQuery: respelled(signed.rawQuery, choose),
            };
            expect(received(sent, verifier).caller).toEqual({ kind: "user", user });
          }
        },
      ),
      { numRuns: rounds(150) },
    );
  });

  test("values keep their Unicode, and lose no white space but what signing ignores", async () => {
    const sent = await signHeader({
      headers: {
        "x-amz-content-sha256": HASH,
        "x-amz-meta-place": "Zürich  \t 東京",
      },
    });
    expect(received(sent).headers.get("x-amz-meta-place")).toBe("Zürich  \t 東京");
  });

  test("a Latin-1 value whose signer meant Unicode is let in", async () => {
    const sent = await signHeader({
      headers: { "x-amz-content-sha256": HASH, "x-amz-meta-place": "Zürich" },
    });
    const latin1 = withHeader(sent, "x-amz-meta-place", "Zürich");
    expect(received(latin1).headers.get("x-amz-meta-place")).toBe("Zürich");
  });
});

/** Every request that differs from this one in one character of one place. */
function* mutations(request: WireRequest): Generator<readonly [string, WireRequest]> {
  for (let index = 0; index < request.method.length; index++) {
    yield [`method[${index}]`, { ...request, method: changed(request.method, index) }];
  }
  for (let index = 0; index < request.rawPath.length; index++) {
    yield [`path[${index}]`, { ...request, rawPath: changed(request.rawPath, index) }];
  }
  for (let index = 0; index < request.rawQuery.length; index++) {
    yield [`query[${index}]`, { ...request, rawQuery: changed(request.rawQuery, index) }];
  }
  for (const [at, [name, value]] of request.headers.entries()) {
    for (let index = 0; index < name.length; index++) {
      yield [`name of ${name}[${index}]`, withEntry(request, at, [changed(name, index), value])];
    }
    for (let index = 0; index < value.length; index++) {
      yield [`${name}[${index}]`, withEntry(request, at, [name, changed(value, index)])];
    }
  }
}

/** Another character that means something else: neither the other case of an escape's digit nor another white space. */
function changed(text: string, index: number): string {
  const code = text.charCodeAt(index);
  const other = /[0-8a-yA-Y]/.test(text.charAt(index)) ? String.fromCharCode(code + 1) : "q";
  return text.slice(0, index) + other + text.slice(index + 1);
}

function attempted(attempt: () => string): string {
  try {
    return attempt();
  } catch (error) {
    if (error instanceof S3Error) return `${error.status} ${error.code}`;
    throw error;
  }
}

function withEntry(
  request: WireRequest,
  at: number,
  entry: readonly [string, string],
): WireRequest {
  return { ...request, headers: request.headers.with(at, entry) };
}

describe("a request changed in one character", () => {
  test.each([
    ["header", signHeader],
    ["query", presign],
  ])("is refused when it is signed in the %s", async (_, sign) => {
    const request = await sign(PLAIN);
    expect(received(request).caller.kind).toBe("user");
    const letIn: string[] = [];
    for (const [place, mutant] of mutations(request)) {
      const outcome = attempted(() => received(mutant).caller.kind);
      // A header whose name changed may leave a request that nobody signed.
      if (outcome !== "anonymous" && !/^4\d\d /.test(outcome)) letIn.push(`${place}: ${outcome}`);
    }
    expect(letIn).toEqual([]);
  });

  test("in its signature gets SignatureDoesNotMatch, whichever of the digits it is (SIG-1)", async () => {
    const request = await signHeader(PLAIN);
    const authorization = headerOf(request, "authorization");
    for (let index = authorization.length - 64; index < authorization.length; index++) {
      for (const digit of "0123456789abcdef") {
        if (authorization[index] === digit) continue;
        const forged = authorization.slice(0, index) + digit + authorization.slice(index + 1);
        const error = refusal(() => received(withHeader(request, "authorization", forged)));
        expect(error.code).toBe("SignatureDoesNotMatch");
      }
    }
  });
});

test("SignatureDoesNotMatch shows what was signed here, so that a developer can compare", async () => {
  const request = await signHeader({ ...PLAIN, query: {} });
  const error = refusal(() => received({ ...request, method: "GET" }));
  expect(error.elements).toMatchObject({
    AWSAccessKeyId: ALICE.accessKey,
    CanonicalRequest: [
      "GET",
      "/bucket/a%20folder/%C3%A9t%C3%A9.txt",
      "",
      "content-type:text/plain",
      "host:s3.example.com",
      `x-amz-content-sha256:${HASH}`,
      "x-amz-date:20261122T123015Z",
      "x-amz-meta-colour:red",
      "",
      "content-type;host;x-amz-content-sha256;x-amz-date;x-amz-meta-colour",
      HASH,
    ].join("\n"),
  });
  expect(error.elements["StringToSign"]).toMatch(
    /^AWS4-HMAC-SHA256\n20261122T123015Z\n20261122\/us-east-1\/s3\/aws4_request\n[0-9a-f]{64}$/,
  );
  expect(error.elements["CanonicalRequestBytes"]).toMatch(/^47 45 54 0a 2f /);
  expect(error.elements["SignatureProvided"]).toMatch(/^[0-9a-f]{64}$/);
});

describe("the raw target (edge rule 23)", () => {
  test.each(["/bucket//a", "/bucket/a/../b", "/bucket/./a", "/bucket/a//", "/bucket/.."])(
    "%s is signed as it stands",
    async (path) => {
      const request = await signHeader({ path, headers: { "x-amz-content-sha256": HASH } });
      expect(received(request).caller.kind).toBe("user");
      expect(() => received({ ...request, rawPath: path.replace(/\/+\.*\/*/g, "/") })).toThrow(
        S3Error,
      );
    },
  );

  test("a plus sign in the query is a plus sign", async () => {
    const headers = { "x-amz-content-sha256": HASH };
    const request = await signHeader({ query: { prefix: "a+b" }, headers });
    expect(request.rawQuery).toBe("prefix=a%2Bb");
    expect(received({ ...request, rawQuery: "prefix=a+b" }).caller.kind).toBe("user");
    expect(() => received({ ...request, rawQuery: "prefix=a%20b" })).toThrow(S3Error);
    const space = await signHeader({ query: { prefix: "a b" }, headers });
    expect(() => received({ ...space, rawQuery: "prefix=a+b" })).toThrow(S3Error);
  });

  test.each(["/bucket/%", "/bucket/%4", "/bucket/%zz"])("%s is no target", async (path) => {
    const request = await signHeader({ path, headers: { "x-amz-content-sha256": HASH } });
    expect(refusal(() => received(request)).code).toBe("InvalidURI");
  });

  test.each(["/bucket/a+b@c:d!(e)", "/bucket/%61%2fb"])(
    "a client that signs its target as it sends it, like curl, is let in: %s",
    async (path) => {
      const request = await signHeader({ path, headers: { "x-amz-content-sha256": HASH } });
      expect(received(request).caller.kind).toBe("user");
    },
  );
});

describe("dates (SIG-7)", () => {
  test.each([-15 * MINUTE_MS, 0, 15 * MINUTE_MS])("a clock off by %d ms is good", async (offMs) => {
    const request = await signHeader(PLAIN, { dateMs: NOW_MS + offMs });
    expect(received(request).caller.kind).toBe("user");
  });

  test.each([-15 * MINUTE_MS - 1000, 15 * MINUTE_MS + 1000])(
    "off by %d ms is not",
    async (offMs) => {
      const request = await signHeader(PLAIN, { dateMs: NOW_MS + offMs });
      const error = refusal(() => received(request));
      expect(error.code).toBe("RequestTimeTooSkewed");
      expect(error.elements).toMatchObject({
        ServerTime: "2026-11-22T12:30:15Z",
        MaxAllowedSkewMilliseconds: "900000",
      });
    },
  );

  test.each([
    undefined,
    "",
    "yesterday",
    "20261122T123015",
    "20261332T123015Z",
    "20260231T000000Z",
  ])("an x-amz-date of %s is no date", async (date) => {
    const request = withHeader(await signHeader(PLAIN), "x-amz-date", date);
    expect(refusal(() => received(request)).code).toBe("AccessDenied");
  });

  test.each(["Sun, 22 Nov 2026 12:30:15 GMT", "Sun, 22 Nov 2026 12:30:15 -0000"])(
    "a signed Date of %s will do where there is no x-amz-date",
    async (date) => {
      // AWS's signer always sends x-amz-date: sign again by hand without it, as botocore does.
      const request = withHeader(await signHeader(PLAIN), "x-amz-date", undefined);
      const authorization = headerOf(request, "authorization")
        .replace(";x-amz-date", "")
        .replace("content-type;", "content-type;date;");
      const unsigned = withHeader(
        withHeader(request, "date", date),
        "authorization",
        authorization,
      );
      const { elements } = refusal(() => received(unsigned));
      const scope = { date: "20261122", region: "us-east-1", service: "s3" };
      const key = deriveSigningKey(ALICE.secretKey, scope);
      const signature = key.sign(elements["StringToSign"] ?? "").toString("hex");
      expect(elements["StringToSign"]).toContain("\n20261122T123015Z\n");
      const signed = authorization.replace(/Signature=.*/, `Signature=${signature}`);
      expect(received(withHeader(unsigned, "authorization", signed)).caller.kind).toBe("user");
    },
  );
});

describe("credentials", () => {
  test("of an unknown key", async () => {
    const user = { accessKey: "NOBODY", secretKey: ALICE.secretKey };
    for (const sign of [signHeader, presign]) {
      const request = await sign(PLAIN, { user });
      const error = refusal(() => received(request));
      expect(error.code).toBe("InvalidAccessKeyId");
      expect(error.elements).toEqual({ AWSAccessKeyId: "NOBODY" });
    }
  });

  test("for another region are refused where ours is set, and name it", async () => {
    const header = await signHeader(PLAIN, { region: "eu-west-1" });
    const query = await presign(PLAIN, { region: "eu-west-1" });
    expect(received(header).caller.kind).toBe("user");
    const inHeader = refusal(() => received(header, { region: "us-east-1" }));
    expect(inHeader.code).toBe("AuthorizationHeaderMalformed");
    expect(inHeader.message).toBe(
      "The authorization header is malformed; the region 'eu-west-1' is wrong; expecting 'us-east-1'",
    );
    expect(inHeader.elements).toEqual({ Region: "us-east-1" });
    const inQuery = refusal(() => received(query, { region: "us-east-1" }));
    expect(inQuery.code).toBe("AuthorizationQueryParametersError");
    expect(inQuery.elements).toEqual({ Region: "us-east-1" });
  });

  test("for another service are refused", async () => {
    const request = await signHeader(PLAIN, { service: "sts" });
    const error = refusal(() => received(request));
    expect(error.message).toContain('incorrect service "sts"');
  });

  test.each([
    ["Credential=ALICE0123456789/20261121/us-east-1/s3/aws4_request", "Invalid credential date"],
    ["Credential=ALICE0123456789/2026/us-east-1/s3/aws4_request", "incorrect date format"],
    ["Credential=ALICE0123456789/20261122/us-east-1/s3/aws5_request", "incorrect terminal"],
    ["Credential=ALICE0123456789/20261122/s3/aws4_request", "the Credential is mal-formed"],
    ["Credential=/20261122/us-east-1/s3/aws4_request", "a non-empty Access Key"],
    ["Credential=", "requires three components"],
    ["Kredential=x", "requires three components"],
  ])("written as %s are malformed", async (credential, message) => {
    const request = await signHeader(PLAIN);
    const authorization = headerOf(request, "authorization").replace(
      /Credential=[^,]*/,
      credential,
    );
    const error = refusal(() => received(withHeader(request, "authorization", authorization)));
    expect(error.code).toBe("AuthorizationHeaderMalformed");
    expect(error.message).toContain(message);
  });

  test("that are temporary cannot be judged without STS", async () => {
    const token = { "x-amz-security-token": "token" };
    const header = await signHeader({ ...PLAIN, headers: { ...PLAIN.headers, ...token } });
    expect(refusal(() => received(header)).code).toBe("InvalidToken");
    const query = await presign({ ...PLAIN, query: { "X-Amz-Security-Token": "token" } });
    expect(refusal(() => received(query)).code).toBe("InvalidToken");
  });

  test("whose secret was replaced no longer sign, although the signing key was kept", async () => {
    const request = await signHeader(PLAIN);
    const keys = new SigningKeys();
    expect(received(request, { keys }).caller.kind).toBe("user");
    const replaced = { ...ALICE, secretKey: "another-secret" };
    const users = { byAccessKey: () => replaced, byOwnerId: () => replaced };
    expect(refusal(() => received(request, { keys, users })).code).toBe("SignatureDoesNotMatch");
  });
});

describe("headers that are not signed (SIG-9, SIG-10)", () => {
  test.each([
    "x-amz-acl",
    "x-amz-copy-source",
    "x-amz-grant-read",
    "x-amz-meta-colour",
    "x-amz-object-lock-mode",
    "x-amz-server-side-encryption",
    "x-amz-storage-class",
    "x-amz-tagging",
    "x-amz-website-redirect-location",
    "x-amz-anything",
    "X-Amz-Acl",
  ])("%s", async (name) => {
    for (const sign of [signHeader, presign]) {
      const request = await sign({ headers: { "x-amz-content-sha256": HASH } });
      const error = refusal(() =>
        received({ ...request, headers: [...request.headers, [name, "public-read"]] }),
      );
      expect(error.code).toBe("AccessDenied");
      expect(error.message).toBe("There were headers present in the request which were not signed");
      expect(error.elements).toEqual({ HeadersNotSigned: name.toLowerCase() });
    }
  });

  test("other headers may be added", async () => {
    const request = await signHeader(PLAIN);
    const more = withHeader(request, "range", "bytes=0-9");
    expect(received(more).headers.get("range")).toBe("bytes=0-9");
  });

  test.each([
    ["content-type;x-amz-content-sha256;x-amz-date;x-amz-meta-colour", "AccessDenied"],
    [
      "host;content-type;x-amz-content-sha256;x-amz-date;x-amz-meta-colour",
      "AuthorizationHeaderMalformed",
    ],
    [
      "content-type;host;host;x-amz-content-sha256;x-amz-date;x-amz-meta-colour",
      "AuthorizationHeaderMalformed",
    ],
    [
      "content-type;Host;x-amz-content-sha256;x-amz-date;x-amz-meta-colour",
      "AuthorizationHeaderMalformed",
    ],
    [
      "content-type;host;;x-amz-content-sha256;x-amz-date;x-amz-meta-colour",
      "AuthorizationHeaderMalformed",
    ],
    ["", "AuthorizationHeaderMalformed"],
  ])("SignedHeaders of %s: %s", async (signedHeaders, code) => {
    const request = await signHeader(PLAIN);
    const authorization = headerOf(request, "authorization").replace(
      /SignedHeaders=[^,]*/,
      `SignedHeaders=${signedHeaders}`,
    );
    const error = refusal(() => received(withHeader(request, "authorization", authorization)));
    expect(error.code).toBe(code);
  });

  test("a header that was signed and is not there is refused, even if it was empty", async () => {
    const request = await signHeader({
      headers: { "x-amz-content-sha256": HASH, "x-amz-acl": "" },
    });
    expect(received(request).caller.kind).toBe("user");
    const error = refusal(() => received(withHeader(request, "x-amz-acl", undefined)));
    expect(error.code).toBe("SignatureDoesNotMatch");
  });
});

describe("exactly one way to say who one is (SIG-11, SIG-13)", () => {
  test.each([
    "authorization",
    "host",
    "x-amz-date",
    "x-amz-content-sha256",
    "content-length",
    "content-md5",
    "x-amz-decoded-content-length",
    "x-amz-checksum-crc32",
  ])("%s twice", async (name) => {
    const request = await signHeader({
      ...PLAIN,
      headers: { ...PLAIN.headers, [name]: headerOf(await signHeader(PLAIN), name) || "1" },
    });
    const twice = [name, headerOf(request, name)] as const;
    const error = refusal(() => received({ ...request, headers: [...request.headers, twice] }));
    expect([error.status, error.code]).toEqual([400, "InvalidRequest"]);
  });

  test("other headers that come twice are one list", async () => {
    const request = await signHeader({
      headers: { "x-amz-content-sha256": HASH, "x-amz-meta-colour": "red,blue" },
    });
    const twice: WireRequest = {
      ...withHeader(request, "x-amz-meta-colour", "red"),
    };
    const sent = { ...twice, headers: [...twice.headers, ["x-amz-meta-colour", "blue"] as const] };
    expect(received(sent).headers.get("x-amz-meta-colour")).toBe("red,blue");
  });

  test("both header and query", async () => {
    const header = await signHeader(PLAIN);
    const { rawQuery } = await presign(PLAIN);
    const error = refusal(() => received({ ...header, rawQuery }));
    expect([error.status, error.code]).toEqual([400, "InvalidArgument"]);
    expect(error.message).toContain("Only one auth mechanism allowed");
    const hidden = refusal(() => received({ ...header, rawQuery: "X%2DAmz-Signatur%65=1" }));
    expect(hidden.message).toContain("Only one auth mechanism allowed");
  });

  test.each([
    ["AWS AKIDEXAMPLE:c2lnbmF0dXJl", "InvalidRequest", "not supported"],
    ["AWS HAHAHA", "InvalidArgument", "Expected AwsAccessKeyId:signature"],
    ["AWS4-ECDSA-P256-SHA256 Credential=a/b", "InvalidRequest", "not supported"],
    ["Basic dXNlcjpwYXNz", "InvalidArgument", "Unsupported Authorization Type"],
    ["Bearer token", "InvalidArgument", "Unsupported Authorization Type"],
    ["AWS4-HMAC-SHA256", "InvalidRequest", "not supported"],
    ["AWS4-HMAC-SHA256 ", "AuthorizationHeaderMalformed", "three components"],
  ])("Authorization: %s", async (authorization, code, message) => {
    const request = withHeader(await signHeader(PLAIN), "authorization", authorization);
    const error = refusal(() => received(request));
    expect([error.status, error.code]).toEqual([400, code]);
    expect(error.message).toContain(message);
    expect(JSON.stringify(error.elements)).not.toContain("token");
  });

  test("the older signature in the query", async () => {
    const rawQuery = "AWSAccessKeyId=AK&Signature=c2ln&Expires=1795491472";
    const request = { ...(await signHeader({})), rawQuery, headers: [] };
    const error = refusal(() => received(request));
    expect([error.status, error.code]).toEqual([400, "InvalidRequest"]);
  });

  test("none at all, or an empty Authorization header: nobody", async () => {
    const request = await signHeader({ headers: { "x-amz-content-sha256": HASH } });
    const nobody = { ...request, headers: [["Host", "s3.example.com"] as const] };
    expect(received(nobody)).toMatchObject({ caller: { kind: "anonymous" }, mode: "anonymous" });
    const empty = withHeader(nobody, "authorization", "");
    expect(received(empty).caller.kind).toBe("anonymous");
  });
});
