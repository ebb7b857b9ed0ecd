/** Who sends a browser form, proved by the signature of its policy. */
import type { Caller, User } from "#access/users.ts";
import { parseBasicDate } from "#gateway/auth/amz-date.ts";
import { type Authentication, twoMechanisms, type Verifier } from "#gateway/auth/authenticate.ts";
import { unsupportedMechanism } from "#gateway/auth/authorization-header.ts";
import { ALGORITHM, parseParameters } from "#gateway/auth/canonical-request.ts";
import { parseCredential } from "#gateway/auth/credential.ts";
import { hasSignedLegacy } from "#gateway/auth/legacy-signature.ts";
import type { PostForm } from "#gateway/auth/multipart-form.ts";
import { UNSIGNED } from "#gateway/auth/payload.ts";
import { checkPolicy } from "#gateway/auth/post-policy.ts";
import { querySignature } from "#gateway/auth/presigned-url.ts";
import { HeaderList } from "#gateway/auth/request-headers.ts";
import type { SizeRange } from "#gateway/body.ts";
import { S3Error } from "#gateway/errors.ts";

export interface FormRequest {
  readonly rawQuery: string;
  readonly authorization: string | undefined;
  readonly bucketName: string;
  readonly form: PostForm;
}

/** Its headers are the form's fields. */
export interface FormAuthentication extends Authentication {
  /** What the policy lets the file measure. */
  readonly fileSizes: SizeRange;
}

export function authenticateForm(
  { rawQuery, authorization, bucketName, form }: FormRequest,
  verifier: Verifier,
): FormAuthentication {
  if (authorization) throw twoMechanisms(authorization);
  if (querySignature(parseParameters(rawQuery))) throw twoMechanisms("");
  const fields = withKey(form);
  if (fields.has("x-amz-security-token")) throw new S3Error("InvalidToken");
  const caller = callerOf(fields, verifier);
  const policy = fields.get("policy");
  const fileSizes =
    policy === undefined
      ? { minBytes: 0, maxBytes: Number.MAX_SAFE_INTEGER }
      : checkPolicy(policy, { fields, bucketName, nowMs: verifier.nowMs });
  refuseOtherBucket(fields, bucketName);
  return {
    caller,
    mode: "form",
    payload: UNSIGNED,
    headers: HeaderList.fromEntries(fields),
    fileSizes,
  };
}

/** With the file's name put in, which the policy's conditions already see. */
function withKey({ fields, fileName }: PostForm): ReadonlyMap<string, string> {
  const key = fields.get("key");
  if (!key) throw missingField("key");
  // A function, since a file's name may hold what `replaceAll` takes for a pattern.
  const named = key.replaceAll("${filename}", () => fileName);
  if (named.includes("\0")) {
    throw new S3Error("InvalidArgument", { elements: { ArgumentName: "key" } });
  }
  return new Map([...fields, ["key", named]]);
}

function callerOf(fields: ReadonlyMap<string, string>, verifier: Verifier): Caller {
  const isVersion4 = VERSION_4_FIELDS.some((name) => fields.has(name));
  const isVersion2 = fields.has("awsaccesskeyid") || fields.has("signature");
  if (isVersion4 && isVersion2) throw twoMechanisms("");
  if (isVersion4) return { kind: "user", user: verifyVersion4(fields, verifier) };
  if (isVersion2) {
    if (!verifier.legacySignatures) throw unsupportedMechanism();
    return { kind: "user", user: verifyVersion2(fields, verifier) };
  }
  // A policy that nobody signed says nothing; its sender meant it to be signed.
  if (fields.has("policy")) throw missingField("AWSAccessKeyId");
  return { kind: "anonymous" };
}

const VERSION_4_FIELDS = ["x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature"];

function verifyVersion4(
  fields: ReadonlyMap<string, string>,
  { users, keys, region }: Verifier,
): User {
  const policy = required(fields, "policy");
  const algorithm = required(fields, "x-amz-algorithm");
  const credential = required(fields, "x-amz-credential");
  const timestamp = required(fields, "x-amz-date");
  const signature = required(fields, "x-amz-signature");
  if (algorithm.startsWith("AWS4-ECDSA-")) throw unsupportedMechanism();
  if (algorithm !== ALGORITHM) {
    throw new S3Error("InvalidArgument", {
      message: `X-Amz-Algorithm only supports "${ALGORITHM}"`,
      elements: { ArgumentName: "X-Amz-Algorithm", ArgumentValue: algorithm },
    });
  }
  if (!parseBasicDate(timestamp)) {
    throw new S3Error("InvalidArgument", {
      message: `X-Amz-Date must be in the ISO8601 Long Format "yyyyMMdd'T'HHmmss'Z'"`,
      elements: { ArgumentName: "X-Amz-Date", ArgumentValue: timestamp },
    });
  }
  const { accessKey, scope } = parseCredential(credential, {
    timestamp,
    region,
    faults: {
      code: "InvalidArgument",
      prefix: "Error parsing the X-Amz-Credential parameter; ",
    },
  });
  const user = users.byAccessKey(accessKey);
  if (!user) throw unknownKey(accessKey);
  if (!keys.of(user.secretKey, scope).hasSigned(policy, signature)) {
    throw wrongSignature({ accessKey, policy, signature });
  }
  return user;
}

function verifyVersion2(fields: ReadonlyMap<string, string>, { users }: Verifier): User {
  const accessKey = required(fields, "awsaccesskeyid", "AWSAccessKeyId");
  const signature = required(fields, "signature", "Signature");
  const policy = required(fields, "policy");
  const user = users.byAccessKey(accessKey);
  if (!user) throw unknownKey(accessKey);
  if (!hasSignedLegacy(user.secretKey, policy, signature)) {
    throw wrongSignature({ accessKey, policy, signature });
  }
  return user;
}

/** A bucket named in the form must be the one the form was sent to, also when there is no policy to say so. */
function refuseOtherBucket(fields: ReadonlyMap<string, string>, bucketName: string): void {
  const named = fields.get("bucket");
  if (named === undefined || named === bucketName) return;
  throw new S3Error("AccessDenied", {
    message: "Invalid according to Policy: the form names another bucket than it was sent to",
  });
}

function required(fields: ReadonlyMap<string, string>, name: string, shown = name): string {
  const value = fields.get(name);
  if (!value) throw missingField(shown);
  return value;
}

function missingField(name: string): S3Error {
  return new S3Error("InvalidArgument", {
    message: `Bucket POST must contain a field named '${name}'.  If it is specified, please check the order of the fields.`,
    elements: { ArgumentName: name, ArgumentValue: "" },
  });
}

function unknownKey(accessKey: string): S3Error {
  return new S3Error("InvalidAccessKeyId", { elements: { AWSAccessKeyId: accessKey } });
}

function wrongSignature(provided: {
  accessKey: string;
  policy: string;
  signature: string;
}): S3Error {
  return new S3Error("SignatureDoesNotMatch", {
    elements: {
      AWSAccessKeyId: provided.accessKey,
      StringToSign: provided.policy,
      SignatureProvided: provided.signature,
    },
  });
}
