/** What nobody should send: each gets S3's own error and leaves nothing behind. */
import { HeadObjectCommand, ListObjectsV2Command, type S3Client } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  elementOf,
  freshBucket,
  type RawRequest,
  refusalOf,
  sendRaw,
  sendSigned,
} from "./requests.ts";
import { startServer, type TestServer } from "./server.ts";

let server: TestServer;
let client: S3Client;
let Bucket: string;

beforeAll(async () => {
  server = await startServer();
  client = server.client();
  Bucket = await freshBucket(client);
});
afterAll(() => server.stop());

const named = (name: string) => `/${Bucket}/${name}`;

describe("rule 30: refusals carry S3's own codes", () => {
  const cases: readonly [string, () => RawRequest, number, string][] = [
    [
      "a key too long",
      () => ({ method: "PUT", path: named("k".repeat(1025)) }),
      400,
      "KeyTooLongError",
    ],
    ["a key that is no UTF-8", () => ({ method: "PUT", path: named("%ff") }), 400, "InvalidURI"],
    ["an escape that is none", () => ({ method: "GET", path: named("%zz") }), 400, "InvalidURI"],
    [
      "encryption that is not offered",
      () => ({
        method: "PUT",
        path: named("k"),
        headers: { "x-amz-server-side-encryption": "AES256" },
      }),
      501,
      "NotImplemented",
    ],
    [
      "a lock that is not offered",
      () => ({
        method: "PUT",
        path: named("k"),
        headers: { "x-amz-object-lock-legal-hold": "ON" },
      }),
      501,
      "NotImplemented",
    ],
    [
      "another's bucket",
      () => ({
        method: "GET",
        path: `/${Bucket}`,
        headers: { "x-amz-expected-bucket-owner": "1" },
      }),
      403,
      "AccessDenied",
    ],
    [
      "a document that is none",
      () => ({ method: "PUT", path: `/${Bucket}`, query: { cors: "" }, body: "no XML" }),
      400,
      "MalformedXML",
    ],
    [
      "a document with a DOCTYPE",
      () => ({
        method: "PUT",
        path: `/${Bucket}`,
        query: { tagging: "" },
        body: '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><Tagging><TagSet>&e;</TagSet></Tagging>',
      }),
      400,
      "MalformedXML",
    ],
    [
      "a document too large",
      () => ({ method: "PUT", path: `/${Bucket}`, query: { cors: "" }, body: " ".repeat(70_000) }),
      400,
      "MaxMessageLengthExceeded",
    ],
    [
      "an attribute unknown",
      () => ({
        method: "GET",
        path: named("k"),
        query: { attributes: "" },
        headers: { "x-amz-object-attributes": "Colour" },
      }),
      400,
      "InvalidArgument",
    ],
    [
      "an upload unknown",
      () => ({ method: "GET", path: named("k"), query: { uploadId: "none" } }),
      404,
      "NoSuchUpload",
    ],
    ["a method unknown", () => ({ method: "PATCH", path: named("k") }), 501, "NotImplemented"],
  ];

  test.each(cases)("for %s", async (_, request, status, code) => {
    const answer = await sendSigned(server, request());
    expect([answer.status, answer.code]).toEqual([status, code]);
    expect(elementOf(answer.text, "RequestId")).toBe(answer.headers["x-amz-request-id"]);
    expect(answer.headers["content-type"]).toBe("application/xml");
  });
});

test("more than ten thousand parts are refused", async () => {
  const path = named("many-parts");
  const created = await sendSigned(server, { method: "POST", path, query: { uploads: "" } });
  const uploadId = elementOf(created.text, "UploadId") ?? "";
  const complete = (parts: string) =>
    sendSigned(server, {
      method: "POST",
      path,
      query: { uploadId },
      body: `<CompleteMultipartUpload>${parts}</CompleteMultipartUpload>`,
    });
  const tooMany = await complete(part(1).repeat(10_001));
  expect([tooMany.status, tooMany.code]).toEqual([400, "MalformedXML"]);
  expect((await complete(part(10_001))).code).toBe("InvalidArgument");
});

test("headers over the limit are refused", async () => {
  const headers = { "x-amz-meta-large": "v".repeat(9000) };
  const answer = await sendSigned(server, { method: "PUT", path: named("headers"), headers });
  expect(answer.status).toBe(400);
  const huge = await sendRaw(server, {
    method: "GET",
    path: "/",
    headers: { large: "v".repeat(20_000) },
  });
  expect([400, 431]).toContain(huge.status);
});

test("a body that is not what was signed leaves nothing", async () => {
  const path = named("tampered");
  const headers = { "x-amz-content-sha256": "0".repeat(64) };
  const answer = await sendSigned(server, { method: "PUT", path, headers, body: "other" });
  expect([answer.status, answer.code]).toEqual([400, "XAmzContentSHA256Mismatch"]);
  const head = client.send(new HeadObjectCommand({ Bucket, Key: "tampered" }));
  expect(await refusalOf(head)).toBe("404 NotFound");
});

test("in the end there is nothing in the bucket", async () => {
  const { KeyCount } = await client.send(new ListObjectsV2Command({ Bucket }));
  expect(KeyCount).toBe(0);
});

function part(number: number): string {
  return `<Part><PartNumber>${number}</PartNumber><ETag>e</ETag></Part>`;
}
