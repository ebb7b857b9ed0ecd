/**
 * The shards of all disks, brought together by write: each disk lists its own in order of (group, writeId, index), so
 * they are merged as they come and a place in the order is all there is to remember.
 */
import type { ShardId, ShardInfo, ShardStore } from "#shards/shard-store.ts";

/** Shards a disk is asked for at a time: enough to hide the round trip, a few hundred kilobytes. */
const PAGE = 256;

export interface ListedWrite {
  readonly group: number;
  readonly writeId: Uint8Array;
  readonly shards: readonly ListedShard[];
}

export interface ListedShard {
  readonly diskId: string;
  readonly info: ShardInfo;
}

export interface ListRequest {
  /** Only this group. */
  readonly group?: number;
  /** Told of a disk whose list broke; what it holds behind that is not seen. */
  readonly onFault: (diskId: string, error: unknown) => void;
  readonly signal: AbortSignal;
}

export async function* listWrites(
  stores: ReadonlyMap<string, ShardStore>,
  request: ListRequest,
): AsyncGenerator<ListedWrite, void, void> {
  const cursors = [...stores].map(([diskId, store]) => new Cursor(diskId, store, request));
  await Promise.all(cursors.map((cursor) => cursor.advance()));
  for (;;) {
    const first = smallest(cursors);
    if (!first) return;
    const { group, writeId } = first;
    const shards: ListedShard[] = [];
    for (const cursor of cursors) await cursor.takeAll(first, shards);
    yield { group, writeId, shards };
  }
}

/** Orders writes as stores list them. */
export function compareWrites(
  one: Pick<ShardId, "group" | "writeId">,
  other: Pick<ShardId, "group" | "writeId">,
): number {
  return one.group - other.group || Buffer.compare(one.writeId, other.writeId);
}

function smallest(cursors: readonly Cursor[]): ShardId | undefined {
  let first: ShardId | undefined;
  for (const { next } of cursors) {
    if (next && (!first || compareWrites(next.id, first) < 0)) first = next.id;
  }
  return first;
}

class Cursor {
  next: ShardInfo | undefined;
  readonly #diskId: string;
  readonly #store: ShardStore;
  readonly #request: ListRequest;
  #page: readonly ShardInfo[] = [];
  #place = 0;
  #after: ShardId | undefined;
  #isOver = false;

  constructor(diskId: string, store: ShardStore, request: ListRequest) {
    this.#diskId = diskId;
    this.#store = store;
    this.#request = request;
  }

  async takeAll(write: ShardId, into: ListedShard[]): Promise<void> {
    while (this.next && compareWrites(this.next.id, write) === 0) {
      into.push({ diskId: this.#diskId, info: this.next });
      this.#place += 1;
      this.next = this.#page[this.#place];
      if (!this.next) await this.advance();
    }
  }

  /** The next page, when the one at hand is used up. */
  async advance(): Promise<void> {
    const { group, signal, onFault } = this.#request;
    while (!this.next && !this.#isOver) {
      try {
        const page = await this.#store.list(
          {
            limit: PAGE,
            ...(this.#after ? { after: this.#after } : {}),
            ...(group === undefined ? {} : { group }),
          },
          signal,
        );
        this.#page = page.shards;
        this.#place = 0;
        this.next = page.shards[0];
        this.#after = page.next;
        this.#isOver = page.next === undefined;
      } catch (error) {
        signal.throwIfAborted();
        this.#isOver = true;
        onFault(this.#diskId, error);
      }
    }
  }
}
