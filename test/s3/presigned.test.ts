/** URLs that carry their own signature, and the answers to signatures that are wrong. */
import { createHmac } from "node:crypto";
import { GetObjectCommand, PutObjectCommand, type S3Client } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freshBucket, presign, refusalOf, sendRaw, sendSigned } from "./requests.ts";
import { startServer, type TestServer } from "./server.ts";

let server: TestServer;
let client: S3Client;
let Bucket: string;

beforeAll(async () => {
  server = await startServer();
  client = server.client();
  Bucket = await freshBucket(client);
  await client.send(new PutObjectCommand({ Bucket, Key: "k", Body: "signed" }));
});
afterAll(() => server.stop());

describe("a presigned URL", () => {
  test("reads, writes, describes and removes", async () => {
    const path = `/${Bucket}/over url`.replace(" ", "%20");
    const send = async (method: string, body?: string) =>
      sendRaw(server, {
        ...(await presign(server, { method, path })),
        ...(body !== undefined && { body }),
      });
    expect((await send("PUT", "by url")).status).toBe(200);
    expect((await send("GET")).text).toBe("by url");
    expect((await send("HEAD")).headers["content-length"]).toBe("6");
    expect((await send("DELETE")).status).toBe(204);
    expect((await send("GET")).code).toBe("NoSuchKey");
  });

  test("of the SDK works, with its overrides", async () => {
    const get = new GetObjectCommand({ Bucket, Key: "k", ResponseContentType: "text/x-test" });
    const answer = await fetch(await getSignedUrl(client, get));
    expect([await answer.text(), answer.headers.get("content-type")]).toEqual([
      "signed",
      "text/x-test",
    ]);
  });

  test("of a part takes part in an upload", async () => {
    const path = `/${Bucket}/parts`;
    const created = await sendSigned(server, { method: "POST", path, query: { uploads: "" } });
    const uploadId = /<UploadId>(.*)<\/UploadId>/.exec(created.text)?.[1] ?? "";
    const part = await presign(server, {
      method: "PUT",
      path,
      query: { partNumber: "1", uploadId },
    });
    const sent = await sendRaw(server, { ...part, body: "part" });
    const body = `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${sent.headers.etag}</ETag></Part></CompleteMultipartUpload>`;
    const query = { uploadId };
    expect((await sendSigned(server, { method: "POST", path, query, body })).status).toBe(200);
    expect((await sendSigned(server, { method: "GET", path })).text).toBe("part");
  });

  test("rule 24: is good until it expires, and for a week at most", async () => {
    const path = `/${Bucket}/k`;
    const sign = (options: { expiresIn?: number; signingDate?: Date }) =>
      presign(server, { method: "GET", path }, options);
    const old = await sign({ expiresIn: 10, signingDate: new Date(Date.now() - 60_000) });
    const expired = await sendRaw(server, old);
    expect([expired.status, expired.code]).toEqual([403, "AccessDenied"]);
    expect(expired.text).toContain("Request has expired");
    const good = await sign({});
    for (const expires of ["604801", "0x", "-1"]) {
      const query = { ...good.query, "X-Amz-Expires": expires };
      const answer = await sendRaw(server, { ...good, query });
      expect([expires, answer.status, answer.code]).toEqual([
        expires,
        400,
        "AuthorizationQueryParametersError",
      ]);
    }
  });

  test("rule 24: fits one request only", async () => {
    const good = await presign(server, { method: "GET", path: `/${Bucket}/k` });
    const changed = { ...good.query, "response-content-type": "text/html" };
    for (const request of [
      { ...good, method: "DELETE" },
      { ...good, path: `/${Bucket}/other` },
      { ...good, query: changed },
    ]) {
      const answer = await sendRaw(server, request);
      expect([answer.status, answer.code]).toEqual([403, "SignatureDoesNotMatch"]);
    }
  });
});

describe("rule 24: signatures", () => {
  test("of unknown keys and with other secrets are told apart", async () => {
    const send = (accessKeyId: string, secretAccessKey: string) =>
      server
        .client({ credentials: { accessKeyId, secretAccessKey } })
        .send(new GetObjectCommand({ Bucket, Key: "k" }));
    expect(await refusalOf(send("UNKNOWNKEY", "x"))).toBe("403 InvalidAccessKeyId");
    expect(await refusalOf(send(server.accessKey, "x"))).toBe("403 SignatureDoesNotMatch");
  });

  test("of a clock that is off are refused", async () => {
    const path = `/${Bucket}/k`;
    const good = await presign(
      server,
      { method: "GET", path },
      { signingDate: new Date(Date.now() + 3_600_000) },
    );
    expect((await sendRaw(server, good)).status).toBe(403);
    const systemClockOffset = 3_600_000;
    const skewed = server
      .client({ systemClockOffset })
      .send(new GetObjectCommand({ Bucket, Key: "k" }));
    expect(await refusalOf(skewed)).toMatch(/^403 RequestTimeTooSkewed/);
  });

  test("that cannot be read are malformed", async () => {
    for (const authorization of [
      "AWS4-HMAC-SHA256 nonsense",
      "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=b",
    ]) {
      const headers = { authorization, "x-amz-content-sha256": "UNSIGNED-PAYLOAD" };
      const answer = await sendRaw(server, { method: "GET", path: `/${Bucket}/k`, headers });
      expect([answer.status, answer.code]).toEqual([400, "AuthorizationHeaderMalformed"]);
    }
  });
});

test("URLs of Signature Version 2 are good only where the operator says so, by path and by host", async () => {
  const expires = String(Math.ceil(Date.now() / 1000) + 60);
  const url = (target: TestServer, method: string, resource: string) => ({
    AWSAccessKeyId: target.accessKey,
    Expires: expires,
    Signature: createHmac("sha1", target.secretKey)
      .update(`${method}\n\n\n${expires}\n${resource}`)
      .digest("base64"),
  });
  const read = { method: "GET", path: `/${Bucket}/k` };
  const refused = await sendRaw(server, { ...read, query: url(server, "GET", `/${Bucket}/k`) });
  expect([refused.status, refused.code]).toEqual([400, "InvalidRequest"]);

  const lenient = await startServer({ env: { ANYBUCKET_LEGACY_SIGNATURES: "true" } });
  try {
    const name = await freshBucket(lenient.client());
    const key = "a%20key";
    const put = {
      method: "PUT",
      path: `/${key}`,
      headers: { host: `${name}.localhost:${lenient.port}` },
      query: url(lenient, "PUT", `/${name}/${key}`),
    };
    expect((await sendRaw(lenient, { ...put, body: "old" })).status).toBe(200);
    const get = {
      method: "GET",
      path: `/${name}/${key}`,
      query: url(lenient, "GET", `/${name}/${key}`),
    };
    expect((await sendRaw(lenient, get)).text).toBe("old");
    expect((await sendRaw(lenient, { ...get, method: "DELETE" })).code).toBe(
      "SignatureDoesNotMatch",
    );
    const withAcl = { ...get, query: { acl: "", ...get.query } };
    expect((await sendRaw(lenient, withAcl)).code).toBe("SignatureDoesNotMatch");
  } finally {
    await lenient.stop();
  }
});
