/** `anybucket probe` against stores that work, and that do not. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { ListBucketsCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runProbe } from "#probe.ts";
import { ONE_WORKER } from "./everything.ts";
import { startServer, type TestServer } from "./server.ts";

let server: TestServer;

beforeAll(async () => {
  server = await startServer({ env: ONE_WORKER });
});
afterAll(() => server.stop());

async function probe(
  url: string,
  environment: Record<string, string> = {},
): Promise<{ exitCode: number; lines: readonly string[] }> {
  const lines: string[] = [];
  const exitCode = await runProbe({
    argv: [url],
    environment: {
      ANYBUCKET_ACCESS_KEY: server.accessKey,
      ANYBUCKET_SECRET_KEY: server.secretKey,
      ...environment,
    },
    say: (line) => lines.push(line),
  });
  return { exitCode, lines };
}

async function listening(store: Server): Promise<string> {
  await new Promise<void>((settle) => store.listen(0, "127.0.0.1", settle));
  return `http://127.0.0.1:${(store.address() as AddressInfo).port}`;
}

describe("anybucket probe", () => {
  test("passes where an object is put, read and removed, and leaves nothing", async () => {
    const { exitCode, lines } = await probe(server.endpoint);
    expect(lines.at(-1)).toBe("bucket removed");
    expect(exitCode).toBe(0);
    expect((await server.client().send(new ListBucketsCommand({}))).Buckets ?? []).toEqual([]);
  });

  test("fails with a wrong secret, and names the store's answer", async () => {
    const { exitCode, lines } = await probe(server.endpoint, {
      ANYBUCKET_SECRET_KEY: "wrong-secret",
    });
    expect(lines).toEqual([
      expect.stringMatching(/^anybucket: Cannot PUT .*: 403 SignatureDoesNotMatch instead of 200$/),
    ]);
    expect(exitCode).toBe(1);
  });

  test("fails where other bytes are read than were put", async () => {
    const store = createServer((request, response) => {
      request.resume().on("end", () => response.end(request.method === "GET" ? "other bytes" : ""));
    });
    const { exitCode, lines } = await probe(await listening(store));
    store.close();
    expect(lines.at(-1)).toMatch(/^anybucket: Cannot trust .*: it was read with other bytes$/);
    expect(exitCode).toBe(1);
  });

  test("fails where nobody listens", async () => {
    const store = createServer();
    const url = await listening(store);
    await new Promise((closed) => store.close(closed));
    expect(await probe(url)).toEqual({
      exitCode: 1,
      lines: [expect.stringContaining("ECONNREFUSED")],
    });
  });

  test.each([
    ["without keys", "http://127.0.0.1:9000", { ANYBUCKET_SECRET_KEY: "" }],
    ["without an address", "store", {}],
  ])("%s says what to give it", async (_, url, environment) => {
    const { exitCode, lines } = await probe(url, environment);
    expect(exitCode).toBe(2);
    expect(lines[0]).toMatch(
      /^anybucket: (set ANYBUCKET_ACCESS_KEY|give probe the store's address)/,
    );
  });
});
