import type { ServerHttp2Stream } from "node:http2";
import { promisify } from "node:util";
import { Client, credentials, Server, ServerCredentials } from "@grpc/grpc-js";
import { expect, test, vi } from "vitest";
import { cut, WINDOW_BYTES, widenConnection, widenStreams } from "#shards/http2-windows.ts";
import { SHARDS_SERVICE } from "#shards/service.ts";

const asIs = (message: Buffer) => message;

test("a server's windows are as wide as we want them, and a call can be cut: grpc-js is still the one that we know", async () => {
  const server = new Server();
  widenStreams(server);
  const opened = Promise.withResolvers<{ call: { stream: ServerHttp2Stream } }>();
  server.addService(SHARDS_SERVICE, { exchange: opened.resolve as never });
  const bind = promisify(server.bindAsync.bind(server));
  const port = await bind("127.0.0.1:0", ServerCredentials.createInsecure());
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  const call = client.makeBidiStreamRequest(SHARDS_SERVICE.exchange.path, asIs, asIs);
  const ended = Promise.withResolvers<Error>();
  call.on("error", ended.resolve);
  const served = await opened.promise;
  widenConnection(served);
  widenConnection(served);
  const { session } = served.call.stream;
  expect(session?.state.effectiveLocalWindowSize).toBe(WINDOW_BYTES);
  // Settings count once the peer has said that it knows them.
  await vi.waitFor(() => expect(session?.localSettings.initialWindowSize).toBe(WINDOW_BYTES));
  cut(served);
  expect(await ended.promise).toBeInstanceOf(Error);
  client.close();
  server.forceShutdown();
});
