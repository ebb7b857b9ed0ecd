/** A bucket's CORS rules, and what they let web pages do. */
import {
  type CORSRule,
  DeleteBucketCorsCommand,
  GetBucketCorsCommand,
  PutBucketCorsCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freshBucket, presign, type RawAnswer, refusalOf, sendRaw } from "./requests.ts";
import { startServer, type TestServer } from "./server.ts";

const RULE = {
  ID: "pages",
  AllowedOrigins: ["https://*.example.com"],
  AllowedMethods: ["GET", "PUT"],
  AllowedHeaders: ["x-amz-*", "content-type"],
  ExposeHeaders: ["ETag"],
  MaxAgeSeconds: 60,
};
const ORIGIN = "https://www.example.com";

let server: TestServer;
let client: S3Client;
let Bucket: string;

beforeAll(async () => {
  server = await startServer();
  client = server.client();
  Bucket = await freshBucket(client);
  await client.send(new PutObjectCommand({ Bucket, Key: "k", Body: "x" }));
  await setRules([RULE]);
});
afterAll(() => server.stop());

function setRules(CORSRules: CORSRule[]) {
  return client.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules } }));
}

describe("the configuration", () => {
  test("comes back as it was set, and goes", async () => {
    const other = await freshBucket(client);
    const get = () => client.send(new GetBucketCorsCommand({ Bucket: other }));
    const CORSRules = [RULE, { AllowedMethods: ["HEAD"], AllowedOrigins: ["*"] }];
    expect(await refusalOf(get())).toBe("404 NoSuchCORSConfiguration");
    await client.send(
      new PutBucketCorsCommand({ Bucket: other, CORSConfiguration: { CORSRules } }),
    );
    expect((await get()).CORSRules).toEqual(CORSRules);
    await client.send(new DeleteBucketCorsCommand({ Bucket: other }));
    expect(await refusalOf(get())).toBe("404 NoSuchCORSConfiguration");
  });

  test.each([
    ["an unknown method", { ...RULE, AllowedMethods: ["PATCH"] }, "400 InvalidRequest"],
    ["two wildcards", { ...RULE, AllowedOrigins: ["*.a.*"] }, "400 InvalidRequest"],
    ["a wildcard to expose", { ...RULE, ExposeHeaders: ["x-*"] }, "400 InvalidRequest"],
    ["no origin", { ...RULE, AllowedOrigins: [] }, "400 MalformedXML"],
  ])("refuses %s", async (_, rule, refusal) => {
    expect(await refusalOf(setRules([rule]))).toBe(refusal);
  });
});

describe("rule 27: preflight", () => {
  test("needs no signature, and tells what is allowed", async () => {
    const answer = await ask({
      origin: ORIGIN,
      "access-control-request-method": "PUT",
      "access-control-request-headers": "x-amz-date, content-type",
    });
    expect(answer.status).toBe(200);
    expect(answer.headers["access-control-allow-origin"]).toBe(ORIGIN);
    expect(answer.headers["access-control-allow-methods"]).toContain("PUT");
    expect(answer.headers["access-control-max-age"]).toBe("60");
    expect(answer.headers.vary).toMatch(/Origin/);
  });

  test.each([
    ["another origin", { origin: "https://example.org", "access-control-request-method": "PUT" }],
    ["another method", { origin: ORIGIN, "access-control-request-method": "DELETE" }],
    [
      "another header",
      {
        origin: ORIGIN,
        "access-control-request-method": "PUT",
        "access-control-request-headers": "authorization",
      },
    ],
  ])("is refused for %s", async (_, headers) => {
    const answer = await ask(headers);
    expect([answer.status, answer.code]).toEqual([403, "AccessForbidden"]);
  });

  test("without an origin is no preflight", async () => {
    expect((await ask({})).status).toBe(400);
  });
});

test("rule 27: answers and errors alike carry the headers", async () => {
  const headers = { origin: ORIGIN };
  const get = await presign(server, { method: "GET", path: `/${Bucket}/k` });
  const found = await sendRaw(server, { ...get, headers });
  expect(found.status).toBe(200);
  const refused = await sendRaw(server, { method: "GET", path: `/${Bucket}/k`, headers });
  expect(refused.status).toBe(403);
  for (const answer of [found, refused]) {
    expect(answer.headers["access-control-allow-origin"]).toBe(ORIGIN);
    expect(answer.headers["access-control-expose-headers"]).toBe("ETag");
  }
  const stranger = await sendRaw(server, { ...get, headers: { origin: "https://example.org" } });
  expect([stranger.status, stranger.headers["access-control-allow-origin"]]).toEqual([
    200,
    undefined,
  ]);
});

function ask(headers: Record<string, string>): Promise<RawAnswer> {
  return sendRaw(server, { method: "OPTIONS", path: `/${Bucket}/k`, headers });
}
