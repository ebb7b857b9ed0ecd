import type { Worker } from "node:cluster";
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Doorman } from "#local/doorman.ts";
import type { ToWorker } from "#local/messages.ts";

/** A worker as the supervising process sees it: what it was told, and the connections that came with it. */
class FakeWorker {
  readonly told: ToWorker[] = [];
  readonly sockets: Socket[] = [];
  readonly process = {
    connected: true,
    send: (message: ToWorker, socket?: Socket) => {
      this.told.push(message);
      if (socket !== undefined) this.sockets.push(socket);
    },
  };
  readonly worker = { process: this.process } as unknown as Worker;
}

let port: number;
let doorman: Doorman;
/** Processors that have nothing to do. */
let idle: number;
const clients: Socket[] = [];

beforeEach(async () => {
  const probe: Server = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  port = (probe.address() as { port: number }).port;
  probe.close();
  await once(probe, "close");
  idle = 1;
  doorman = new Doorman({
    address: `127.0.0.1:${port}`,
    spread: "even",
    idleProcessors: { sinceLast: () => idle },
  });
  await doorman.listen();
});

afterEach(() => {
  doorman.close();
  for (const client of clients.splice(0)) client.destroy();
});

async function arrive(): Promise<Socket> {
  const client = connect(port, "127.0.0.1");
  client.on("error", () => undefined);
  clients.push(client);
  await once(client, "connect");
  return client;
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise(setImmediate);
}

test("what arrives before any process serves is handed to the first that does", async () => {
  await arrive();
  await arrive();
  const first = new FakeWorker();
  doorman.open(first.worker);
  await until(() => first.sockets.length === 2);
  expect(first.told).toEqual([{ kind: "connection" }, { kind: "connection" }]);
});

test("connections under way to a process that ends are closed, so that their clients try again", async () => {
  const only = new FakeWorker();
  doorman.open(only.worker);
  const client = await arrive();
  await until(() => only.sockets.length === 1);
  const closed = once(client.resume(), "close");
  doorman.shut(only.worker);
  expect(await closed).toEqual([expect.any(Boolean)]);
});

test("our hold of a connection ends when its process has it", async () => {
  const only = new FakeWorker();
  doorman.open(only.worker);
  await arrive();
  await arrive();
  await until(() => only.sockets.length === 2);
  doorman.taken(only.worker);
  expect(only.sockets.map(({ destroyed }) => destroyed)).toEqual([true, false]);
});

test("a process that was too busy five times in a row is told to give connections up", () => {
  const busy = new FakeWorker();
  const other = new FakeWorker();
  doorman.open(busy.worker);
  doorman.open(other.worker);
  doorman.report(other.worker, { connections: 2, busy: 0.1 });
  const report = () => doorman.report(busy.worker, { connections: 12, busy: 0.99 });
  for (let round = 0; round < 4; round++) report();
  expect(busy.told).toEqual([]);
  report();
  expect(busy.told).toEqual([{ kind: "shed", connections: 5 }]);
  expect(other.told).toEqual([]);
});

test("a process that was too busy four times, and then not, keeps its connections", () => {
  const busy = new FakeWorker();
  doorman.open(busy.worker);
  doorman.open(new FakeWorker().worker);
  for (const share of [0.99, 0.99, 0.99, 0.99, 0.5, 0.99]) {
    doorman.report(busy.worker, { connections: 12, busy: share });
  }
  expect(busy.told).toEqual([]);
});

test("a process that is too busy keeps its connections while no processor is idle", () => {
  const busy = new FakeWorker();
  doorman.open(busy.worker);
  doorman.open(new FakeWorker().worker);
  const report = () => doorman.report(busy.worker, { connections: 12, busy: 0.99 });
  idle = 0.1;
  for (let round = 0; round < 10; round++) report();
  expect(busy.told).toEqual([]);
  idle = 1;
  for (let round = 0; round < 5; round++) report();
  expect(busy.told).toEqual([{ kind: "shed", connections: 6 }]);
});
