/** Which web pages may use a bucket: GetBucketCors, PutBucketCors, DeleteBucketCors. */
import { changeBucket } from "#gateway/buckets.ts";
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import { loadedBucket } from "#gateway/object-read.ts";
import { document, type Element, element, field, readDocument } from "#gateway/xml.ts";
import type { CorsRule } from "#objects/model.ts";

export async function getBucketCors(request: S3Request): Promise<S3Response> {
  const { name, cors } = loadedBucket(request);
  if (!cors) throw new S3Error("NoSuchCORSConfiguration", { elements: { BucketName: name } });
  return { status: 200, body: document("CORSConfiguration", ...cors.map(ruleElement)) };
}

export async function putBucketCors(request: S3Request, parts: Parts): Promise<S3Response> {
  const cors = readRules(await request.body.document(CONFIGURATION_BYTES_MAX));
  await changeBucket(request, parts, () => ({ cors }));
  return { status: 200 };
}

export async function deleteBucketCors(request: S3Request, parts: Parts): Promise<S3Response> {
  await changeBucket(request, parts, () => ({ cors: undefined }));
  return { status: 204 };
}

/** https://docs.aws.amazon.com/AmazonS3/latest/userguide/ManageCorsUsing.html */
const CONFIGURATION_BYTES_MAX = 64 * 1024;
const RULES_MAX = 100;
const ID_CHARACTERS_MAX = 255;
const METHODS: ReadonlySet<string> = new Set(["GET", "PUT", "HEAD", "POST", "DELETE"]);

function readRules(bytes: Buffer): readonly CorsRule[] {
  const rules = readDocument(bytes, "CORSConfiguration").only("CORSRule").children.map(readRule);
  if (rules.length === 0 || rules.length > RULES_MAX) throw new S3Error("MalformedXML");
  return rules;
}

function readRule(rule: Element): CorsRule {
  rule.only(
    "ID",
    "AllowedMethod",
    "AllowedOrigin",
    "AllowedHeader",
    "ExposeHeader",
    "MaxAgeSeconds",
  );
  const id = rule.child("ID")?.text;
  if (id !== undefined && id.length > ID_CHARACTERS_MAX) throw new S3Error("MalformedXML");
  const allowedMethods = texts(rule, "AllowedMethod");
  const allowedOrigins = texts(rule, "AllowedOrigin");
  const allowedHeaders = texts(rule, "AllowedHeader");
  const exposeHeaders = texts(rule, "ExposeHeader");
  if (allowedMethods.length === 0 || allowedOrigins.length === 0) throw new S3Error("MalformedXML");
  for (const method of allowedMethods) refuseUnknownMethod(method);
  for (const origin of allowedOrigins) refuseTwoWildcards("AllowedOrigin", origin);
  for (const header of allowedHeaders) refuseTwoWildcards("AllowedHeader", header);
  for (const header of exposeHeaders) refuseWildcard(header);
  const maxAgeSeconds = rule.child("MaxAgeSeconds")?.integer;
  return { id, allowedOrigins, allowedMethods, allowedHeaders, exposeHeaders, maxAgeSeconds };
}

function texts(rule: Element, name: string): readonly string[] {
  return rule.all(name).map((child) => child.text);
}

function refuseUnknownMethod(method: string): void {
  if (METHODS.has(method)) return;
  throw new S3Error("InvalidRequest", {
    message: `Found unsupported HTTP method in CORS config. Unsupported method is ${method}`,
  });
}

function refuseTwoWildcards(name: string, text: string): void {
  if (text.indexOf("*") === text.lastIndexOf("*")) return;
  throw new S3Error("InvalidRequest", {
    message: `${name} "${text}" can not have more than one wildcard.`,
  });
}

function refuseWildcard(header: string): void {
  if (!header.includes("*")) return;
  throw new S3Error("InvalidRequest", {
    message: `ExposeHeader "${header}" contains wildcard. We currently do not support wildcard for ExposeHeader`,
  });
}

function ruleElement(rule: CorsRule): string {
  return element(
    "CORSRule",
    field("ID", rule.id),
    ...rule.allowedMethods.map((method) => field("AllowedMethod", method)),
    ...rule.allowedOrigins.map((origin) => field("AllowedOrigin", origin)),
    ...rule.allowedHeaders.map((header) => field("AllowedHeader", header)),
    ...rule.exposeHeaders.map((header) => field("ExposeHeader", header)),
    field("MaxAgeSeconds", rule.maxAgeSeconds),
  );
}
