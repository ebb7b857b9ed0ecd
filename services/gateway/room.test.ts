/** What a gateway answers while the index is short of room: whatever reads or removes, and nothing that adds (R20). */
import { createHash } from "node:crypto";
import { describe, expect, test, vi } from "vitest";
import type { HeaderList } from "#gateway/auth/request-headers.ts";
import type { Operation } from "#gateway/context.ts";
import { OPERATIONS } from "#gateway/operations.ts";
import { ask, RawClient, startGateway } from "#gateway/testing/raw-client.ts";
import { ALICE } from "#gateway/testing/requests.ts";
import { singleObject, UPLOAD_ID } from "#gateway/testing/single-object.ts";
import type { Versioning } from "#objects/model.ts";

// The caller is taken for granted.
vi.mock("#gateway/auth/authenticate.ts", () => ({
  authenticate: ({ headers }: { headers: HeaderList }) => ({
    caller: { kind: "user", user: ALICE },
    mode: "header",
    payload: { mode: "unsigned", sha256: undefined, signing: undefined },
    headers,
  }),
}));

const SHORT = { room: { isShort: true } };
const REFUSED = /^HTTP\/1\.1 503 .*Retry-After: 5\r\n.*<Code>SlowDown<.*nearly full/s;

function start(versioning: Versioning = "unversioned") {
  return startGateway(singleObject({ bucket: { versioning } }), {}, SHORT);
}

/** Whatever writes, adds no key, and is few bytes for a whole bucket or fewer than before. */
const WRITES_THAT_GO_ON = [
  "CompleteMultipartUpload",
  "DeleteObjects",
  "PutBucketAcl",
  "PutBucketCors",
  "PutBucketOwnershipControls",
  "PutBucketTagging",
  "PutBucketVersioning",
];

test("every operation that writes either grows, or has its reason not to", () => {
  const rows: readonly [string, Operation][] = Object.entries(OPERATIONS);
  const writes = rows.filter(
    ([, { method, handle }]) => handle && (method === "PUT" || method === "POST"),
  );
  const others = writes.filter(([, { grows }]) => grows !== true).map(([name]) => name);
  expect(others.toSorted()).toEqual(WRITES_THAT_GO_ON);
  const growing = rows.filter(([, { grows }]) => grows);
  expect(growing.every(([, { method }]) => method === "PUT" || method === "POST")).toBe(true);
});

describe("short of room", () => {
  test("a new object is refused before its body was asked for", async () => {
    await using running = await start();
    using client = new RawClient(running.port);
    const length = "Content-Length: 5000000";
    client.send(
      "PUT /photos/new HTTP/1.1",
      "Host: localhost",
      "Expect: 100-continue",
      length,
      "",
      "",
    );
    const answer = await client.until(/<\/Error>/);
    expect(answer).toMatch(REFUSED);
    expect(answer).not.toContain("100 Continue");
  });

  test.each([
    ["PUT /paintings", []],
    ["PUT /photos/new", []],
    ["PUT /photos/new", ["x-amz-copy-source: /photos/summer.jpg"]],
    ["POST /photos/new?uploads", []],
    ["PUT /photos/summer.jpg?tagging", []],
    ["PUT /photos/summer.jpg?acl", ["x-amz-acl: private"]],
    [`PUT /photos/summer.jpg?uploadId=${UPLOAD_ID}&partNumber=1`, []],
  ])("%s %s is refused", async (line, headers) => {
    await using running = await start();
    expect(await ask(running.port, line, "Content-Length: 0", ...headers)).toMatch(REFUSED);
  });

  test.each([
    ["GET /photos/summer.jpg", 200],
    ["GET /photos?list-type=2", 200],
    ["GET /photos?versions", 200],
    ["DELETE /photos/summer.jpg", 204],
    ["DELETE /photos/summer.jpg?versionId=null", 204],
    ["DELETE /photos/summer.jpg?tagging", 204],
    ["DELETE /photos", 204],
    [`DELETE /photos/summer.jpg?uploadId=${UPLOAD_ID}`, 204],
  ])("%s goes on", async (line, status) => {
    await using running = await start();
    expect(await ask(running.port, line)).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
  });

  test.each(["enabled", "suspended"] as const)(
    "where versioning is %s a marker is refused, and a version goes for good",
    async (versioning) => {
      await using running = await start(versioning);
      expect(await ask(running.port, "DELETE /photos/summer.jpg")).toMatch(REFUSED);
      const removed = await ask(running.port, "DELETE /photos/summer.jpg?versionId=null");
      expect(removed).toMatch(/^HTTP\/1\.1 204 /);
    },
  );

  test("of many deletes each is judged by itself", async () => {
    await using running = await start("enabled");
    const body =
      "<Delete><Object><Key>a</Key></Object><Object><Key>summer.jpg</Key><VersionId>null</VersionId></Object></Delete>";
    const md5 = createHash("md5").update(body).digest("base64");
    using client = new RawClient(running.port);
    const headers = [`Content-Length: ${body.length}`, `Content-MD5: ${md5}`];
    client.send("POST /photos?delete HTTP/1.1", "Host: localhost", ...headers, "", body);
    const answer = await client.until(/<\/DeleteResult>/);
    expect(answer).toContain("<Error><Key>a</Key><Code>SlowDown</Code>");
    expect(answer).toMatch(/<Deleted><Key>summer\.jpg<\/Key>/);
  });

  test("who may not write learns that, not how full it is", async () => {
    await using running = await startGateway(
      singleObject({ bucket: { ownerId: "b".repeat(64) } }),
      {},
      SHORT,
    );
    const answer = await ask(running.port, "PUT /photos/new", "Content-Length: 0");
    expect(answer).toMatch(/^HTTP\/1\.1 403 /);
  });
});

test("with room again, or where there are no bounds, all goes on", async () => {
  const room = { isShort: true };
  await using running = await startGateway(singleObject(), {}, { room });
  const put = () => ask(running.port, "PUT /photos/new", "Content-Length: 0");
  expect(await put()).toMatch(REFUSED);
  room.isShort = false;
  expect(await put()).toMatch(/^HTTP\/1\.1 200 /);
  await using boundless = await startGateway(singleObject());
  expect(await ask(boundless.port, "PUT /photos/new", "Content-Length: 0")).toMatch(
    /^HTTP\/1\.1 200 /,
  );
});
