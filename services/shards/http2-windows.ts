/**
 * Of the HTTP/2 under grpc-js what its server has no option for: windows above 64 KiB, without which a bulk sender stops
 * and waits every 64 KiB, and cutting off a peer that does not read. These are the insides of grpc-js 1.14, reached for
 * nowhere else; where a later one has changed, all works as before, only slower, and a test says so.
 */
import type { Http2Session, ServerHttp2Stream } from "node:http2";
import type { Server } from "@grpc/grpc-js";

/** What a connection, and each stream of it, may send before it is read: a block on its way while one is being written. */
export const WINDOW_BYTES = 4 * 1024 * 1024;

interface ServerInsides {
  commonServerOptions?: { settings?: object };
}

interface CallInsides {
  readonly call?: { readonly stream?: ServerHttp2Stream };
}

const widened = new WeakSet<Http2Session>();

/** To be called before the server is bound. */
export function widenStreams(server: Server): void {
  const { commonServerOptions } = server as unknown as ServerInsides;
  if (commonServerOptions === undefined) return;
  commonServerOptions.settings = {
    ...commonServerOptions.settings,
    initialWindowSize: WINDOW_BYTES,
  };
}

/** `call`: any of the connection. */
export function widenConnection(call: object): void {
  const session = streamOf(call)?.session;
  if (!session || widened.has(session)) return;
  widened.add(session);
  session.setLocalWindowSize(WINDOW_BYTES);
}

/** Ends the call now, whatever has not been read. */
export function cut(call: object): void {
  streamOf(call)?.destroy();
}

function streamOf(call: object): ServerHttp2Stream | undefined {
  return (call as CallInsides).call?.stream;
}
