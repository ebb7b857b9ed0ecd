/**
 * Connections that were on their way to a worker when it died.
 *
 * The supervising process accepts them and hands each to a worker, which says that it has it. When the worker dies in
 * between, `node:cluster` waits for that word for ever with the connection open, and so does the client
 * (`handoff` in Node's internal/cluster/round_robin_handle.js). Closed, the client tries again.
 */
import type { Worker } from "node:cluster";

/** What it said before it died has been read by then. (`disconnect` is not told while a handle waits to be sent.) */
const HEARD_MS = 500;

interface Handle {
  close(): void;
}

export function closeUndelivered({ process }: Worker): void {
  const underWay = new Map<number, Handle>();
  const send = process.send.bind(process) as (message: unknown, ...rest: unknown[]) => boolean;
  const noting = (message: unknown, ...rest: unknown[]): boolean => {
    const { act, seq } = message as { act?: unknown; seq?: unknown };
    const [handle] = rest;
    if (act === "newconn" && typeof seq === "number") underWay.set(seq, handle as Handle);
    return send(message, ...rest);
  };
  process.send = noting;
  process.on("internalMessage", ({ ack }: { ack?: number }) => {
    if (ack !== undefined) underWay.delete(ack);
  });
  process.once("exit", () => {
    setTimeout(() => {
      for (const handle of underWay.values()) handle.close();
      underWay.clear();
    }, HEARD_MS).unref();
  });
}
