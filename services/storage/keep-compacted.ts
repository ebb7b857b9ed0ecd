/** Gives the room of deleted shards back to the file systems: compacts the disks' volumes, one at a time, now and then. */
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { DiskStore } from "#storage/disk-store.ts";

const EVERY_MS = 60_000;

export function keepCompacted(
  stores: Iterable<Pick<DiskStore, "diskId" | "compact">>,
  { clock, log }: { clock: Clock; log: Logger },
): AsyncDisposable {
  const stop = new AbortController();
  const running = run([...stores], { clock, log, signal: stop.signal });
  return {
    [Symbol.asyncDispose]: async () => {
      stop.abort(new Error("The process is closing"));
      await running;
    },
  };
}

async function run(
  stores: readonly Pick<DiskStore, "diskId" | "compact">[],
  { clock, log, signal }: { clock: Clock; log: Logger; signal: AbortSignal },
): Promise<void> {
  for (;;) {
    await clock.sleep(EVERY_MS, signal).catch(() => undefined);
    for (const store of stores) {
      try {
        while (!signal.aborted && (await store.compact(signal))?.kind === "removed");
      } catch (error) {
        if (!signal.aborted) log.warn({ disk: store.diskId, err: error }, "Cannot compact a disk");
      }
    }
    if (signal.aborted) return;
  }
}
