/**
 * A watch on etcd, told as hints (R21). One stream a watch, from the newest revision that this process knew when it asked.
 * After a broken stream, a compaction or revisions that do not grow it says `reset` and goes on from now.
 */
import type { IWatchResponse } from "etcd3";
import type { Clock } from "#lib/clock.ts";
import { openWatch } from "#metadata/etcd-calls.ts";
import type { Members } from "#metadata/etcd-members.ts";
import { afterPrefix } from "#metadata/keys.ts";
import type { WatchEvent } from "#metadata/metadata-store.ts";
import { WatchHub } from "#metadata/watch-hub.ts";

export interface WatchParts {
  readonly members: Members;
  readonly clock: Clock;
  /** What stands before every key in etcd. */
  readonly prefix: Buffer;
  /** The newest revision that this process has seen. */
  readonly revision: () => number;
}

const RETRY_MS = 500;
const NOTHING = Buffer.alloc(0);

export function watchEtcd(
  parts: WatchParts,
  prefix: Uint8Array,
  signal: AbortSignal,
): AsyncIterable<WatchEvent> {
  const hub = new WatchHub();
  const events = hub.watch(prefix, signal);
  void new EtcdWatch(parts, Buffer.concat([parts.prefix, prefix]), hub).run(signal);
  return events;
}

class EtcdWatch {
  readonly #parts: WatchParts;
  readonly #from: Buffer;
  readonly #hub: WatchHub;
  /** Events up to this revision have been told. */
  #seen: number;

  constructor(parts: WatchParts, from: Buffer, hub: WatchHub) {
    this.#parts = parts;
    this.#from = from;
    this.#hub = hub;
    this.#seen = parts.revision();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#parts;
    // What happened while there was no stream is only known to be something.
    for (let start = this.#seen + 1; !signal.aborted; start = 0) {
      try {
        await this.#follow(start, signal);
      } catch {
        // Whatever ended it, the next stream begins anew.
      }
      if (signal.aborted) return;
      await clock.sleep(RETRY_MS, signal).catch(() => undefined);
      this.#seen = 0;
      this.#hub.reset();
    }
  }

  async #follow(start: number, signal: AbortSignal): Promise<void> {
    const connection = await this.#parts.members.connect("Watch");
    const stream = openWatch(connection);
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    const onAbort = () => end();
    signal.addEventListener("abort", onAbort, { once: true });
    stream.on("data", (response: IWatchResponse) => {
      if (!this.#tell(response)) end();
    });
    stream.on("error", () => {
      connection.member.suspect();
      end();
    });
    stream.on("end", () => end());
    stream.write({
      create_request: {
        key: this.#from,
        range_end: afterPrefix(this.#from),
        start_revision: String(start),
        fragment: true,
      },
    });
    try {
      await ended;
    } finally {
      // The signal outlives many streams.
      signal.removeEventListener("abort", onAbort);
      stream.cancel();
    }
  }

  /** False when the stream is of no more use. */
  #tell({ header, created, canceled, compact_revision, events }: IWatchResponse): boolean {
    if (canceled || Number(compact_revision) > 0) return false;
    // With a stream that begins now, all before it is what `reset` was for.
    if (created && this.#seen === 0) {
      this.#seen = Number(header.revision);
      this.#hub.reset();
    }
    if (Number(header.revision) < this.#seen) return false;
    for (const { type, kv } of events) {
      const revision = Number(kv.mod_revision);
      if (revision < this.#seen) return false;
      this.#seen = revision;
      const key = kv.key.subarray(this.#parts.prefix.length);
      const put = type === "Put" ? [{ key, value: NOTHING }] : [];
      this.#hub.publish({ expect: [], put, remove: type === "Put" ? [] : [key] }, revision);
    }
    return true;
  }
}
