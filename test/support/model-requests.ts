/** Requests that put one input of AWS's model at a time before the pipeline. */
import { hash } from "node:crypto";
import { once } from "node:events";
import { request as httpRequest, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { text as readText } from "node:stream/consumers";
import type { Operation } from "#gateway/context.ts";
import { OPERATIONS, type OperationName } from "#gateway/operations.ts";
import { ALICE, versionOf } from "#gateway/testing/requests.ts";
import { UPLOAD_ID } from "#gateway/testing/single-object.ts";
import type { ModelElement, ModelMember, ModelOperation } from "./service-model.ts";

/** Something to say for each input that is more than any word. */
const VALUES: Readonly<Record<string, string>> = {
  uploadId: UPLOAD_ID,
  partNumber: "1",
  versionId: "null",
  "encoding-type": "url",
  "max-keys": "5",
  "max-parts": "5",
  "max-uploads": "5",
  "max-buckets": "5",
  "part-number-marker": "1",
  "fetch-owner": "true",
  range: "bytes=0-1",
  "content-length": "4",
  "content-md5": "CY9rzUYh03PK3k6DJie09g==",
  "if-match": "*",
  "if-none-match": "*",
  expires: "Sun, 06 Nov 2094 08:49:37 GMT",
  "x-amz-acl": "private",
  "x-amz-copy-source": "/photos/summer.jpg",
  "x-amz-copy-source-range": "bytes=0-1",
  "x-amz-expected-bucket-owner": ALICE.ownerId,
  "x-amz-source-expected-bucket-owner": ALICE.ownerId,
  "x-amz-object-attributes": "ETag,ObjectParts",
  "x-amz-object-ownership": "ObjectWriter",
  "x-amz-metadata-directive": "REPLACE",
  "x-amz-tagging-directive": "COPY",
  "x-amz-sdk-checksum-algorithm": "CRC32",
  "x-amz-checksum-algorithm": "CRC32",
  "x-amz-checksum-crc32": "2H6C8w==",
  "x-amz-checksum-type": "FULL_OBJECT",
  "x-amz-checksum-mode": "ENABLED",
  "x-amz-storage-class": "STANDARD",
  "x-amz-meta-": "word",
  "x-amz-tagging": "a=b",
};

/** What an operation needs to succeed, or to be told from another one. */
const NEEDS: Readonly<
  Record<string, { headers?: Record<string, string>; query?: Record<string, string> }>
> = {
  CopyObject: {
    headers: {
      "x-amz-copy-source": "/photos/summer.jpg",
      "x-amz-metadata-directive": "REPLACE",
      "x-amz-tagging-directive": "REPLACE",
    },
  },
  UploadPartCopy: {
    headers: { "x-amz-copy-source": "/photos/summer.jpg" },
    query: { partNumber: "1" },
  },
  UploadPart: { query: { partNumber: "1" } },
  WriteGetObjectResponse: { headers: { "x-amz-request-route": "word" } },
  GetObjectAttributes: { headers: { "x-amz-object-attributes": "ETag,ObjectParts" } },
};

/** Inputs that count only beside another. */
const BESIDE: Readonly<Record<string, Record<string, string>>> = {
  "upload-id-marker": { "key-marker": "a" },
  "version-id-marker": { "key-marker": "a" },
};

/** Texts of elements, for those that are more than any word. */
const TEXTS: Readonly<Record<string, string>> = {
  ETag: `"${versionOf().etag}"`,
  PartNumber: "1",
  VersionId: "null",
  LastModifiedTime: "2026-06-01T12:00:00Z",
  Size: "10",
  Quiet: "true",
  MaxAgeSeconds: "5",
  AllowedMethod: "GET",
  AllowedOrigin: "*",
  Status: "Enabled",
  ObjectOwnership: "ObjectWriter",
  LocationConstraint: "eu-central-1",
  Permission: "FULL_CONTROL",
};

/** Paths that a document needs to be one. */
const NEEDED_ELEMENTS: readonly string[] = [
  "Delete/Object/Key",
  "CompleteMultipartUpload/Part/ETag",
  "CompleteMultipartUpload/Part/PartNumber",
  "CORSConfiguration/CORSRule/AllowedMethod",
  "CORSConfiguration/CORSRule/AllowedOrigin",
  "Tagging/TagSet/Tag/Key",
  "Tagging/TagSet/Tag/Value",
  "VersioningConfiguration/Status",
  "OwnershipControls/Rule/ObjectOwnership",
  "AccessControlPolicy/Owner/ID",
  "AccessControlPolicy/AccessControlList/Grant/Grantee/xsi:type",
  "AccessControlPolicy/AccessControlList/Grant/Grantee/ID",
  "AccessControlPolicy/AccessControlList/Grant/Permission",
];

/** Every text or attribute of a document, by the way to it. */
export function leavesOf(element: ModelElement | undefined): ModelElement[][] {
  if (element === undefined) return [];
  if (element.children.length === 0) return [[element]];
  return element.children.flatMap((child) => leavesOf(child).map((path) => [element, ...path]));
}

/** The document with what it needs, and with the leaf at the end of `path`. */
function documentOf(
  element: ModelElement,
  path: readonly ModelElement[] | undefined,
  at = element.name,
): string {
  if (element.children.length === 0)
    return `<${element.name}>${textOf(at, path)}</${element.name}>`;
  let attributes = "";
  let content = "";
  for (const child of element.children) {
    const place = `${at}/${child.name}`;
    if (!isWanted(place, path)) continue;
    if (child.isAttribute) attributes += ` ${INSTANCE} ${child.name}="${textOf(place, path)}"`;
    else content += documentOf(child, path, place);
  }
  return `<${element.name}${attributes}>${content}</${element.name}>`;
}

const INSTANCE = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"';

/** What is granted to must be of the kind that the element under test belongs to. */
const GRANTEE_TYPES: Readonly<Record<string, string>> = {
  URI: "Group",
  EmailAddress: "AmazonCustomerByEmail",
};

function isWanted(place: string, path: readonly ModelElement[] | undefined): boolean {
  const wire = path?.map(({ name }) => name).join("/") ?? "";
  return [...NEEDED_ELEMENTS, wire].some((way) => way === place || way.startsWith(`${place}/`));
}

function textOf(place: string, path: readonly ModelElement[] | undefined): string {
  const name = place.split("/").at(-1) ?? "";
  if (name === "xsi:type") return GRANTEE_TYPES[path?.at(-1)?.name ?? ""] ?? "CanonicalUser";
  if (place.endsWith("Owner/ID") || place.endsWith("Grantee/ID")) return ALICE.ownerId;
  return TEXTS[name] ?? "word";
}

interface Extra {
  readonly member?: ModelMember;
  readonly path?: readonly ModelElement[];
  /** Instead of the one there is. */
  readonly bucket?: string;
}

/** One request through the pipeline: the operation at its plainest, and the one input more. */
export async function send(
  server: Server,
  operation: ModelOperation,
  { member, path, bucket = "photos" }: Extra = {},
): Promise<{ status: number; body: string }> {
  const needs = NEEDS[operation.name] ?? {};
  const headers: Record<string, string> = { ...needs.headers };
  const query: Record<string, string> = { "x-id": operation.name };
  for (const condition of selectorOf(operation.name)) {
    const [name = "", value] = condition.split("=");
    query[name] = value ?? VALUES[name] ?? "";
  }
  Object.assign(query, needs.query);
  if (member?.place === "query") {
    Object.assign(query, { [member.name]: VALUES[member.name] ?? "word" }, BESIDE[member.name]);
  } else if (member !== undefined) {
    const name = member.place === "prefix" ? `${member.name}name` : member.name;
    headers[name] = VALUES[member.name] ?? "word";
  }
  const body = bodyOf(operation, path);
  if (operation.document !== undefined) headers["content-md5"] = hash("md5", body, "base64");
  headers["content-length"] = String(Buffer.byteLength(body));
  const search = new URLSearchParams(query).toString();
  const target = OPERATIONS[operation.name as OperationName].target;
  const resource = { service: "/", bucket: `/${bucket}`, object: `/${bucket}/summer.jpg` }[target];
  return exchange(server, {
    method: operation.method,
    path: `${resource}?${search}`,
    headers,
    body,
  });
}

async function exchange(
  server: Server,
  sent: { method: string; path: string; headers: Record<string, string>; body: string },
): Promise<{ status: number; body: string }> {
  const { method, path, headers, body } = sent;
  const { port } = server.address() as AddressInfo;
  const request = httpRequest({ host: "127.0.0.1", port, method, path, headers });
  request.end(body);
  const [response] = (await once(request, "response")) as [IncomingMessage];
  return { status: response.statusCode ?? 0, body: await readText(response) };
}

function bodyOf(operation: ModelOperation, path: readonly ModelElement[] | undefined): string {
  const { document, name } = operation;
  // Two operations do without their document; an ACL comes in a header or in a document.
  if (document !== undefined && (path !== undefined || name !== "CreateBucket")) {
    return documentOf(document, path);
  }
  return name === "PutObject" || name === "UploadPart" ? "test" : "";
}

function selectorOf(name: string): readonly string[] {
  const table: Readonly<Record<string, Operation>> = OPERATIONS;
  return table[name]?.query ?? [];
}
