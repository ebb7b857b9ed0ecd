/**
 * What readers and scrub found missing or corrupt, noted in the index for repair, which runs in one process only.
 * A note is a hint: repair looks for itself, and scrub finds what was lost on the way here. So nothing waits for it,
 * and a disk that comes back empty makes no flood of notes (its groups are marked dirty, repair goes through them).
 */
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import { afterPrefix, asBuffer, type KeyRange } from "#metadata/keys.ts";
import type { MetadataStore, Put } from "#metadata/metadata-store.ts";
import { RecordReader, RecordWriter } from "#metadata/record-wire.ts";
import type { Suspicion } from "#objects/stripe-reads.ts";
import { WRITE_ID_BYTES } from "#placement/placement-group.ts";
import type { ShardId } from "#shards/shard-store.ts";

const PREFIX = Buffer.from("suspect/");
const KEY_BYTES = PREFIX.length + 2 + WRITE_ID_BYTES + 1;
/** Notes of one commit, and of one second. */
const BATCH = 50;
const PAUSE_MS = 1000;
/** Noted lately, so not again. */
const REMEMBERED_MAX = 10_000;

export const SUSPICIONS: KeyRange = { from: PREFIX, to: afterPrefix(PREFIX) };

export function suspicionKey({ group, writeId, index }: ShardId): Buffer {
  const key = Buffer.alloc(KEY_BYTES);
  PREFIX.copy(key);
  key.writeUInt16BE(group, PREFIX.length);
  key.set(writeId, PREFIX.length + 2);
  key.writeUInt8(index, KEY_BYTES - 1);
  return key;
}

export function suspectOf(key: Uint8Array): ShardId {
  const bytes = asBuffer(key);
  return {
    group: bytes.readUInt16BE(PREFIX.length),
    writeId: bytes.subarray(PREFIX.length + 2, KEY_BYTES - 1),
    index: bytes.readUInt8(KEY_BYTES - 1),
  };
}

const writer = new RecordWriter();

/** The value: on which disk. */
export function encodeSuspicion(diskId: string): Buffer {
  writer.start();
  writer.string(2, diskId);
  return writer.finish();
}

export function decodeSuspicion(value: Uint8Array): string {
  const reader = RecordReader.open("suspicion", value);
  let diskId = "";
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 2) diskId = reader.string();
    else reader.skip();
  }
  return diskId;
}

export class Suspicions implements AsyncDisposable {
  readonly #metadata: MetadataStore;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #stop = new AbortController();
  readonly #queue: Put[] = [];
  readonly #noted = new Set<string>();
  #noting: Promise<void> | undefined;

  constructor({ metadata, clock, log }: { metadata: MetadataStore; clock: Clock; log: Logger }) {
    this.#metadata = metadata;
    this.#clock = clock;
    this.#log = log;
  }

  note({ id, diskId, fault }: Suspicion): void {
    const key = suspicionKey(id);
    const name = `${diskId}${key.toString("latin1")}`;
    if (this.#noted.has(name) || this.#queue.length >= BATCH) return;
    if (this.#noted.size >= REMEMBERED_MAX) this.#noted.clear();
    this.#noted.add(name);
    this.#log.warn({ disk: diskId, shard: key.toString("hex", PREFIX.length), fault }, "bad shard");
    this.#queue.push({ key, value: encodeSuspicion(diskId) });
    this.#noting ??= this.#drain();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#noting;
  }

  async #drain(): Promise<void> {
    const { signal } = this.#stop;
    try {
      while (this.#queue.length > 0) {
        await this.#metadata.commit(
          { expect: [], put: distinct(this.#queue.splice(0)), remove: [] },
          signal,
        );
        await this.#clock.sleep(PAUSE_MS, signal);
      }
    } catch (error) {
      if (!signal.aborted)
        this.#log.warn({ err: error }, "bad shards could not be noted; scrub will find them");
    } finally {
      this.#noting = undefined;
    }
  }
}

/** One shard may be bad on two disks while its group moves. */
function distinct(puts: readonly Put[]): readonly Put[] {
  return [...new Map(puts.map((put) => [asBuffer(put.key).toString("latin1"), put])).values()];
}
