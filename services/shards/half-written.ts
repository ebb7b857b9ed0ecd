/**
 * Shards that come in blocks over one stream, between their first block and their seal. Blocks come in turn or the write
 * ends; what ends without a seal leaves nothing, whether by abort, by silence, or with the stream.
 */
import type { Clock } from "#lib/clock.ts";
import type { Block, ShardId, ShardSeal, ShardStore, ShardWriter } from "#shards/shard-store.ts";

/** A writer from which nothing has come for so long is taken for dead (R17). */
export const IDLE_MS = 30_000;
/** Of one stream: a gateway has one for each upload and disk. */
const WRITES_MAX = 1024;

/** No such write, or a block out of turn: the caller's fault, or a replayed message. */
export class OutOfTurn extends Error {
  override readonly name = "OutOfTurn";
}

interface HalfWritten {
  readonly writer: ShardWriter;
  readonly stop: AbortController;
  next: number;
  /** Appends that the store has not answered yet. */
  readonly pending: Set<Promise<void>>;
  /** Of the first append that failed. */
  fault: { readonly error: unknown } | undefined;
  activeMs: number;
}

export class HalfWrittenShards {
  readonly #clock: Clock;
  readonly #writes = new Map<number, HalfWritten>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#writes.size;
  }

  open(
    write: number,
    { store, id, forRepair }: { store: ShardStore; id: ShardId; forRepair: boolean },
  ): void {
    if (this.#writes.size >= WRITES_MAX) {
      throw new OutOfTurn(`Cannot open a shard: ${WRITES_MAX} of this stream are half written`);
    }
    const stop = new AbortController();
    this.#writes.set(write, {
      writer: store.write(id, { signal: stop.signal, forRepair }),
      stop,
      next: 0,
      pending: new Set(),
      fault: undefined,
      activeMs: this.#clock.monotonic(),
    });
  }

  async append(write: number, number: number, block: Block): Promise<void> {
    const half = this.#turn(write, number);
    half.next += 1;
    const appending = half.writer.append(block);
    half.pending.add(appending);
    try {
      await appending;
    } catch (error) {
      half.fault ??= { error };
      throw error;
    } finally {
      half.pending.delete(appending);
      half.activeMs = this.#clock.monotonic();
    }
  }

  async seal(write: number, blocks: number, seal: ShardSeal): Promise<void> {
    const half = this.#turn(write, blocks);
    this.#writes.delete(write);
    try {
      await Promise.allSettled(half.pending);
      if (half.fault) throw half.fault.error;
      await half.writer.seal(seal);
    } catch (error) {
      half.stop.abort(error);
      await half.writer.abort();
      throw error;
    }
  }

  /** Whether it was there: one that ended before needs no abort. */
  async abort(write: number, reason: Error): Promise<boolean> {
    const half = this.#writes.get(write);
    if (!half) return false;
    this.#writes.delete(write);
    half.stop.abort(reason);
    await half.writer.abort();
    return true;
  }

  /** Answers those that were silent for too long, and are aborted. */
  async abortIdle(): Promise<readonly number[]> {
    const since = this.#clock.monotonic() - IDLE_MS;
    const idle = [...this.#writes]
      .filter(([, { pending, activeMs }]) => pending.size === 0 && activeMs < since)
      .map(([write]) => write);
    await Promise.allSettled(
      idle.map((write) => this.abort(write, new Error("The writer fell silent"))),
    );
    return idle;
  }

  async abortAll(reason: Error): Promise<void> {
    await Promise.allSettled([...this.#writes.keys()].map((write) => this.abort(write, reason)));
  }

  #turn(write: number, number: number): HalfWritten {
    const half = this.#writes.get(write);
    if (!half) throw new OutOfTurn(`There is no write ${write} on this stream`);
    if (half.next !== number) {
      void this.abort(write, new OutOfTurn("A block came out of turn")).catch(() => undefined);
      throw new OutOfTurn(`Block ${number} of write ${write} came when ${half.next} was due`);
    }
    return half;
  }
}
