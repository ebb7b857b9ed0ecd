import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { askHealth } from "#health.ts";

let server: Server;
let port: number;
let isReady = true;

beforeAll(async () => {
  server = createServer(({ url }, response) => {
    const known = url === "/livez" || url === "/readyz";
    response.statusCode = !known ? 404 : url === "/readyz" && !isReady ? 503 : 200;
    response.end(`answer of ${url}\n`);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  ({ port } = server.address() as AddressInfo);
});
afterAll(() => server.close());

describe("anybucket health", () => {
  test.each([
    [[], "/readyz"],
    [["ready"], "/readyz"],
    [["live"], "/livez"],
  ])("%j asks %s", async (words, path) => {
    const answer = await askHealth(words, { ANYBUCKET_ADMIN_ADDRESS: `127.0.0.1:${port}` });
    expect(answer).toEqual({ text: `answer of ${path}\n`, exitCode: 0 });
  });

  test.each([":PORT", "0.0.0.0:PORT"])(
    "asks here when the server listens at %s",
    async (address) => {
      const environment = { ANYBUCKET_ADMIN_ADDRESS: address.replace("PORT", String(port)) };
      expect((await askHealth(["live"], environment)).exitCode).toBe(0);
    },
  );

  test("fails while the process is not ready, and not when it is asked whether it lives", async () => {
    isReady = false;
    const environment = { ANYBUCKET_ADMIN_ADDRESS: `127.0.0.1:${port}` };
    expect((await askHealth(["ready"], environment)).exitCode).toBe(1);
    expect((await askHealth(["live"], environment)).exitCode).toBe(0);
    isReady = true;
  });

  test("fails, and says why, where nobody answers", async () => {
    const address = `127.0.0.1:${await freePort()}`;
    const { text, exitCode } = await askHealth([], { ANYBUCKET_ADMIN_ADDRESS: address });
    expect(exitCode).toBe(1);
    expect(text).toContain(`anybucket: Cannot ask http://${address}/readyz: connect ECONNREFUSED`);
  });

  test("works with the settings of any role", async () => {
    const environment = {
      ANYBUCKET_ADMIN_ADDRESS: `127.0.0.1:${port}`,
      ANYBUCKET_ETCD: "etcd:2379",
    };
    expect((await askHealth([], environment)).exitCode).toBe(0);
  });

  test("refuses other words", async () => {
    expect(await askHealth(["well"], {})).toEqual({
      text: "anybucket: give health one word, live or ready\n",
      exitCode: 2,
    });
  });
});

async function freePort(): Promise<number> {
  const other = createServer();
  await new Promise<void>((listening) => other.listen(0, "127.0.0.1", listening));
  const { port: free } = other.address() as AddressInfo;
  await new Promise((closed) => other.close(closed));
  return free;
}
