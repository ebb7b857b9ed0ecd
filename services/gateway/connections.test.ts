/** What the supervising process asks of a gateway's connections. */
import { expect, test } from "vitest";
import { RawClient, startGateway } from "#gateway/testing/raw-client.ts";
import { singleObject } from "#gateway/testing/single-object.ts";

const HEAD = ["GET /nowhere HTTP/1.1", "Host: localhost", "", ""] as const;
const ANSWER = /<\/Error>/;

test("so many connections as are to be given up are closed with their next answers, no more", async () => {
  await using running = await startGateway(singleObject());
  using first = new RawClient(running.port);
  using second = new RawClient(running.port);
  for (const client of [first, second]) {
    client.send(...HEAD);
    expect(await client.until(ANSWER)).not.toContain("Connection: close");
  }
  expect(running.gateway.connections).toBe(2);
  running.gateway.shed(1);
  first.send(...HEAD);
  expect(await first.untilClosed()).toMatch(/Connection: close\r\n[^]*<\/Error>$/);
  second.send(...HEAD);
  expect(await second.until(ANSWER)).not.toContain("Connection: close");
  expect(running.gateway.connections).toBe(1);
});

test("with fewer connections than are to be given up, those that come later are kept", async () => {
  await using running = await startGateway(singleObject());
  running.gateway.shed(5);
  using client = new RawClient(running.port);
  client.send(...HEAD);
  expect(await client.until(ANSWER)).not.toContain("Connection: close");
});
