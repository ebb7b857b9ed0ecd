/** The policy of a browser form: what its signer lets be uploaded, and until when. Pure. */
import type { SizeRange } from "#gateway/body.ts";
import { S3Error } from "#gateway/errors.ts";

export interface PolicyRequest {
  /** Names in lower case. */
  readonly fields: ReadonlyMap<string, string>;
  /** The bucket that the form was sent to, whatever its fields say. */
  readonly bucketName: string;
  readonly nowMs: number;
}

/** Throws unless the policy, base64 of a JSON document, allows the form; else the sizes it allows the file to have. */
export function checkPolicy(policy: string, request: PolicyRequest): SizeRange {
  const { expiresMs, conditions } = parsePolicy(policy);
  if (request.nowMs >= expiresMs) throw refused("Policy expired.");
  const fields = new Map([...request.fields, ["bucket", request.bucketName]]);
  let minBytes = 0;
  let maxBytes = Number.MAX_SAFE_INTEGER;
  const covered = new Set<string>();
  for (const condition of conditions) {
    if (condition.kind === "content-length-range") {
      minBytes = Math.max(minBytes, condition.minBytes);
      maxBytes = Math.min(maxBytes, condition.maxBytes);
      continue;
    }
    covered.add(condition.field);
    if (!isMet(condition, fields.get(condition.field))) {
      throw refused(`Policy Condition failed: ${condition.text}`);
    }
  }
  const extra = [...fields.keys()].filter((field) => !covered.has(field) && !isExempt(field));
  if (extra.length > 0) throw refused(`Extra input fields: ${extra.join(", ")}`);
  return { minBytes, maxBytes };
}

/** Fields that carry the policy itself, and those that no policy need name. A checksum only says what the file is. */
const EXEMPT = new Set([
  "awsaccesskeyid",
  "file",
  "policy",
  "signature",
  "x-amz-signature",
  "x-amz-sdk-checksum-algorithm",
]);

function isExempt(field: string): boolean {
  return EXEMPT.has(field) || field.startsWith("x-ignore-") || field.startsWith("x-amz-checksum-");
}

type Condition =
  | { kind: "content-length-range"; minBytes: number; maxBytes: number }
  | { kind: "eq" | "starts-with"; field: string; value: string; text: string };

/** A field that is not there meets no condition, not even that of beginning with nothing. */
function isMet(
  { kind, field, value }: Extract<Condition, { field: string }>,
  actual: string | undefined,
): boolean {
  if (actual === undefined) return false;
  if (kind === "eq") return actual === value;
  // S3: of several content types, separated by commas, each must begin so.
  if (field === "content-type") {
    return actual.split(",").every((type) => type.trim().startsWith(value));
  }
  return actual.startsWith(value);
}

function parsePolicy(policy: string): { expiresMs: number; conditions: readonly Condition[] } {
  const document = parseDocument(policy);
  if (typeof document !== "object" || document === null || Array.isArray(document)) {
    throw invalid("Invalid JSON.");
  }
  const { expiration, conditions } = document as Record<string, unknown>;
  if (expiration === undefined) throw invalid("Policy missing expiration.");
  const expiresMs = parseExpiration(expiration);
  if (!Array.isArray(conditions)) throw invalid("Policy missing conditions.");
  return { expiresMs, conditions: conditions.flatMap(parseCondition) };
}

function parseDocument(policy: string): unknown {
  const json = Buffer.from(policy, "base64").toString("utf8");
  try {
    // Besides JSON's escapes S3 knows that of the dollar sign.
    return JSON.parse(json.replace(/\\(.)/gs, (escape, of) => (of === "$" ? "$" : escape)));
  } catch (cause) {
    throw new S3Error("InvalidPolicyDocument", { message: "Invalid Policy: Invalid JSON.", cause });
  }
}

const ISO_DATE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)$/;

function parseExpiration(expiration: unknown): number {
  const isDate = typeof expiration === "string" && ISO_DATE.test(expiration);
  const expiresMs = isDate ? Date.parse(expiration) : Number.NaN;
  if (Number.isNaN(expiresMs)) {
    throw invalid(`Invalid 'expiration' value: '${String(expiration)}'`);
  }
  return expiresMs;
}

function parseCondition(condition: unknown): Condition[] {
  const written = JSON.stringify(condition);
  if (Array.isArray(condition)) return [parseListCondition(condition, written)];
  if (typeof condition !== "object" || condition === null) throw invalid("Invalid Condition.");
  const entries = Object.entries(condition);
  if (entries.length === 0) throw invalid("Invalid Simple-Condition: must have a field.");
  return entries.map(([field, value]) => ({
    kind: "eq",
    field: field.toLowerCase(),
    value: textOf(value),
    text: JSON.stringify(["eq", `$${field}`, value]),
  }));
}

function parseListCondition(condition: readonly unknown[], written: string): Condition {
  const [operator, first, second] = condition;
  const kind = typeof operator === "string" ? operator.toLowerCase() : "";
  if (condition.length !== 3) throw invalid(`Invalid Condition: ${written}`);
  switch (kind) {
    case "content-length-range":
      return { kind, minBytes: bytesOf(first), maxBytes: bytesOf(second) };
    case "eq":
    case "starts-with": {
      if (typeof first !== "string" || !first.startsWith("$")) {
        throw invalid(`Invalid Condition: ${written}`);
      }
      return { kind, field: first.slice(1).toLowerCase(), value: textOf(second), text: written };
    }
    default:
      throw invalid(`Invalid Condition: unknown operation '${kind}'.`);
  }
}

function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value === "number") return String(value);
  throw invalid("Invalid Condition: the value must be a string.");
}

function bytesOf(value: unknown): number {
  const isWhole = typeof value === "number" || (typeof value === "string" && /^\d+$/.test(value));
  const bytes = isWhole ? Number(value) : Number.NaN;
  if (Number.isSafeInteger(bytes) && bytes >= 0) return bytes;
  throw invalid("Invalid content-length-range: both ends must be whole numbers of bytes.");
}

function invalid(message: string): S3Error {
  return new S3Error("InvalidPolicyDocument", { message: `Invalid Policy: ${message}` });
}

function refused(message: string): S3Error {
  return new S3Error("AccessDenied", { message: `Invalid according to Policy: ${message}` });
}
