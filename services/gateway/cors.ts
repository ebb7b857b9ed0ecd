/** What a bucket's CORS rules say to browsers: preflight answers, and headers on every other answer (edge rule 27); pure. */
import { S3Error } from "#gateway/errors.ts";
import type { CorsRule } from "#objects/model.ts";

export type CorsHeaders = Readonly<Record<string, string>>;

/** What a preflight asks; undefined where the header is missing. */
export interface PreflightQuestion {
  readonly origin: string | undefined;
  readonly method: string | undefined;
  /** Access-Control-Request-Headers. */
  readonly headers: string | undefined;
}

/** An answer depends on these, so caches must tell them apart, also where no rule matched. */
export const CORS_VARY = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";

/** Throws for a question that cannot be answered whatever the bucket's rules are. */
export function checkPreflight(question: PreflightQuestion): void {
  if (!question.origin) {
    throw new S3Error("BadRequest", {
      message: "Insufficient information. Origin request header needed.",
    });
  }
  if (!question.method || !METHODS.has(question.method)) {
    throw new S3Error("BadRequest", {
      message: `Invalid Access-Control-Request-Method: ${question.method ?? "null"}`,
    });
  }
}

/** The headers of a granted preflight; throws AccessForbidden when no rule grants it. */
export function answerPreflight(
  rules: readonly CorsRule[] | undefined,
  question: PreflightQuestion,
): CorsHeaders {
  checkPreflight(question);
  const { origin = "", method = "" } = question;
  if (rules === undefined) throw forbidden(method, "CORS is not enabled for this bucket.");
  const asked = (question.headers ?? "")
    .split(",")
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== "");
  for (const rule of rules) {
    const allowed = allowedOrigin(rule, origin, method);
    if (allowed !== undefined && asked.every((name) => allowsHeader(rule, name))) {
      const headers = grantOf(rule, allowed, origin);
      return asked.length === 0
        ? headers
        : { ...headers, "Access-Control-Allow-Headers": asked.join(", ") };
    }
  }
  throw forbidden(
    method,
    "This CORS request is not allowed. This is usually because the evalution of Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.",
  );
}

/**
 * What an answer to a browser carries beside its own headers, errors included; undefined where no rule matches. As on AWS, the
 * method judged is the one that Access-Control-Request-Method names, if the client sends it along.
 */
export function corsHeaders(
  rules: readonly CorsRule[],
  origin: string,
  method: string,
): CorsHeaders | undefined {
  for (const rule of rules) {
    const allowed = allowedOrigin(rule, origin, method);
    if (allowed !== undefined) return grantOf(rule, allowed, origin);
  }
  return undefined;
}

const METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "PUT", "POST", "DELETE"]);

/** The pattern that lets the origin in. */
function allowedOrigin(rule: CorsRule, origin: string, method: string): string | undefined {
  if (!rule.allowedMethods.includes(method)) return undefined;
  return rule.allowedOrigins.find((pattern) => matches(pattern, origin));
}

function allowsHeader(rule: CorsRule, name: string): boolean {
  return rule.allowedHeaders.some((pattern) => matches(pattern.toLowerCase(), name));
}

/** One `*` stands for any number of characters. */
function matches(pattern: string, text: string): boolean {
  const star = pattern.indexOf("*");
  if (star < 0) return pattern === text;
  return (
    text.length >= pattern.length - 1 &&
    text.startsWith(pattern.slice(0, star)) &&
    text.endsWith(pattern.slice(star + 1))
  );
}

function grantOf(rule: CorsRule, pattern: string, origin: string): CorsHeaders {
  const headers: Record<string, string> = {
    "Access-Control-Allow-Origin": pattern === "*" ? "*" : origin,
    "Access-Control-Allow-Methods": rule.allowedMethods.join(", "),
  };
  if (rule.exposeHeaders.length > 0) {
    headers["Access-Control-Expose-Headers"] = rule.exposeHeaders.join(", ");
  }
  if (rule.maxAgeSeconds !== undefined) {
    headers["Access-Control-Max-Age"] = String(rule.maxAgeSeconds);
  }
  // Cookies and the like only for an origin that the rule names in full: a pattern may match more than its author thought of.
  if (!pattern.includes("*")) headers["Access-Control-Allow-Credentials"] = "true";
  return headers;
}

function forbidden(method: string, reason: string): S3Error {
  return new S3Error("AccessForbidden", {
    message: `CORSResponse: ${reason}`,
    elements: { Method: method, ResourceType: "BUCKET" },
  });
}
