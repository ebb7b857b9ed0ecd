/** The pipeline over real connections: what is answered, when a body is asked for, and how connections end. */
import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { ask, RawClient, startGateway } from "#gateway/testing/raw-client.ts";
import { singleObject } from "#gateway/testing/single-object.ts";
import { UNOFFERED_HEADERS } from "#gateway/unoffered-headers.ts";
import { Unavailable } from "#lib/unavailable.ts";
import type { ObjectLayer } from "#objects/object-layer.ts";

/** Everybody may do everything that ACLs can give. */
const OPEN = { bucket: { acl: "public-read-write" }, version: { acl: "public-read" } } as const;
const RULE = {
  id: undefined,
  allowedOrigins: ["https://a.example"],
  allowedMethods: ["GET"],
  allowedHeaders: [],
  exposeHeaders: [],
  maxAgeSeconds: undefined,
};

const withFind = (find: ObjectLayer["find"]) => ({ ...singleObject(OPEN), find });
const withRead = (size: number, read: ObjectLayer["read"]): ObjectLayer => ({
  ...singleObject({ ...OPEN, version: { ...OPEN.version, size } }),
  readSmall: async () => undefined,
  read,
});

describe("answers", () => {
  test("carry the request's ids, which an error's document repeats", async () => {
    await using running = await startGateway(singleObject());
    const answer = await ask(running.port, "GET /nowhere/a%3Cb");
    expect(answer).toMatch(/^HTTP\/1\.1 404 Not Found\r\n/);
    const id = /x-amz-request-id: (\w{16})\r\n/.exec(answer)?.[1];
    const host = /x-amz-id-2: (\S+)\r\n/.exec(answer)?.[1];
    expect(answer.slice(answer.indexOf("\r\n\r\n") + 4)).toBe(
      `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message><BucketName>nowhere</BucketName><Resource>/nowhere/a&lt;b</Resource><RequestId>${id}</RequestId><HostId>${host}</HostId></Error>`,
    );
    expect(answer).toContain("Content-Type: application/xml\r\n");
    expect(answer).toContain("X-Content-Type-Options: nosniff\r\n");
  });

  test("leave in one piece when they are small", async () => {
    await using running = await startGateway(singleObject(OPEN));
    using client = new RawClient(running.port);
    client.send("GET /photos/summer.jpg HTTP/1.1", "Host: localhost", "", "");
    const [first] = (await once(client.socket, "data")) as [string];
    expect(first).toMatch(/^HTTP\/1\.1 200 OK\r\n.*Content-Length: 10\r\n.*\r\n\r\n\0{10}$/s);
  });

  // Edge rule 15.
  test("to HEAD have no body, errors included", async () => {
    await using running = await startGateway(singleObject(OPEN));
    expect(await ask(running.port, "HEAD /nowhere")).toMatch(/^HTTP\/1\.1 404 .*\r\n\r\n$/s);
    expect(await ask(running.port, "HEAD /photos/absent")).toMatch(/^HTTP\/1\.1 404 .*\r\n\r\n$/s);
    const answer = await ask(running.port, "HEAD /photos/summer.jpg");
    expect(answer).toMatch(/^HTTP\/1\.1 200 .*Content-Length: 10\r\n.*\r\n\r\n$/s);
  });

  test("of status 304 and 204 have neither body nor length", async () => {
    await using running = await startGateway(singleObject(OPEN));
    const same = await ask(running.port, "GET /photos/summer.jpg", "If-None-Match: *");
    expect(same).toMatch(/^HTTP\/1\.1 304 .*\r\n\r\n$/s);
    expect(same).not.toMatch(/\r\ncontent-(length|type)/i);
    const gone = await ask(running.port, "DELETE /photos/summer.jpg");
    expect(gone).toMatch(/^HTTP\/1\.1 204 .*\r\n\r\n$/s);
  });

  // Edge rule 30: only AWS's codes.
  test("to a retriable fault are 503 SlowDown, to any other 500 without a word of what it was", async () => {
    const faults = [new Unavailable("two disks are gone"), new Error("secret of the house")];
    await using running = await startGateway(withFind(() => Promise.reject(faults.shift())));
    const busy = await ask(running.port, "GET /photos/summer.jpg");
    expect(busy).toMatch(/^HTTP\/1\.1 503 .*Retry-After: 1\r\n.*<Code>SlowDown</s);
    const broken = await ask(running.port, "GET /photos/summer.jpg");
    expect(broken).toMatch(/^HTTP\/1\.1 500 .*<Code>InternalError</s);
    expect(broken).not.toContain("secret");
    expect(running.log.join()).toContain("secret of the house");
  });
});

describe("a body that comes in pieces", () => {
  const bytes = Buffer.alloc(64 * 1024, "x");

  // R16.
  test("breaks the connection when it fails mid-way, or is shorter or longer than announced", async () => {
    const failing = withRead(200_000, async function* () {
      yield bytes;
      throw new Error("a shard is gone");
    });
    const short = withRead(200_000, async function* () {
      yield bytes;
    });
    const long = withRead(100_000, async function* () {
      yield bytes;
      yield bytes;
    });
    for (const objects of [failing, short, long]) {
      await using running = await startGateway(objects);
      const answer = await ask(running.port, "GET /photos/summer.jpg");
      const length = Number(/Content-Length: (\d+)/.exec(answer)?.[1]);
      expect(answer.length - answer.indexOf("\r\n\r\n") - 4).toBeLessThan(length);
      expect(running.records).toMatchObject([{ status: 200, isComplete: false }]);
      expect(running.log).toHaveLength(1);
    }
  });

  test("is read no faster than the client takes it", async () => {
    let given = 0;
    const endless = withRead(2 ** 32, async function* () {
      for (;;) {
        given += bytes.length;
        yield bytes;
      }
    });
    await using running = await startGateway(endless);
    using client = new RawClient(running.port);
    client.socket.pause();
    client.send("GET /photos/summer.jpg HTTP/1.1", "Host: localhost", "", "");
    for (let before = -1; before < given; ) {
      before = given === 0 ? -1 : given;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    // What the kernel's buffers hold, and not four gigabytes.
    expect(given).toBeLessThan(64 * 1024 * 1024);
  });

  test("stops when the client leaves, and whoever waits on the signal is told", async () => {
    const seen = Promise.withResolvers<unknown>();
    const stalling = withRead(1000, async function* ({ signal }) {
      yield Buffer.alloc(10);
      await once(signal, "abort");
      seen.resolve(signal.reason);
    });
    await using running = await startGateway(stalling);
    const client = new RawClient(running.port);
    client.send("GET /photos/summer.jpg HTTP/1.1", "Host: localhost", "", "");
    await client.until(/\r\n\r\n\0/);
    client.socket.destroy();
    expect(await seen.promise).toBeInstanceOf(Error);
    expect(running.records).toMatchObject([{ isComplete: false, operation: "GetObject" }]);
    expect(running.log).toEqual([]);
  });
});

describe("uploads", () => {
  const put = ["PUT /photos/new HTTP/1.1", "Host: localhost", "Content-Length: 4"];

  // Edge rule 28.
  test("that wait for 100 Continue get it once they are permitted, and not before", async () => {
    await using open = await startGateway(singleObject(OPEN));
    using permitted = new RawClient(open.port);
    permitted.send(...put, "Expect: 100-continue", "", "");
    expect(await permitted.until(/\r\n\r\n/)).toBe("HTTP/1.1 100 Continue\r\n\r\n");
    permitted.send("test");
    expect(await permitted.until(/200 OK.*\r\n\r\n/s)).toMatch(/100 Continue.*HTTP\/1\.1 200 OK/s);

    await using closed = await startGateway(singleObject());
    using refused = new RawClient(closed.port);
    refused.send(...put, "Expect: 100-continue", "", "");
    const answer = await refused.until(/<\/Error>/);
    expect(answer).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n.*Connection: close\r\n/s);
  });

  test("with another expectation, or an empty one, go on as if there were none", async () => {
    await using running = await startGateway(singleObject(OPEN));
    for (const expectation of ["200", ""]) {
      using client = new RawClient(running.port);
      client.send(...put, `Expect: ${expectation}`, "", "test");
      expect(await client.until(/\r\n\r\n/)).toMatch(/^HTTP\/1\.1 200 OK/);
    }
  });

  test("that are refused early still get to read why, however much they send", async () => {
    await using running = await startGateway(singleObject());
    using client = new RawClient(running.port);
    const size = 8 * 1024 * 1024;
    client.send("PUT /photos/new HTTP/1.1", "Host: localhost", `Content-Length: ${size}`, "", "");
    client.socket.write(Buffer.alloc(size));
    expect(await client.untilClosed()).toMatch(
      /^HTTP\/1\.1 403 .*Connection: close\r\n.*AccessDenied/s,
    );
  });

  test("that are refused early and are small leave the connection usable", async () => {
    await using running = await startGateway(singleObject());
    using client = new RawClient(running.port);
    client.send(...put, "", "test");
    await client.until(/<\/Error>/);
    client.received = "";
    client.send("GET /photos/summer.jpg HTTP/1.1", "Host: localhost", "", "");
    expect(await client.until(/<\/Error>/)).toMatch(/^HTTP\/1\.1 403/);
  });
});

const form = (fields: Readonly<Record<string, string>>) => {
  const parts = Object.entries(fields).map(
    ([name, value]) =>
      `--frontier\r\nContent-Disposition: form-data; name="${name}"${name === "file" ? '; filename="a.txt"' : ""}\r\n\r\n${value}\r\n`,
  );
  return `${parts.join("")}--frontier--\r\n`;
};
const post = async (port: number, body: string, ...headers: readonly string[]) => {
  using client = new RawClient(port);
  const type = "Content-Type: multipart/form-data; boundary=frontier";
  const head = ["POST /photos HTTP/1.1", "Host: localhost", type, "Connection: close"];
  client.send(...head, `Content-Length: ${body.length}`, ...headers, "", body);
  return await client.untilClosed();
};

describe("forms", () => {
  test("speak by their fields, which count as headers", async () => {
    await using running = await startGateway(singleObject(OPEN));
    const fields = { key: "${filename}", success_action_status: "201", file: "test" };
    const answer = await post(running.port, form(fields));
    expect(answer).toMatch(/^HTTP\/1\.1 201 .*<PostResponse>/s);
    const encrypted = form({ key: "a", "x-amz-server-side-encryption": "AES256", file: "test" });
    expect(await post(running.port, encrypted)).toMatch(/^HTTP\/1\.1 501 .*NotImplemented/s);
  });

  test("need permission, and their bucket", async () => {
    await using running = await startGateway(singleObject());
    const answer = await post(running.port, form({ key: "a", file: "test" }));
    expect(answer).toMatch(/^HTTP\/1\.1 403 .*AccessDenied/s);
    expect(running.records).toMatchObject([{ operation: "PostObject", caller: undefined }]);
  });

  test("are told when they are none", async () => {
    await using running = await startGateway(singleObject(OPEN));
    expect(await ask(running.port, "POST /photos", "Content-Length: 0")).toMatch(
      /^HTTP\/1\.1 4\d\d /,
    );
  });
});

describe("bad input", () => {
  const refusals: readonly (readonly [what: string, text: string, answer: RegExp])[] = [
    ["no HTTP", "hello\r\n\r\n", /^HTTP\/1\.1 400 .*<Code>BadRequest</s],
    ["a space before a colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", /^HTTP\/1\.1 400 /],
    [
      "two lengths",
      "PUT /b/k HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
      /^HTTP\/1\.1 400 /,
    ],
    [
      "a length and chunks",
      "PUT /b/k HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
      /^HTTP\/1\.1 400 /,
    ],
    [
      "a negative length",
      "PUT /b/k HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
      /^HTTP\/1\.1 400 /,
    ],
    ["a folded header", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", /^HTTP\/1\.1 400 /],
    ["no Host", "GET / HTTP/1.1\r\n\r\n", /^HTTP\/1\.1 400 .*<Code>BadRequest</s],
    [
      "a Host that is none",
      "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
      /^HTTP\/1\.1 400 .*<Code>BadRequest</s,
    ],
    ["two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", /^HTTP\/1\.1 400 /],
    [
      "a Host other than the target's",
      "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
      /^HTTP\/1\.1 400 .*<Code>BadRequest</s,
    ],
    [
      "headers over AWS's limit",
      `GET / HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(9000)}\r\n\r\n`,
      /^HTTP\/1\.1 400 .*<Code>RequestHeaderSectionTooLarge</s,
    ],
    [
      "headers over the server's limit",
      `GET / HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(20_000)}\r\n\r\n`,
      /^HTTP\/1\.1 431 .*<Code>RequestHeaderSectionTooLarge</s,
    ],
    [
      "a key that is not UTF-8",
      "GET /photos/%ff HTTP/1.1\r\nHost: a\r\n\r\n",
      /^HTTP\/1\.1 400 .*<Code>InvalidURI</s,
    ],
    [
      "a query that is not UTF-8",
      "GET /photos?prefix=%ff HTTP/1.1\r\nHost: a\r\n\r\n",
      /^HTTP\/1\.1 400 .*<Code>InvalidURI</s,
    ],
    [
      "an unknown method",
      "PATCH /photos HTTP/1.1\r\nHost: a\r\n\r\n",
      /^HTTP\/1\.1 501 .*<Code>NotImplemented</s,
    ],
  ];

  test.each(refusals)("%s gets a document", async (_, text, answer) => {
    await using running = await startGateway(singleObject(OPEN));
    using client = new RawClient(running.port);
    client.send(text);
    client.socket.end();
    const received = await client.untilClosed();
    expect(received).toMatch(answer);
    expect(received).toContain("<RequestId>");
  });

  test("a body whose client closes its side too early is incomplete", async () => {
    await using running = await startGateway(singleObject(OPEN));
    using client = new RawClient(running.port);
    client.send("PUT /photos/new HTTP/1.1", "Host: a", "Content-Length: 4", "", "te");
    client.socket.end();
    expect(await client.untilClosed()).toMatch(/^HTTP\/1\.1 400 .*<Code>IncompleteBody</s);
  });

  test("behind a whole request takes nothing from that one's answer", async () => {
    const reading = Promise.withResolvers<void>();
    const objects = withRead(10, async function* () {
      yield Buffer.alloc(5);
      await reading.promise;
      yield Buffer.alloc(5);
    });
    await using running = await startGateway(objects);
    for (const request of [
      ["PUT /photos/new HTTP/1.1", "Host: a", "Content-Length: 4", "", "testand more"],
      ["GET /photos/summer.jpg HTTP/1.1", "Host: a", "", "and more"],
    ]) {
      using client = new RawClient(running.port);
      client.send(...request);
      await client.until(/\r\n\r\n/);
      client.send(" and more");
      reading.resolve();
      const received = await client.untilClosed();
      expect(received).toMatch(
        /^HTTP\/1\.1 200 OK\r\n.*HTTP\/1\.1 400 .*<Code>BadRequest<\/Code>/s,
      );
      expect(received.match(/HTTP\/1\.1 \d+/g)).toHaveLength(2);
    }
  });

  test("many headers are all seen, none dropped", async () => {
    await using running = await startGateway(singleObject(OPEN));
    const headers = Array.from({ length: 1500 }, (_, index) => `${index.toString(36)}:`);
    const answer = await ask(
      running.port,
      "PUT /photos/a",
      ...headers,
      "x-amz-mfa: 1",
      "Content-Length: 0",
    );
    expect(answer).toMatch(/^HTTP\/1\.1 501 .*<Header>x-amz-mfa</s);
  });

  test.each([...UNOFFERED_HEADERS.keys()])("%s is 501", async (name) => {
    await using running = await startGateway(singleObject(OPEN));
    const answer = await ask(running.port, "GET /photos/summer.jpg", `${name}: word`);
    expect(answer).toMatch(/^HTTP\/1\.1 501 .*<Code>NotImplemented</s);
  });

  test("a header that asks for nothing is fine, and so is one that AWS does not know", async () => {
    await using running = await startGateway(singleObject(OPEN));
    const harmless = ["x-amz-bucket-object-lock-enabled: False", "x-amz-newfangled: 1"];
    expect(await ask(running.port, "GET /photos/summer.jpg", ...harmless)).toMatch(
      /^HTTP\/1\.1 200/,
    );
  });
});

describe("permission", () => {
  test("depends on the bucket's owner being the one expected", async () => {
    await using running = await startGateway(singleObject(OPEN));
    const get = (owner: string) =>
      ask(running.port, "GET /photos/summer.jpg", `x-amz-expected-bucket-owner: ${owner}`);
    expect(await get("a".repeat(64))).toMatch(/^HTTP\/1\.1 200/);
    expect(await get("b".repeat(64))).toMatch(/^HTTP\/1\.1 403 .*<Code>AccessDenied</s);
  });

  test("is asked for by configuration too, once the bucket is known to be there", async () => {
    await using running = await startGateway(singleObject(OPEN));
    expect(await ask(running.port, "GET /photos?policy")).toMatch(/^HTTP\/1\.1 403/);
    expect(await ask(running.port, "GET /nowhere?policy")).toMatch(
      /^HTTP\/1\.1 404 .*NoSuchBucket/s,
    );
    expect(await ask(running.port, "PUT /photos?policy", "Content-Length: 0")).toMatch(
      /^HTTP\/1\.1 403/,
    );
  });
});

describe("browsers", () => {
  const objects = singleObject({ bucket: { ...OPEN.bucket, cors: [RULE] } });

  // Edge rule 27.
  test("get CORS headers on every answer, also on those that refuse", async () => {
    await using running = await startGateway(objects);
    const origin = "Origin: https://a.example";
    for (const line of ["GET /photos/absent", "GET /photos?uploads&location", "GET /photos"]) {
      const answer = await ask(running.port, line, origin);
      expect(answer).toContain("Access-Control-Allow-Origin: https://a.example\r\n");
      expect(answer).toContain("Vary: Origin, ");
    }
    const stranger = await ask(running.port, "GET /photos", "Origin: https://b.example");
    expect(stranger).not.toContain("Access-Control-Allow");
    expect(stranger).toContain("Vary: Origin, ");
  });

  test("may ask before they send, without credentials", async () => {
    await using running = await startGateway(objects);
    const asked = ["Origin: https://a.example", "Access-Control-Request-Method: GET"];
    const granted = await ask(running.port, "OPTIONS /photos/x", ...asked);
    expect(granted).toMatch(/^HTTP\/1\.1 200 .*Access-Control-Allow-Methods: GET\r\n/s);
    expect(await ask(running.port, "OPTIONS /photos/x")).toMatch(/^HTTP\/1\.1 400 .*BadRequest/s);
    const other = await ask(running.port, "OPTIONS /photos/x", ...asked.with(0, "Origin: b"));
    expect(other).toMatch(/^HTTP\/1\.1 403 .*<Code>AccessForbidden</s);
    expect(await ask(running.port, "OPTIONS /nowhere", ...asked)).toMatch(/^HTTP\/1\.1 404/);
    expect(await ask(running.port, "OPTIONS /", ...asked)).toMatch(/^HTTP\/1\.1 403/);
  });
});

describe("the server", () => {
  test("answers MinIO's health paths", async () => {
    await using running = await startGateway(singleObject());
    expect(await ask(running.port, "GET /minio/health/live")).toMatch(/^HTTP\/1\.1 200/);
    expect(await ask(running.port, "HEAD /minio/health/cluster?x")).toMatch(/^HTTP\/1\.1 200/);
    running.isReady = false;
    expect(await ask(running.port, "GET /minio/health/ready")).toMatch(/^HTTP\/1\.1 503/);
    expect(await ask(running.port, "GET /minio/health/live")).toMatch(/^HTTP\/1\.1 200/);
  });

  test("answers requests in the order in which an impatient client sent them", async () => {
    await using running = await startGateway(singleObject(OPEN));
    using client = new RawClient(running.port);
    const keys = ["summer.jpg", "absent", "summer.jpg"];
    for (const key of keys) client.send(`HEAD /photos/${key} HTTP/1.1`, "Host: localhost", "", "");
    const answers = await client.until(/(?:HTTP.*?\r\n\r\n){3}/s);
    expect(answers.match(/HTTP\/1\.1 \d+/g)).toEqual([
      "HTTP/1.1 200",
      "HTTP/1.1 404",
      "HTTP/1.1 200",
    ]);
    expect(running.gateway.inFlight).toBe(0);
  });

  test("serves buckets as sub-domains", async () => {
    await using running = await startGateway(singleObject(OPEN), { domains: ["S3.example.com"] });
    for (const host of ["photos.s3.EXAMPLE.com:9000", "photos.localhost"]) {
      using client = new RawClient(running.port);
      client.send("GET /summer.jpg HTTP/1.1", `Host: ${host}`, "", "");
      expect(await client.until(/\r\n\r\n/)).toMatch(/^HTTP\/1\.1 200/);
    }
  });

  test("records every request once, with what became of it", async () => {
    await using running = await startGateway(singleObject(OPEN));
    await ask(running.port, "GET /photos/summer.jpg", "User-Agent: tester");
    await ask(running.port, "GET /nowhere");
    await ask(running.port, "GET /photos/%ff");
    expect(running.records).toMatchObject([
      {
        operation: "GetObject",
        bucket: "photos",
        key: "summer.jpg",
        status: 200,
        bytesOut: 10,
        userAgent: "tester",
        errorCode: undefined,
        isComplete: true,
        remote: "127.0.0.1",
      },
      { operation: "ListObjects", bucket: "nowhere", status: 404, errorCode: "NoSuchBucket" },
      { operation: undefined, status: 400, errorCode: "InvalidURI" },
    ]);
    expect(new Set(running.records.map(({ requestId }) => requestId)).size).toBe(3);
  });

  test("gives up on a client that falls silent, but not while it is our turn", async () => {
    const slow = withFind(async (request) => {
      await new Promise((resolve) => setTimeout(resolve, 300));
      return singleObject(OPEN).find(request);
    });
    await using running = await startGateway(slow, {}, { idleMs: 60 });
    using patient = new RawClient(running.port);
    patient.send("GET /photos/summer.jpg HTTP/1.1", "Host: localhost", "", "");
    expect(await patient.until(/\r\n\r\n\0+/)).toMatch(/^HTTP\/1\.1 200/);

    using silent = new RawClient(running.port);
    silent.send("PUT /photos/new HTTP/1.1", "Host: localhost", "Content-Length: 4", "", "te");
    expect(await silent.untilClosed()).toMatch(/^HTTP\/1\.1 400 .*<Code>RequestTimeout</s);
    expect(running.records.at(-1)).toMatchObject({ errorCode: "RequestTimeout" });
  });

  test("drains: finishes what is under way, says that it closes, and takes nothing new", async () => {
    const gate = Promise.withResolvers<void>();
    const slow = withFind(async (request) => {
      await gate.promise;
      return singleObject(OPEN).find(request);
    });
    await using running = await startGateway(slow);
    using idle = new RawClient(running.port);
    using busy = new RawClient(running.port);
    busy.send("GET /photos/summer.jpg HTTP/1.1", "Host: localhost", "", "");
    while (running.gateway.inFlight === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    const drained = running.gateway.drain(AbortSignal.timeout(5000));
    await idle.untilClosed();
    using late = new RawClient(running.port);
    expect(await late.untilClosed()).toBe("");
    gate.resolve();
    expect(await busy.untilClosed()).toMatch(/^HTTP\/1\.1 200 .*Connection: close\r\n/s);
    await drained;
    expect(running.gateway.inFlight).toBe(0);
  });
});
