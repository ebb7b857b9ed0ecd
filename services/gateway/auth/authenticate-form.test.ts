import { createHmac } from "node:crypto";
import { describe, expect, test } from "vitest";
import { UserTable } from "#access/users-file.ts";
import { authenticateForm } from "#gateway/auth/authenticate-form.ts";
import { ALICE, NOW_MS } from "#gateway/auth/reference-client.ts";
import { deriveSigningKey, SigningKeys } from "#gateway/auth/signing-key.ts";
import { emptySource } from "#gateway/body-source.ts";
import { S3Error } from "#gateway/errors.ts";

const BUCKET = "photos";
const SCOPE = { date: "20261122", region: "us-east-1", service: "s3" };
const CREDENTIAL = `${ALICE.accessKey}/20261122/us-east-1/s3/aws4_request`;
const VERSION_4 = {
  "x-amz-algorithm": "AWS4-HMAC-SHA256",
  "x-amz-credential": CREDENTIAL,
  "x-amz-date": "20261122T123015Z",
};
const CONDITIONS = [
  { bucket: BUCKET },
  ["starts-with", "$key", "user/"],
  { acl: "private" },
  ["starts-with", "$Content-Type", "image/"],
  ["content-length-range", 1, 1024],
];
const FIELDS = { key: "user/${filename}", acl: "private", "content-type": "image/png" };
const VERSION_4_CONDITIONS = Object.entries(VERSION_4).map(([name, value]) => ({ [name]: value }));

function base64(document: unknown): string {
  return Buffer.from(typeof document === "string" ? document : JSON.stringify(document)).toString(
    "base64",
  );
}

function policyOf(conditions: readonly unknown[], expiration = "2026-11-22T13:00:00.000Z"): string {
  return base64({ expiration, conditions: [...conditions, ...VERSION_4_CONDITIONS] });
}

type Fields = Readonly<Record<string, string | undefined>>;

function submit(
  fields: Fields,
  {
    legacySignatures = false,
    fileName = "cat.png",
    region = "us-east-1",
    authorization = "",
    rawQuery = "",
  } = {},
) {
  const given = Object.entries(fields).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  );
  return authenticateForm(
    {
      rawQuery,
      authorization: authorization || undefined,
      bucketName: BUCKET,
      form: { fields: new Map(given), fileName, file: emptySource },
    },
    {
      users: new UserTable([ALICE]),
      keys: new SigningKeys(),
      region,
      nowMs: NOW_MS,
      legacySignatures,
    },
  );
}

/** The form as its signer's page holds it, changed afterwards by `changes`. */
function version4(policy: string, changes: Fields = {}): Fields {
  const signature = deriveSigningKey(ALICE.secretKey, SCOPE).sign(policy).toString("hex");
  return { ...FIELDS, ...VERSION_4, policy, "x-amz-signature": signature, ...changes };
}

function version2(policy: string, changes: Fields = {}): Fields {
  const signature = createHmac("sha1", ALICE.secretKey).update(policy).digest("base64");
  return { ...FIELDS, awsaccesskeyid: ALICE.accessKey, policy, signature, ...changes };
}

function refusal(attempt: () => unknown): S3Error {
  try {
    attempt();
  } catch (error) {
    if (error instanceof S3Error) return error;
    throw error;
  }
  throw new Error("It was let in");
}

const GOOD = policyOf(CONDITIONS);

describe("a signed form (SIG-15)", () => {
  test("is its signer's, its fields stand for headers, and its policy says how long the file may be", () => {
    const { caller, mode, payload, headers, fileSizes } = submit(version4(GOOD));
    expect(caller).toEqual({ kind: "user", user: ALICE });
    expect([mode, payload.mode]).toEqual(["form", "unsigned"]);
    expect(headers.get("key")).toBe("user/cat.png");
    expect(headers.get("acl")).toBe("private");
    expect(fileSizes).toEqual({ minBytes: 1, maxBytes: 1024 });
  });

  test("puts the file's name in literally", () => {
    expect(submit(version4(GOOD), { fileName: "$&$1.png" }).headers.get("key")).toBe(
      "user/$&$1.png",
    );
    expect(submit(version4(GOOD), { fileName: "" }).headers.get("key")).toBe("user/");
  });

  test("may carry fields that no policy need name", () => {
    const fields = version4(GOOD, {
      "x-ignore-a": "b",
      "x-amz-checksum-sha256": "x",
      bucket: BUCKET,
    });
    expect(submit(fields).caller.kind).toBe("user");
  });

  test("in the older form is let in only where that is switched on", () => {
    const policy = base64({ expiration: "2026-11-22T13:00:00Z", conditions: CONDITIONS });
    expect(submit(version2(policy), { legacySignatures: true }).caller).toEqual({
      kind: "user",
      user: ALICE,
    });
    const outcome = refusal(() => submit(version2(policy)));
    expect([outcome.status, outcome.code]).toEqual([400, "InvalidRequest"]);
  });

  test.each([
    ["a wrong signature", { "x-amz-signature": "a".repeat(64) }, "SignatureDoesNotMatch"],
    [
      "a signature in capitals",
      { "x-amz-signature": version4(GOOD)["x-amz-signature"]?.toUpperCase() },
      "SignatureDoesNotMatch",
    ],
    ["another policy", { policy: policyOf([]) }, "SignatureDoesNotMatch"],
    [
      "an unknown key",
      { "x-amz-credential": CREDENTIAL.replace("ALICE", "BOB") },
      "InvalidAccessKeyId",
    ],
    [
      "another region",
      { "x-amz-credential": CREDENTIAL.replace("us-east-1", "eu-west-1") },
      "InvalidArgument",
    ],
    [
      "another day",
      { "x-amz-credential": CREDENTIAL.replace("20261122", "20261121") },
      "InvalidArgument",
    ],
    ["a date that is none", { "x-amz-date": "today" }, "InvalidArgument"],
    ["another algorithm", { "x-amz-algorithm": "AWS4-HMAC-SHA1" }, "InvalidArgument"],
    ["SigV4A", { "x-amz-algorithm": "AWS4-ECDSA-P256-SHA256" }, "InvalidRequest"],
    ["no signature", { "x-amz-signature": undefined }, "InvalidArgument"],
    ["no policy", { policy: undefined }, "InvalidArgument"],
    ["no key", { key: undefined }, "InvalidArgument"],
    ["a key that no URL could name", { key: "user/\0" }, "InvalidArgument"],
    ["temporary credentials", { "x-amz-security-token": "t" }, "InvalidToken"],
    ["both signatures", { awsaccesskeyid: ALICE.accessKey, signature: "c2ln" }, "InvalidArgument"],
  ])("with %s is refused", (_, changes, code) => {
    expect(refusal(() => submit(version4(GOOD, changes))).code).toBe(code);
  });

  test.each([
    ["a wrong signature", { signature: "c2lnbmF0dXJl" }, "SignatureDoesNotMatch", 403],
    ["no signature", { signature: undefined }, "InvalidArgument", 400],
    ["an unknown key", { awsaccesskeyid: "foo" }, "InvalidAccessKeyId", 403],
    ["no key", { awsaccesskeyid: undefined }, "InvalidArgument", 400],
  ])("in the older form with %s is refused", (_, changes, code, status) => {
    const policy = base64({ expiration: "2026-11-22T13:00:00Z", conditions: CONDITIONS });
    const outcome = refusal(() => submit(version2(policy, changes), { legacySignatures: true }));
    expect([outcome.code, outcome.status]).toEqual([code, status]);
  });

  test("is not signed in two places", () => {
    const query = refusal(() => submit(version4(GOOD), { rawQuery: "X-Amz-Signature=x" }));
    const header = refusal(() => submit(version4(GOOD), { authorization: "AWS4-HMAC-SHA256 x" }));
    expect([query.code, header.code]).toEqual(["InvalidArgument", "InvalidArgument"]);
  });
});

describe("a form that nobody signed", () => {
  test("is anonymous", () => {
    expect(submit(FIELDS)).toMatchObject({ caller: { kind: "anonymous" }, mode: "form" });
  });

  test("has no policy either, and is for the bucket it was sent to", () => {
    expect(refusal(() => submit({ ...FIELDS, policy: GOOD })).code).toBe("InvalidArgument");
    expect(refusal(() => submit({ ...FIELDS, bucket: "other" })).code).toBe("AccessDenied");
  });
});

describe("a policy's conditions", () => {
  test.each([
    [
      "a key elsewhere",
      { key: "other/cat.png" },
      'Policy Condition failed: ["starts-with","$key","user/"]',
    ],
    ["a key that climbs", { key: "../user/cat.png" }, "Policy Condition failed"],
    ["another ACL", { acl: "public-read" }, 'Policy Condition failed: ["eq","$acl","private"]'],
    ["no ACL", { acl: undefined }, "Policy Condition failed"],
    ["another type", { "content-type": "text/html" }, "Policy Condition failed"],
    ["one good type of two", { "content-type": "image/png, text/html" }, "Policy Condition failed"],
    ["another bucket named", { bucket: "other" }, "another bucket"],
    ["more metadata", { "x-amz-meta-a": "b" }, "Extra input fields: x-amz-meta-a"],
    [
      "a redirect",
      { success_action_redirect: "https://evil" },
      "Extra input fields: success_action_redirect",
    ],
  ])("refuse %s", (_, changes, message) => {
    const outcome = refusal(() => submit(version4(GOOD, changes)));
    expect(outcome.code).toBe("AccessDenied");
    expect(outcome.message).toContain(message);
  });

  test("know names and operators in any case, and AWS's escape of the dollar", () => {
    const policy = base64(
      `{"expiration":"2026-11-22T13:00:00Z","conditions":[{"bUcKeT":"photos"},["StArTs-WiTh","$KeY","user/\\$a\\\\$"],{"AcL":"private"},["EQ","$cOnTeNt-TyPe","image/png"],${VERSION_4_CONDITIONS.map((each) => JSON.stringify(each)).join(",")}]}`,
    );
    const fields = version4(policy, { key: "user/$a\\$b" });
    expect(submit(fields).headers.get("key")).toBe("user/$a\\$b");
  });

  test("must name the bucket and the signature's own fields", () => {
    const [, ...others] = CONDITIONS;
    expect(refusal(() => submit(version4(policyOf(others)))).message).toContain(
      "Extra input fields: bucket",
    );
    const bare = base64({ expiration: "2026-11-22T13:00:00Z", conditions: CONDITIONS });
    expect(refusal(() => submit(version4(bare))).message).toContain(
      "Extra input fields: x-amz-algorithm, x-amz-credential, x-amz-date",
    );
  });

  test("want a field to be there that may begin with anything", () => {
    const policy = policyOf([...CONDITIONS, ["starts-with", "$x-amz-meta-tag", ""]]);
    expect(refusal(() => submit(version4(policy))).code).toBe("AccessDenied");
    expect(submit(version4(policy, { "x-amz-meta-tag": "" })).caller.kind).toBe("user");
  });

  test("take the narrowest of several ranges", () => {
    const policy = policyOf([...CONDITIONS, ["content-length-range", "10", "2000"]]);
    expect(submit(version4(policy)).fileSizes).toEqual({ minBytes: 10, maxBytes: 1024 });
  });

  test.each(["2026-11-22T12:30:15Z", "2020-01-01T00:00:00Z", "2026-11-22T12:30:14.999Z"])(
    "have expired at %s",
    (expiration) => {
      const outcome = refusal(() => submit(version4(policyOf(CONDITIONS, expiration))));
      expect([outcome.code, outcome.message]).toEqual([
        "AccessDenied",
        "Invalid according to Policy: Policy expired.",
      ]);
    },
  );

  const expiration = "2026-11-22T13:00:00Z";
  const badDocuments: readonly unknown[] = [
    "{",
    [],
    null,
    { conditions: CONDITIONS },
    { EXPIRATION: expiration, conditions: CONDITIONS },
    { expiration: "2026-11-22 13:00:00.123+00:00", conditions: CONDITIONS },
    { expiration: "2026-13-22T13:00:00Z", conditions: CONDITIONS },
    { expiration },
    { expiration, CONDITIONS },
    { expiration, conditions: [{}] },
    { expiration, conditions: ["eq"] },
    { expiration, conditions: [null] },
    { expiration, conditions: [["eq", "$key"]] },
    { expiration, conditions: [["eq", "key", "a"]] },
    { expiration, conditions: [["ends-with", "$key", "a"]] },
    { expiration, conditions: [["eq", "$key", ["a"]]] },
    { expiration, conditions: [{ key: { a: 1 } }] },
    { expiration, conditions: [["content-length-range", 0]] },
    { expiration, conditions: [["content-length-range", -1, 0]] },
    { expiration, conditions: [["content-length-range", 0, 1.5]] },
    { expiration, conditions: [["content-length-range", "", "10"]] },
  ];

  test.each(badDocuments.map((document) => ({ document })))(
    "$document is no policy",
    ({ document }) => {
      const outcome = refusal(() => submit(version4(base64(document))));
      expect([outcome.status, outcome.code]).toEqual([400, "InvalidPolicyDocument"]);
    },
  );
});
