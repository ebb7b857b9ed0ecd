/** Puts an answer onto the wire: small ones in one write, iterated ones as fast as the client takes them. */
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { S3Response } from "#gateway/context.ts";
import type { S3Error } from "#gateway/errors.ts";
import type { Exchange } from "#gateway/exchange.ts";
import { field, XML_DECLARATION } from "#gateway/xml.ts";

/**
 * Resolves once everything has been handed to the connection. An iteration that fails mid-way has already promised a length:
 * its error is thrown, and the caller must break the connection (R16).
 */
export async function respond(
  exchange: Exchange,
  response: S3Response,
  connection: { readonly hostId: string; readonly close: boolean },
): Promise<void> {
  const { outgoing, incoming } = exchange;
  const { body, status } = response;
  const content = typeof body === "string" ? Buffer.from(XML_DECLARATION + body) : body;
  const isBodiless = status === 204 || status === 304;
  const length = isBodiless ? undefined : lengthOf(response, content);
  const hasUnread = !incoming.complete;
  const mustClose = connection.close || (hasUnread && isWorthClosing(exchange));

  const head = headOf(exchange, response, { hostId: connection.hostId, length });
  if (mustClose) head.push("Connection", "close");
  outgoing.writeHead(status, head);

  const isSilent = isBodiless || exchange.method === "HEAD";
  if (!isSilent && content !== undefined) {
    if (content instanceof Uint8Array) await writePieces(exchange, [content], !mustClose);
    else if (isPieces(content)) await writePieces(exchange, content, !mustClose);
    else await writeIterated(exchange, content, length ?? 0);
  }
  if (outgoing.writableEnded) return;
  if (hasUnread && mustClose) {
    outgoing.flushHeaders();
    exchange.hasAnswered = true;
    await swallow(incoming, outgoing);
  }
  outgoing.end();
}

/** The `<Error>` document of an answer that is not a success. */
export function errorResponse(
  error: S3Error,
  request: { readonly id: string; readonly hostId: string; readonly resource: string },
): S3Response & { body: string } {
  let body = `<Error>${field("Code", error.code)}${field("Message", error.message)}`;
  for (const name in error.elements) body += field(name, error.elements[name]);
  body += `${field("Resource", request.resource)}${field("RequestId", request.id)}${field("HostId", request.hostId)}</Error>`;
  return { status: error.status, headers: error.headers, body };
}

/** What is left of a refused request's body is read up to here, so that the client gets to read our answer before the connection breaks. */
const SWALLOW_BYTES_MAX = 16 * 1024 * 1024;
const SWALLOW_MS_MAX = 5_000;
/** An unread rest up to this size is cheaper to read than a new connection. */
const REST_BYTES_MAX = 64 * 1024;

function headOf(
  exchange: Exchange,
  response: S3Response,
  { hostId, length }: { hostId: string; length: number | undefined },
): string[] {
  const head = [
    "x-amz-request-id",
    exchange.id,
    "x-amz-id-2",
    hostId,
    "Server",
    "Anybucket",
    // An object is what its owner says it is, and nothing that a browser guesses.
    "X-Content-Type-Options",
    "nosniff",
  ];
  const { headers } = response;
  for (const name in headers) {
    const value = headers[name];
    if (value !== undefined) head.push(name, value);
  }
  if (length !== undefined) {
    if (typeof response.body === "string") head.push("Content-Type", "application/xml");
    head.push("Content-Length", String(length));
  }
  return head;
}

function isPieces(content: NonNullable<S3Response["body"]>): content is readonly Uint8Array[] {
  return Array.isArray(content);
}

function lengthOf(response: S3Response, content: S3Response["body"] | Buffer): number {
  if (response.length !== undefined) return response.length;
  if (content === undefined) return 0;
  if (content instanceof Uint8Array) return content.length;
  if (typeof content === "object" && isPieces(content)) {
    return content.reduce((sum, piece) => sum + piece.length, 0);
  }
  throw new Error("Cannot answer: a body that is iterated has no length");
}

function isWorthClosing(exchange: Exchange): boolean {
  if (exchange.isBodyHeldBack) return true;
  const announced = exchange.incoming.headers["content-length"];
  return announced === undefined || Number(announced) > REST_BYTES_MAX;
}

/** Head and pieces leave in one write: an answer in two meets delayed acknowledgements. */
async function writePieces(
  exchange: Exchange,
  pieces: readonly Uint8Array[],
  isWhole: boolean,
): Promise<void> {
  const { outgoing } = exchange;
  for (const piece of pieces) exchange.bytesOut += piece.length;
  const last = pieces.at(-1);
  if (isWhole && pieces.length === 1) {
    outgoing.end(last);
    return;
  }
  outgoing.cork();
  for (const piece of pieces) outgoing.write(piece);
  if (isWhole) outgoing.end();
  outgoing.uncork();
}

async function writeIterated(
  exchange: Exchange,
  body: AsyncIterable<Uint8Array>,
  length: number,
): Promise<void> {
  const { outgoing } = exchange;
  for await (const chunk of body) {
    exchange.bytesOut += chunk.length;
    if (exchange.bytesOut > length) break;
    await written(outgoing, chunk);
    if (exchange.isGone) return;
  }
  if (exchange.bytesOut !== length) {
    throw new Error(`Cannot answer: body has ${exchange.bytesOut} bytes, ${length} were announced`);
  }
}

/** Resolves once the system has taken the bytes, and their memory may be used again; or the connection is gone. */
function written(outgoing: ServerResponse, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      outgoing.off("close", done);
      resolve();
    };
    outgoing.on("close", done);
    outgoing.write(chunk, done);
    if (outgoing.destroyed) done();
  });
}

/** Reads and forgets, within bounds: closing a connection on unread bytes would reset it, and the client might never see our answer. */
async function swallow(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  if (incoming.destroyed) return;
  let bytes = 0;
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), SWALLOW_MS_MAX);
  const count = (chunk: Uint8Array) => {
    bytes += chunk.length;
    if (bytes > SWALLOW_BYTES_MAX) limit.abort();
  };
  // Whoever read the body before has lost interest, and must not gather what is thrown away.
  incoming.removeAllListeners("data");
  incoming.on("data", count);
  const { signal } = limit;
  const ends = [once(incoming, "end", { signal }), once(outgoing, "close", { signal })];
  try {
    await Promise.race(ends);
  } catch {
    // Too much or too slow, or the client broke off: its loss.
    incoming.pause();
  } finally {
    clearTimeout(timer);
    incoming.off("data", count);
    limit.abort();
    await Promise.allSettled(ends);
  }
}
