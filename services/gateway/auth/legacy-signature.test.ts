import { describe, expect, test } from "vitest";
import { UserTable } from "#access/users-file.ts";
import {
  type Authentication,
  authenticate,
  type UnverifiedRequest,
} from "#gateway/auth/authenticate.ts";
import {
  legacySignature,
  legacyStringToSign,
  SIGNED_PARAMETERS,
} from "#gateway/auth/legacy-signature.ts";
import { MINUTE_MS, refusal } from "#gateway/auth/reference-client.ts";
import { HeaderList } from "#gateway/auth/request-headers.ts";
import { SigningKeys } from "#gateway/auth/signing-key.ts";
import type { Operation } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import { OPERATIONS } from "#gateway/operations.ts";

/** AWS's own, of its examples. */
const USER = {
  name: "example",
  ownerId: "e".repeat(64),
  displayName: "Example",
  email: undefined,
  accessKey: "AKIAIOSFODNN7EXAMPLE",
  secretKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
};
const NOW_MS = Date.UTC(2007, 2, 27, 19, 36, 42);
const DATE = "Tue, 27 Mar 2007 19:36:42 +0000";

interface Sent {
  readonly method?: string;
  readonly target: string;
  readonly hostedBucket?: string;
  readonly headers?: readonly (readonly [name: string, value: string])[];
}

function read({ method = "GET", target, hostedBucket, headers = [] }: Sent): UnverifiedRequest {
  const [rawPath = "", rawQuery = ""] = target.split("?");
  const list = HeaderList.fromRaw(headers.flat());
  return { method, rawPath, rawQuery, hostedBucket, headers: list, streams: true };
}

function receive(sent: Sent, options: { nowMs?: number; isOn?: boolean } = {}): Authentication {
  return authenticate(read(sent), {
    users: new UserTable([USER]),
    keys: new SigningKeys(),
    region: undefined,
    nowMs: options.nowMs ?? NOW_MS,
    legacySignatures: options.isOn ?? true,
  });
}

/** As a client would, with the Date and Authorization it adds. */
function sign(sent: Sent, date = DATE): Sent {
  const text = legacyStringToSign({ ...read(sent), date });
  const authorization = `AWS ${USER.accessKey}:${legacySignature(USER.secretKey, text)}`;
  return {
    ...sent,
    headers: [...(sent.headers ?? []), ["Date", date], ["Authorization", authorization]],
  };
}

function presign(sent: Sent, expires: number | string = NOW_MS / 1000 + 60): Sent {
  const text = legacyStringToSign({ ...read(sent), date: String(expires) });
  const signature = encodeURIComponent(legacySignature(USER.secretKey, text));
  const mark = sent.target.includes("?") ? "&" : "?";
  const signed = `AWSAccessKeyId=${USER.accessKey}&Signature=${signature}&Expires=${expires}`;
  return { ...sent, target: `${sent.target}${mark}${signed}` };
}

/**
 * https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html#RESTAuthenticationExamples, with the bucket's name of
 * the edition that the signatures were made for. Not its DELETE, which signs x-amz-date against the page's own rule.
 */
const EXAMPLES: readonly (Sent & { readonly name: string; readonly signature: string })[] = [
  {
    name: "Object GET",
    target: "/photos/puppy.jpg",
    hostedBucket: "johnsmith",
    headers: [["Date", "Tue, 27 Mar 2007 19:36:42 +0000"]],
    signature: "bWq2s1WEIj+Ydj0vQ697zp+IXMU=",
  },
  {
    name: "Object PUT",
    method: "PUT",
    target: "/photos/puppy.jpg",
    hostedBucket: "johnsmith",
    headers: [
      ["Content-Type", "image/jpeg"],
      ["Date", "Tue, 27 Mar 2007 21:15:45 +0000"],
    ],
    signature: "MyyxeRY7whkBe+bq8fHCL/2kKUg=",
  },
  {
    name: "List",
    target: "/?prefix=photos&max-keys=50&marker=puppy",
    hostedBucket: "johnsmith",
    headers: [["Date", "Tue, 27 Mar 2007 19:42:41 +0000"]],
    signature: "htDYFYduRNen8P9ZfE/s9SuKy0U=",
  },
  {
    name: "Fetch",
    target: "/?acl",
    hostedBucket: "johnsmith",
    headers: [["Date", "Tue, 27 Mar 2007 19:44:46 +0000"]],
    signature: "c2WLPFtWHVgbEmeEG93a4cG37dM=",
  },
  {
    name: "Upload",
    method: "PUT",
    target: "/db-backup.dat.gz",
    hostedBucket: "static.johnsmith.net",
    headers: [
      ["Date", "Tue, 27 Mar 2007 21:06:08 +0000"],
      ["x-amz-acl", "public-read"],
      ["content-type", "application/x-download"],
      ["Content-MD5", "4gJE4saaMU4BqNR0kLY+lw=="],
      ["X-Amz-Meta-ReviewedBy", "joe@johnsmith.net"],
      ["X-Amz-Meta-ReviewedBy", "jane@johnsmith.net"],
      ["X-Amz-Meta-FileChecksum", "0x02661779"],
      ["X-Amz-Meta-ChecksumAlgorithm", "crc32"],
      ["Content-Disposition", "attachment; filename=database.dat"],
      ["Content-Encoding", "gzip"],
    ],
    signature: "ilyl83RwaSoYIEdixDQcA4OnAnc=",
  },
  {
    name: "List all my buckets",
    target: "/",
    headers: [["Date", "Wed, 28 Mar 2007 01:29:59 +0000"]],
    signature: "qGdzdERIC03wnaRNKh6OqZehG9s=",
  },
  {
    name: "Unicode keys",
    target: "/dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re",
    headers: [["Date", "Wed, 28 Mar 2007 01:49:49 +0000"]],
    signature: "DNEZGsoieTZ92F3bUfSPQcbGmlM=",
  },
];

describe("Signature Version 2 in the Authorization header", () => {
  test.each(EXAMPLES)("AWS's example: $name", ({ signature, ...sent }) => {
    const nowMs = Date.parse(new Map(sent.headers).get("Date") ?? "");
    const signed = withHeader(sent, "Authorization", `AWS ${USER.accessKey}:${signature}`);
    const { caller, mode, payload } = receive(signed, { nowMs });
    expect(caller).toEqual({ kind: "user", user: USER });
    expect([mode, payload.mode]).toEqual(["header", "unsigned"]);
  });

  test("is refused as AWS refuses it unless the operator asks for it", () => {
    const refused = refusal(() => receive(sign({ target: "/b/k" }), { isOn: false }));
    expect(refused.code).toBe("InvalidRequest");
    expect(refused.message).toContain("Please use AWS4-HMAC-SHA256");
  });

  test("signs x-amz-date in the place of Date, whatever that says", () => {
    const sent = withHeader({ target: "/b/k" }, "x-amz-date", DATE);
    const text = legacyStringToSign({ ...read(sent), date: "" });
    expect(text).toBe(`GET\n\n\n\nx-amz-date:${DATE}\n/b/k`);
    const authorization = `AWS ${USER.accessKey}:${legacySignature(USER.secretKey, text)}`;
    const signed = withHeader(withHeader(sent, "Date", "tomorrow"), "Authorization", authorization);
    expect(receive(signed).caller.kind).toBe("user");
  });

  test("signs sub-resources sorted and decoded, with a sign of equality only where one was sent", () => {
    const text = legacyStringToSign({
      ...read({ target: "/b/k?versionId=a%2Bb&response-content-type=text%2Fplain&acl&prefix=x" }),
      date: DATE,
    });
    expect(text).toBe(`GET\n\n\n${DATE}\n/b/k?acl&response-content-type=text/plain&versionId=a+b`);
  });

  test("of a bucket is let in with or without the slash behind its name, as boto3 signs it", () => {
    const { headers = [] } = sign({ target: "/b/?acl" });
    expect(receive({ target: "/b?acl", headers }).caller.kind).toBe("user");
    expect(refusal(() => receive({ target: "/c?acl", headers })).code).toBe(
      "SignatureDoesNotMatch",
    );
    expect(refusal(() => receive({ target: "/b//?acl", headers })).code).toBe(
      "SignatureDoesNotMatch",
    );
  });

  test("signs every parameter that selects an operation", () => {
    const rows = Object.values<Operation>(OPERATIONS);
    const selectors = new Set(
      rows.flatMap(({ query = [] }) => query.map((row) => row.split("=")[0])),
    );
    // Which of two listings it is, which of several configurations, and what SDKs tell for their own logs: no right turns on it.
    for (const harmless of ["list-type", "id", "x-id"]) selectors.delete(harmless);
    expect([...selectors].filter((name) => !SIGNED_PARAMETERS.has(name ?? ""))).toEqual([]);
  });

  const plain: Sent = {
    method: "PUT",
    target: "/b/k?uploadId=u&partNumber=1",
    headers: [
      ["Content-Type", "text/plain"],
      ["x-amz-meta-colour", "red"],
    ],
  };
  const whole = sign(plain);

  test.each<[string, (sent: Sent) => Sent]>([
    ["method", (sent) => ({ ...sent, method: "GET" })],
    ["path", (sent) => ({ ...sent, target: sent.target.replace("/k", "/l") })],
    ["spelling of the path", (sent) => ({ ...sent, target: sent.target.replace("/k", "/%6B") })],
    ["bucket", (sent) => ({ ...sent, hostedBucket: "other" })],
    ["parameter", (sent) => ({ ...sent, target: sent.target.replace("=1", "=2") })],
    ["added sub-resource", (sent) => ({ ...sent, target: `${sent.target}&acl` })],
    ["added header in the query", (sent) => ({ ...sent, target: `${sent.target}&x-amz-acl=a` })],
    ["content type", (sent) => withHeader(sent, "Content-Type", "text/html")],
    ["content digest", (sent) => withHeader(sent, "Content-MD5", "4gJE4saaMU4BqNR0kLY+lw==")],
    ["x-amz header", (sent) => withHeader(sent, "x-amz-meta-colour", "blue")],
    ["added x-amz header", (sent) => withHeader(sent, "x-amz-acl", "public-read")],
    ["date", (sent) => withHeader(sent, "Date", "Tue, 27 Mar 2007 19:36:43 +0000")],
  ])("another %s does not fit the signature", (_, change) => {
    expect(receive(whole).caller.kind).toBe("user");
    const refused = refusal(() => receive(change(whole)));
    expect([refused.code, refused.status]).toEqual(["SignatureDoesNotMatch", 403]);
    expect(refused.elements["StringToSign"]).toContain("\n");
  });

  test.each([
    ["another key's", "AWS AKIDOTHER:bWq2s1WEIj+Ydj0vQ697zp+IXMU=", "InvalidAccessKeyId"],
    ["a short one", `AWS ${USER.accessKey}:bWq2`, "SignatureDoesNotMatch"],
    ["none", "AWS HAHAHA", "InvalidArgument"],
    ["only the word", "AWS", "InvalidArgument"],
  ])("%s: %s is %s", (_, authorization, code) => {
    const sent = withHeader({ target: "/b/k" }, "Date", DATE);
    const signed = withHeader(sent, "Authorization", authorization);
    expect(refusal(() => receive(signed)).code).toBe(code);
  });

  test.each([
    [DATE, 15 * MINUTE_MS, "let in"],
    ["Tue, 27 Mar 2007 19:36:42 GMT", -15 * MINUTE_MS, "let in"],
    [DATE, 15 * MINUTE_MS + 1, "RequestTimeTooSkewed"],
    [DATE, -15 * MINUTE_MS - 1, "RequestTimeTooSkewed"],
    ["Tue, 07 Jul 1950 21:53:04 GMT", 0, "AccessDenied"],
    ["Bad Date", 0, "AccessDenied"],
    ["", 0, "AccessDenied"],
  ])("dated %o and %i ms later: %s", (date, laterMs, code) => {
    const sent = sign({ target: "/b/k" }, date);
    expect(outcomeOf(() => receive(sent, { nowMs: NOW_MS + laterMs }))).toBe(code);
  });

  test("leaves the body to its digest, and takes no chunks that would have to be signed", () => {
    const hash = "a".repeat(64);
    expect(receive(signedPayload(hash)).payload.sha256?.toString("hex")).toBe(hash);
    expect(receive(signedPayload("STREAMING-UNSIGNED-PAYLOAD-TRAILER")).payload.mode).toBe(
      "unsigned-chunks-trailer",
    );
    const chunks = signedPayload("STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    expect(refusal(() => receive(chunks)).code).toBe("InvalidRequest");
  });
});

describe("Signature Version 2 in the query", () => {
  test("AWS's example", () => {
    const sent = {
      target:
        "/photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620",
      hostedBucket: "johnsmith",
    };
    const { caller, mode } = receive(sent, { nowMs: 1_175_139_620_000 });
    expect([caller, mode]).toEqual([{ kind: "user", user: USER }, "query"]);
    const expired = refusal(() => receive(sent, { nowMs: 1_175_139_620_001 }));
    expect([expired.code, expired.message]).toEqual(["AccessDenied", "Request has expired"]);
    expect(expired.elements["Expires"]).toBe("2007-03-29T03:40:20Z");
  });

  test("is refused as AWS refuses it unless the operator asks for it", () => {
    const refused = refusal(() => receive(presign({ target: "/b/k" }), { isOn: false }));
    expect(refused.code).toBe("InvalidRequest");
  });

  test("carries headers as parameters, all of them signed", () => {
    const plain = withHeader({ method: "PUT", target: "/b/k" }, "x-amz-acl", "public-read");
    const sent = withHeader(plain, "content-type", "text/plain");
    const text = legacyStringToSign({ ...read(sent), date: "1175200000" });
    const signature = encodeURIComponent(legacySignature(USER.secretKey, text));
    const target = `/b/k?AWSAccessKeyId=${USER.accessKey}&Signature=${signature}&Expires=1175200000&x-amz-acl=public-read&content-type=text%2Fplain`;
    const received = receive({ method: "PUT", target });
    expect(received.headers.get("x-amz-acl")).toBe("public-read");
    expect(received.headers.get("content-type")).toBe("text/plain");
    for (const [from, to] of [
      ["public-read", "private"],
      ["text%2Fplain", "text%2Fhtml"],
    ] as const) {
      const changed = { method: "PUT", target: target.replace(from, to) };
      expect(refusal(() => receive(changed)).code).toBe("SignatureDoesNotMatch");
    }
  });

  test("takes no header that was not signed", () => {
    const { target } = presign({ method: "PUT", target: "/b/k" });
    for (const [name, value] of [
      ["x-amz-acl", "public-read"],
      ["Content-Type", "text/html"],
    ] as const) {
      const sent = withHeader({ method: "PUT", target }, name, value);
      expect(refusal(() => receive(sent)).code).toBe("SignatureDoesNotMatch");
    }
  });

  test.each(["soon", "-1", "1e9", "99999999999999999999"])(
    "is no longer good than %s",
    (expires) => {
      const refused = refusal(() => receive(presign({ target: "/b/k" }, expires)));
      expect([refused.code, refused.message]).toEqual([
        "AccessDenied",
        `Invalid date (should be seconds since epoch): ${expires}`,
      ]);
    },
  );

  test.each(["AWSAccessKeyId", "Signature", "Expires"])("needs %s, and once", (name) => {
    const { target } = presign({ target: "/b/k" });
    const changes = [
      target.replace(new RegExp(`${name}=[^&]*`), ""),
      target.replace(new RegExp(`${name}=[^&]*`), `${name}=`),
      `${target}&${name}=1`,
    ];
    for (const changed of changes) {
      expect(refusal(() => receive({ target: changed })).code).toBe("AccessDenied");
    }
  });

  test("beside an Authorization header is one mechanism too many", () => {
    const { target } = presign({ target: "/b/k" });
    expect(refusal(() => receive(sign({ target }))).code).toBe("InvalidArgument");
  });
});

function signedPayload(value: string): Sent {
  return sign(withHeader({ method: "PUT", target: "/b/k" }, "x-amz-content-sha256", value));
}

function outcomeOf(attempt: () => Authentication): string {
  try {
    attempt();
    return "let in";
  } catch (error) {
    if (error instanceof S3Error) return error.code;
    throw error;
  }
}

function withHeader(sent: Sent, name: string, value: string): Sent {
  const others = (sent.headers ?? []).filter(([each]) => each !== name);
  return { ...sent, headers: [...others, [name, value]] };
}
