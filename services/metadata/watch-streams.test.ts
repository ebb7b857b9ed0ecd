import { EventEmitter, getEventListeners } from "node:events";
import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import type { Clock } from "#lib/clock.ts";
import { type WatchParts, watchEtcd } from "#metadata/etcd-watch.ts";

test("streams that end leave nothing behind at the signal of the watch", async () => {
  const stop = new AbortController();
  const listening = () => getEventListeners(stop.signal, "abort").length;
  let streams = 0;
  let most = 0;
  const connect = async () => {
    streams += 1;
    most = Math.max(most, listening());
    if (streams === 50) stop.abort();
    return { client: { watch: () => new EndingStream() }, member: { suspect: () => undefined } };
  };
  const clock: Pick<Clock, "sleep"> = { sleep: () => setImmediate() };
  const parts = { members: { connect }, clock, prefix: Buffer.alloc(0), revision: () => 1 };
  for await (const _ of watchEtcd(parts as unknown as WatchParts, Buffer.from("a"), stop.signal));
  expect(streams).toBe(50);
  expect(most).toBeLessThan(5);
});

class EndingStream extends EventEmitter {
  write(): void {
    queueMicrotask(() => this.emit("end"));
  }

  cancel(): void {}
}
