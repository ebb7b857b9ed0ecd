/** Linearizable reads that travel together: one read-only transaction of up to 128 keys, all at one revision. */

import type { Clock } from "#lib/clock.ts";
import { TXN_PATH } from "#metadata/etcd-calls.ts";
import { EtcdFailure } from "#metadata/etcd-failure.ts";
import { Lane, type LaneItem } from "#metadata/etcd-lane.ts";
import type { Members } from "#metadata/etcd-members.ts";
import { Answer, type TxnEncoder } from "#metadata/etcd-wire.ts";
import { asBuffer } from "#metadata/keys.ts";
import { type Entry, MetadataUnavailable } from "#metadata/metadata-store.ts";

export interface ReadParts {
  readonly members: Members;
  readonly encoder: TxnEncoder;
  readonly prefixLength: number;
  readonly clock: Clock;
  /** Told of every revision that an answer shows. */
  readonly note: (revision: number) => void;
}

type Entries = readonly (Entry | undefined)[];

interface PendingRead extends LaneItem {
  readonly keys: readonly Uint8Array[];
  readonly resolve: (found: { entries: Entries; revision: number }) => void;
}

/** etcd's default for the operations of one level. */
const READS_MAX = 128;
const FULL_BATCH = 100;
/** A leader that stopped is replaced within two seconds; another member is asked then. */
export const READ_LIMITS = { answerMs: 2_500, totalMs: 10_000, isRepeatable: true } as const;
/** A read at an older revision begins anew when that was compacted meanwhile. */
const ATTEMPTS_MAX = 3;
/** It need not be there. */
const ANY_KEY = Buffer.from("any");

export class Reads {
  readonly #parts: ReadParts;
  readonly #lane: Lane<PendingRead>;

  constructor(parts: ReadParts) {
    this.#parts = parts;
    this.#lane = new Lane({
      clock: parts.clock,
      take: takeReads,
      fullBatch: FULL_BATCH,
      send: (batch) => this.#send(batch),
    });
  }

  async keys(keys: readonly Uint8Array[]): Promise<Entries> {
    if (keys.length === 0) return [];
    if (keys.length <= READS_MAX) return (await this.#together(keys)).entries;
    return notCompacted(async () => {
      const first = await this.#together(keys.slice(0, READS_MAX));
      const found = [...first.entries];
      while (found.length < keys.length) {
        const some = keys.slice(found.length, found.length + READS_MAX);
        found.push(...(await this.#read(some, first.revision)).entries);
      }
      return found;
    });
  }

  /** That of a linearizable read. */
  async revision(): Promise<number> {
    return (await this.#together([ANY_KEY])).revision;
  }

  drain(): Promise<void> {
    return this.#lane.drain();
  }

  #together(keys: readonly Uint8Array[]): Promise<{ entries: Entries; revision: number }> {
    const { promise, resolve, reject } = Promise.withResolvers<{
      entries: Entries;
      revision: number;
    }>();
    let bytes = 0;
    for (const key of keys) bytes += key.length;
    this.#lane.push({ keys, bytes, since: this.#parts.clock.monotonic(), resolve, reject });
    return promise;
  }

  async #send(batch: readonly PendingRead[]): Promise<void> {
    try {
      const { keys, places } = distinct(batch.flatMap((read) => read.keys));
      const { entries, revision } = await this.#read(keys);
      let begin = 0;
      for (const read of batch) {
        const end = begin + read.keys.length;
        const found = places.slice(begin, end).map((place) => entries[place]);
        read.resolve({ entries: found, revision });
        begin = end;
      }
    } catch (error) {
      for (const { reject } of batch) reject(error as Error);
    }
  }

  async #read(keys: readonly Uint8Array[], revision = 0) {
    const { members, encoder, note } = this.#parts;
    const request = encoder.reads(keys, revision);
    const reply = await answered(
      members.askRaw({
        ...READ_LIMITS,
        path: TXN_PATH,
        request,
      }),
    );
    const answer = new Answer(reply);
    note(answer.top.revision);
    const entries = answer.top.responses.map((response, place) =>
      answer.entry(response, keys[place] as Uint8Array),
    );
    if (entries.length !== keys.length) throw new Error("Cannot read: etcd left keys out");
    return { entries, revision: answer.top.revision };
  }
}

/** Requests for the same bucket ask for the same two records of it. */
function distinct(all: readonly Uint8Array[]) {
  const known = new Map<string, number>();
  const keys: Uint8Array[] = [];
  const places = all.map((key) => {
    const text = asBuffer(key).toString("latin1");
    const place = known.get(text) ?? keys.push(key) - 1;
    known.set(text, place);
    return place;
  });
  return { keys, places };
}

function takeReads(queue: readonly PendingRead[]) {
  let count = 0;
  let place = 0;
  for (const { keys } of queue) {
    if (place > 0 && count + keys.length > READS_MAX) break;
    count += keys.length;
    place += 1;
  }
  return { batch: queue.slice(0, place), rest: queue.slice(place) };
}

/** Reads again from the start when the revision that it was reading at is not kept any more. */
export async function notCompacted<Result>(read: () => Promise<Result>): Promise<Result> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await read();
    } catch (error) {
      if (!(error instanceof EtcdFailure && error.kind === "compacted")) throw error;
      if (attempt === ATTEMPTS_MAX) throw error;
    }
  }
}

/** No answer is for the client to try again. */
export async function answered<Reply>(asking: Promise<Reply>): Promise<Reply> {
  try {
    return await asking;
  } catch (error) {
    const kind = error instanceof EtcdFailure ? error.kind : undefined;
    if (kind !== "unsent" && kind !== "unknown") throw error;
    throw new MetadataUnavailable(`Cannot read from etcd: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
