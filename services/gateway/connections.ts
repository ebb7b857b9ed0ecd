/** The connections below the exchanges: limits and time-outs, input that is not HTTP, and a quiet end. */
import type { IncomingMessage, Server, ServerOptions, ServerResponse } from "node:http";
import type { Server as SecureServer } from "node:https";
import type { Socket } from "node:net";
import { S3Error } from "#gateway/errors.ts";
import type { Exchange } from "#gateway/exchange.ts";
import { errorResponse } from "#gateway/respond.ts";
import { XML_DECLARATION } from "#gateway/xml.ts";

export type HttpServer = Server | SecureServer;

/** For every server that speaks S3. */
export const SERVER_OPTIONS: ServerOptions = {
  maxHeaderSize: 16 * 1024,
  headersTimeout: 60_000,
  // Uploads may take hours; what must not last is silence (`idleMs`).
  requestTimeout: 0,
  // None of its own: a timer set and reset with every request costs more than it brings. `idleMs` holds between requests too, and
  // is longer than the minute after which common proxies let go, so that it is they who close.
  keepAliveTimeout: 0,
  // Ours to answer, with a document.
  requireHostHeader: false,
};

export interface ConnectionOptions {
  /** For answers below HTTP. */
  readonly hostId: string;
  readonly newId: () => string;
  /** Silence after which a connection is given up on, while it is the client's turn. */
  readonly idleMs: number;
}

export class Connections {
  readonly #servers: HttpServer[] = [];
  readonly #current = new WeakMap<Socket, Exchange>();
  readonly #heldBack = new WeakSet<IncomingMessage>();
  /** Whose last request has been read, and what follows it is no HTTP. */
  readonly #refusedNext = new WeakSet<Socket>();
  readonly #options: ConnectionOptions;
  #inFlight = 0;
  #open = 0;
  #toShed = 0;
  #isDraining = false;
  #onIdle: (() => void) | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** Those that are open. */
  get count(): number {
    return this.#open;
  }

  shed(connections: number): void {
    this.#toShed = Math.min(connections, this.#open);
  }

  /** Whether the answer about to be sent is its connection's last. */
  isToClose(): boolean {
    if (this.#isDraining) return true;
    if (this.#toShed === 0) return false;
    this.#toShed -= 1;
    return true;
  }

  attach(
    server: HttpServer,
    listener: (incoming: IncomingMessage, outgoing: ServerResponse) => unknown,
  ): void {
    this.#servers.push(server);
    // Headers are bounded in bytes. A bound in number would drop the rest silently, and with it what was signed.
    server.maxHeadersCount = 0;
    server.setTimeout(this.#options.idleMs);
    server.on("request", listener);
    server.on("connection", (socket: Socket) => {
      this.#open += 1;
      socket.once("close", () => {
        this.#open -= 1;
      });
    });
    server.on("checkContinue", (incoming, outgoing) => {
      this.#heldBack.add(incoming);
      listener(incoming, outgoing);
    });
    // Other expectations are ignored, as on AWS.
    server.on("checkExpectation", listener);
    server.on("timeout", (socket) => this.#timeOut(socket));
    server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
      this.#refuseMalformed(error, socket as Socket);
    });
  }

  /** The client sent `Expect: 100-continue`. */
  holdsBodyBack(incoming: IncomingMessage): boolean {
    return this.#heldBack.has(incoming);
  }

  enter(exchange: Exchange): void {
    this.#inFlight++;
    this.#current.set(exchange.incoming.socket, exchange);
  }

  leave(exchange: Exchange): void {
    const { socket } = exchange.incoming;
    this.#inFlight--;
    // A client that does not wait for answers may have the next request under way already.
    if (this.#current.get(socket) === exchange) this.#current.delete(socket);
    if (this.#inFlight === 0) this.#onIdle?.();
  }

  async drain(deadline: AbortSignal): Promise<void> {
    this.#isDraining = true;
    for (const server of this.#servers) {
      server.close();
      server.closeIdleConnections();
    }
    await this.#idle(deadline);
    for (const server of this.#servers) server.closeAllConnections();
  }

  #idle(deadline: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (this.#inFlight === 0 || deadline.aborted) {
        resolve();
        return;
      }
      deadline.addEventListener("abort", () => resolve(), { once: true });
      this.#onIdle = resolve;
    });
  }

  /** Nothing has moved on the connection for a while. Whose turn is it? */
  #timeOut(socket: Socket): void {
    const exchange = this.#current.get(socket);
    if (exchange === undefined) {
      socket.destroy();
      return;
    }
    const { incoming, outgoing } = exchange;
    if (outgoing.headersSent) {
      socket.destroy();
    } else if (incoming.complete || exchange.isBodyHeldBack || incoming.isPaused()) {
      // Ours: a slow disk is no fault of the client.
      socket.setTimeout(this.#options.idleMs);
    } else {
      this.#refuse(socket, new S3Error("RequestTimeout"));
    }
  }

  #refuseMalformed(error: NodeJS.ErrnoException, socket: Socket): void {
    const exchange = this.#current.get(socket);
    if (error.code === "ECONNRESET" || !socket.writable) {
      socket.destroy();
    } else if (exchange?.incoming.complete === true) {
      // What came before was whole, and may be done already: it gets its own answer first.
      if (this.#refusedNext.has(socket)) return;
      this.#refusedNext.add(socket);
      exchange.outgoing.once("close", () => {
        this.#refusedNext.delete(socket);
        this.#refuseMalformed(error, socket);
      });
    } else if (exchange?.outgoing.headersSent === true) {
      socket.destroy();
    } else {
      const [refusal, statusLine] = refusalOf(error, exchange !== undefined);
      this.#refuse(socket, refusal, statusLine);
    }
  }

  /** Below HTTP: there is no response object to write to, or it must not be used any more. */
  #refuse(socket: Socket, error: S3Error, statusLine = "400 Bad Request"): void {
    const exchange = this.#current.get(socket);
    if (exchange !== undefined) exchange.errorCode = error.code;
    const { hostId, newId } = this.#options;
    const id = exchange?.id ?? newId();
    const resource = exchange?.resource ?? "";
    const { body } = errorResponse(error, { id, hostId, resource });
    const document = XML_DECLARATION + body;
    const head = [
      `HTTP/1.1 ${statusLine}`,
      `x-amz-request-id: ${id}`,
      `x-amz-id-2: ${hostId}`,
      "Server: Anybucket",
      "Content-Type: application/xml",
      `Content-Length: ${Buffer.byteLength(document)}`,
      "Connection: close",
    ];
    socket.end(`${head.join("\r\n")}\r\n\r\n${document}`, () => socket.destroy());
  }
}

/** What the parser stumbled over, in S3's words; `hasBegun`: in the body of a request whose head was good. */
function refusalOf(
  { code }: NodeJS.ErrnoException,
  hasBegun: boolean,
): readonly [refusal: S3Error, statusLine?: string] {
  if (code === "HPE_HEADER_OVERFLOW") {
    const statusLine = "431 Request Header Fields Too Large";
    return [new S3Error("RequestHeaderSectionTooLarge"), statusLine];
  }
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") return [new S3Error("RequestTimeout")];
  // The client has closed its side.
  if (code === "HPE_INVALID_EOF_STATE" && hasBegun) return [new S3Error("IncompleteBody")];
  return [new S3Error("BadRequest", { message: "The request is not valid HTTP." })];
}
