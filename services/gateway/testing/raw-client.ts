/** A gateway on a port of its own, and a client that sends exactly the bytes it is told to. */
import { createServer } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { SERVER_OPTIONS } from "#gateway/connections.ts";
import type { GatewaySettings, Parts } from "#gateway/context.ts";
import type { RequestRecord } from "#gateway/exchange.ts";
import { Gateway, type GatewayOptions } from "#gateway/server.ts";
import { ALICE } from "#gateway/testing/requests.ts";
import { systemClock } from "#lib/clock.ts";
import { systemRandom } from "#lib/random.ts";
import type { ObjectLayer } from "#objects/object-layer.ts";

export interface RunningGateway extends AsyncDisposable {
  readonly gateway: Gateway;
  readonly port: number;
  readonly records: readonly RequestRecord[];
  /** What was logged, as text. */
  readonly log: readonly string[];
  isReady: boolean;
}

export async function startGateway(
  objects: ObjectLayer,
  settings: Partial<GatewaySettings> = {},
  { room, ...options }: Pick<GatewayOptions, "idleMs"> & Pick<Parts, "room"> = {},
): Promise<RunningGateway> {
  const records: RequestRecord[] = [];
  const log: string[] = [];
  const write = (fields: unknown, text: string) => {
    log.push(`${text}: ${String((fields as { err?: unknown }).err)}`);
  };
  const gateway = new Gateway(
    {
      objects,
      users: {
        byAccessKey: (key) => (key === ALICE.accessKey ? ALICE : undefined),
        byOwnerId: (id) => (id === ALICE.ownerId ? ALICE : undefined),
      },
      settings: {
        region: undefined,
        defaultOwnership: "ObjectWriter",
        domains: [],
        legacySignatures: false,
        ...settings,
      },
      clock: systemClock,
      random: systemRandom,
      room,
    },
    {
      log: { error: write, warn: write },
      onRequest: (record) => records.push(record),
      isReady: () => running.isReady,
      ...options,
    },
  );
  const server = createServer(SERVER_OPTIONS);
  gateway.attach(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const running: RunningGateway = {
    gateway,
    port,
    records,
    log,
    isReady: true,
    [Symbol.asyncDispose]: () => gateway.drain(AbortSignal.abort()),
  };
  return running;
}

export class RawClient implements Disposable {
  readonly socket: Socket;
  received = "";
  isClosed = false;
  #wake: (() => void) | undefined;

  constructor(port: number) {
    this.socket = connect({ port, host: "127.0.0.1", noDelay: true });
    this.socket.setEncoding("latin1");
    this.socket.on("data", (piece: string) => {
      this.received += piece;
      this.#wake?.();
    });
    this.socket.on("error", () => undefined);
    this.socket.on("close", () => {
      this.isClosed = true;
      this.#wake?.();
    });
  }

  /** Lines are joined by CRLF; a head ends in two empty ones. */
  send(...lines: readonly string[]): void {
    this.socket.write(lines.join("\r\n"), "latin1");
  }

  /** What has come once it fits, or all that came before the connection closed. */
  async until(isEnough: RegExp): Promise<string> {
    while (!isEnough.test(this.received) && !this.isClosed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.received;
  }

  /** All that comes before the other side closes. */
  untilClosed(): Promise<string> {
    return this.until(/(?!)/);
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

/** One request on a connection of its own, and the whole answer. */
export async function ask(
  port: number,
  line: string,
  ...headers: readonly string[]
): Promise<string> {
  using client = new RawClient(port);
  client.send(`${line} HTTP/1.1`, "Host: localhost", "Connection: close", ...headers, "", "");
  return await client.untilClosed();
}
