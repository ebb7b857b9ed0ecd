/**
 * One address in front of several gateways that gives each request to the next of them, also within one connection: whatever a
 * gateway would answer from a state of its own shows. Bytes go on as they came, malformed ones too, and a connection ends as it ended there.
 */
import { readFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import * as tls from "node:tls";

/** How a request begins; that what a client sends begins so by chance, in the middle of a body, is no worry of tests. */
const REQUEST_LINE = /^[A-Z]{3,10} \S+ HTTP\/1\.[01]\r\n/;
const REQUEST_LINE_MAX = 16 * 1024;
/** An answer that leaves the request under way. */
const CONTINUE = Buffer.from("HTTP/1.1 100 Continue\r\n\r\n");

export interface Alternating extends AsyncDisposable {
  readonly port: number;
}

export async function alternate(
  ports: readonly number[],
  certificate?: { readonly cert: string; readonly key: string },
): Promise<Alternating> {
  const open = new Set<Socket>();
  let next = 0;
  const onConnection = (client: Socket) => {
    open.add(client);
    client.once("close", () => open.delete(client));
    join(client, () => {
      const port = ports[next++ % ports.length] ?? 0;
      const to = { port, host: "127.0.0.1", allowHalfOpen: true };
      // The certificate is the test's own; that it can be verified is the clients' to see.
      return certificate ? tls.connect({ ...to, rejectUnauthorized: false }) : connect(to);
    });
  };
  const server: Server = certificate
    ? tls.createServer(
        {
          cert: readFileSync(certificate.cert),
          key: readFileSync(certificate.key),
          allowHalfOpen: true,
        },
        onConnection,
      )
    : createServer({ allowHalfOpen: true }, onConnection);
  await new Promise<void>((settle) => server.listen(0, "127.0.0.1", settle));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    [Symbol.asyncDispose]: async () => {
      const closed = new Promise((settle) => server.close(settle));
      for (const client of open) client.destroy();
      await closed;
    },
  };
}

/** Serves one connection: `open` opens one to the gateway whose turn it is. */
function join(client: Socket, open: () => Socket): void {
  const gateways = new Set<Socket>();
  let current: Socket | undefined;
  let isAnswered = false;

  const turn = (): Socket => {
    const gateway = open();
    gateways.add(gateway);
    isAnswered = false;
    gateway.setNoDelay(true);
    gateway.on("data", (bytes: Buffer) => {
      isAnswered ||= !bytes.equals(CONTINUE);
      if (!client.write(bytes)) gateway.pause();
    });
    gateway.on("drain", () => client.resume());
    // Only the one that was asked last has anything to say of the connection; others end theirs when nothing comes any more.
    gateway.on("end", () => gateway === current && client.end());
    gateway.on("error", () => gateway === current && client.destroy());
    gateway.on("close", () => {
      gateways.delete(gateway);
      if (gateway === current && !client.writableEnded) client.destroy();
    });
    return gateway;
  };

  client.setNoDelay(true);
  client.on("data", (bytes: Buffer) => {
    const before = current;
    if (current === undefined || (isAnswered && beginsRequest(bytes))) current = turn();
    if (before !== current) before?.end();
    if (!current?.write(bytes)) client.pause();
  });
  client.on("drain", () => current?.resume());
  client.on("end", () => (current ? current.end() : client.end()));
  client.on("error", () => undefined);
  client.on("close", () => {
    for (const gateway of gateways) gateway.destroy();
  });
}

function beginsRequest(bytes: Buffer): boolean {
  return REQUEST_LINE.test(bytes.toString("latin1", 0, REQUEST_LINE_MAX));
}
