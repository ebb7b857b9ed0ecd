import { createServer, type Http2Server, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { UnaryConnection } from "#metadata/etcd-unary.ts";

const CALL = { path: "/etcdserverpb.KV/Range", request: Buffer.from("question"), answerMs: 2000 };

let server: Http2Server;
let unary: UnaryConnection;
let sessions: number;
let answer: (stream: ServerHttp2Stream) => void;

beforeEach(async () => {
  sessions = 0;
  server = createServer();
  server.on("session", () => {
    sessions += 1;
  });
  server.on("stream", (stream) => answer(stream as ServerHttp2Stream));
  await new Promise<void>((settle) => server.listen(0, "127.0.0.1", settle));
  const { port } = server.address() as AddressInfo;
  const endpoint = `http://127.0.0.1:${port}`;
  unary = new UnaryConnection({ endpoint, windowBytes: 65_536, answerBytesMax: 1000 });
  await unary.ready(2000);
});

afterEach(() => {
  unary.close();
  server.close();
});

test("an answer in pieces comes whole", async () => {
  answer = (stream) => {
    respond(stream, "0");
    const bytes = frame(Buffer.from("the answer"));
    stream.write(bytes.subarray(0, 3));
    setImmediate(() => stream.end(bytes.subarray(3)));
  };
  expect((await unary.call(CALL)).toString()).toBe("the answer");
});

test("a refusal has etcd's code and words, with an answer's head or without", async () => {
  const headers = { "grpc-status": "11", "grpc-message": "etcdserver: %C3%BCber" };
  answer = (stream) => stream.respond({ ":status": 200, ...headers }, { endStream: true });
  await expect(unary.call(CALL)).rejects.toMatchObject({ code: 11, details: "etcdserver: über" });
  answer = (stream) => {
    respond(stream, "9");
    stream.end();
  };
  await expect(unary.call(CALL)).rejects.toMatchObject({ code: 9 });
});

test("a call whose connection is lost may have been done", async () => {
  answer = (stream) => stream.session?.destroy();
  await expect(unary.call(CALL)).rejects.toMatchObject({ code: 14 });
  await expect(unary.call(CALL)).rejects.toMatchObject({ kind: "unsent" });
  answer = (stream) => {
    respond(stream, "0");
    stream.end(frame(Buffer.from("again")));
  };
  await unary.ready(2000);
  expect((await unary.call(CALL)).toString()).toBe("again");
});

test("half an answer with a good status is none", async () => {
  answer = (stream) => {
    respond(stream, "0");
    stream.end(frame(Buffer.from("the answer")).subarray(0, 9));
  };
  await expect(unary.call(CALL)).rejects.toMatchObject({ code: 13 });
});

test("an answer larger than is taken ends its call", async () => {
  answer = (stream) => {
    stream.on("error", () => undefined);
    respond(stream, "0");
    stream.end(frame(Buffer.alloc(2000)));
  };
  await expect(unary.call(CALL)).rejects.toMatchObject({ code: 8 });
});

test("a connection on which no answer came in time is not used again", async () => {
  answer = (stream) => stream.on("error", () => undefined);
  await expect(unary.call({ ...CALL, answerMs: 20 })).rejects.toMatchObject({ code: 4 });
  expect(unary.isReady).toBe(false);
  await unary.ready(2000);
  expect(sessions).toBe(2);
});

test("what cannot be connected to was not asked", async () => {
  const nobody = new UnaryConnection({
    endpoint: "http://127.0.0.1:1",
    windowBytes: 65_536,
    answerBytesMax: 1000,
  });
  await expect(nobody.ready(2000)).rejects.toMatchObject({ kind: "unsent" });
});

function respond(stream: ServerHttp2Stream, status: string): void {
  stream.respond({ ":status": 200 }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": status }));
}

function frame(message: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}
