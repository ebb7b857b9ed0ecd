/** What the recording client makes of answers, right and doctored ones: the checker sees nothing else. */
import { hash } from "node:crypto";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { LoadClient } from "../bench/load.ts";
import { History } from "../support/history.ts";
import { Client } from "./client.ts";
import { Contents } from "./contents.ts";

type Reply = (response: ServerResponse) => void;

const target = { gateway: "gateway1", bucket: "bucket", key: "key" };
let reply: Reply;
const server = createServer((request, response) => {
  request.resume().on("end", () => reply(response));
});
let link: LoadClient;
let contents: Contents;
let client: Client;

beforeAll(async () => {
  await new Promise<void>((settle) => server.listen(0, "127.0.0.1", settle));
  const { port } = server.address() as AddressInfo;
  const endpoint = new URL(`http://127.0.0.1:${port}`);
  link = new LoadClient({ endpoint, accessKey: "a", secretKey: "b", region: "us-east-1" }, 1);
});

beforeEach(() => {
  contents = new Contents();
  client = new Client("client1", {
    history: new History(),
    contents,
    links: new Map([["gateway1", link]]),
    counts: new Map(),
  });
});

afterAll(() => {
  link.close();
  server.close();
});

function answering(status: number, body: string | Buffer = "", etag = ""): Reply {
  return (response) => {
    response.writeHead(status, etag === "" ? {} : { etag: `"${etag}"` }).end(body);
  };
}

function listing(etag: string): string {
  return `<Contents><Key>key</Key><ETag>&quot;${etag}&quot;</ETag></Contents><IsTruncated>false</IsTruncated>`;
}

test("bytes that were written are seen, and a bit that flipped is wrong", async () => {
  const content = contents.make(5000);
  const bytes = contents.bytes(content);
  expect(hash("md5", bytes)).toBe(content.etag);
  reply = answering(200, bytes, content.etag);
  expect(await client.read(target)).toMatchObject({ kind: "seen", value: content.name });
  bytes[4321] = (bytes[4321] ?? 0) ^ 4;
  expect(await client.read(target)).toMatchObject({ kind: "wrong" });
});

test("a clean answer that is too short is wrong, a broken connection is not known", async () => {
  const content = contents.make(5000);
  const half = contents.bytes(content).subarray(0, 2500);
  reply = answering(200, half, content.etag);
  expect(await client.read(target)).toMatchObject({ kind: "wrong" });
  reply = (response) => {
    response.writeHead(200, { etag: content.etag, "content-length": "5000" });
    response.write(half, () => response.destroy());
  };
  expect(await client.read(target)).toEqual({ kind: "unknown" });
});

test("bytes of another content are wrong under this one's ETag, and an ETag that nobody wrote", async () => {
  const [one, other] = [contents.make(2000), contents.make(2000)];
  reply = answering(200, contents.bytes(other), one.etag);
  expect(await client.read(target)).toMatchObject({ kind: "wrong" });
  reply = answering(200, contents.bytes(one), "0".repeat(32));
  expect(await client.read(target)).toMatchObject({ kind: "wrong" });
});

test("only a missing object is absent: a missing bucket, or a refused signature, is wrong", async () => {
  reply = answering(404, "<Error><Code>NoSuchKey</Code></Error>");
  expect(await client.read(target)).toEqual({ kind: "absent" });
  for (const [status, code] of [
    [404, "NoSuchBucket"],
    [403, "SignatureDoesNotMatch"],
  ] as const) {
    reply = answering(status, `<Error><Code>${code}</Code></Error>`);
    expect(await client.read(target)).toMatchObject({ kind: "wrong" });
  }
});

test("a fault of the server leaves a write unknown, a condition that does not hold refuses it", async () => {
  const content = contents.make(100);
  for (const status of [500, 503]) {
    reply = answering(status);
    expect(await client.put(target, content)).toEqual({ kind: "unknown" });
  }
  reply = answering(412, "<Error><Code>PreconditionFailed</Code></Error>");
  expect(await client.put(target, content, { kind: "if-none-match" })).toEqual({ kind: "refused" });
  expect(await client.put(target, content)).toMatchObject({ kind: "wrong" });
});

test("a listed ETag that nobody wrote is wrong", async () => {
  const content = contents.make(100);
  const history = new History();
  client = new Client("client1", {
    history,
    contents,
    links: new Map([["gateway1", link]]),
    counts: new Map(),
  });
  for (const etag of [content.etag, "0".repeat(32)]) {
    reply = answering(200, listing(etag));
    await client.list(target, { after: "", limit: 10 });
  }
  expect(history.operations.map(({ answer }) => answer)).toMatchObject([
    { kind: "listed", found: [["key", content.name]] },
    { kind: "wrong" },
  ]);
});
