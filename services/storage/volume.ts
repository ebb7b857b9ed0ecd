/**
 * An append-only file of records with one writer.
 *
 * Records land in order and a crash can damage only the tail, which recovery cuts off. Appends that
 * must be durable and arrive while a sync is running form the next batch: one write and one sync for
 * all of them. Blocks of large shards do not wait for it; the sync of their seal covers them.
 *
 * After a failed sync the kernel may drop the pages and report success next time (R5), so the first
 * fault ends the volume: every waiting caller fails, and nothing more is written or synced here.
 */
import { type Disk, type DurableFile, errorCode } from "#lib/disk.ts";
import { ShardStoreFull, ShardStoreUnavailable } from "#shards/shard-store.ts";
import type { IndexTransaction } from "#storage/index-store.ts";
import {
  type BatchRecord,
  encodeHead,
  headBytes,
  type Location,
  payloadBytes,
  type Record,
  recordBytes,
  saltOf,
  type VolumeRecord,
} from "#storage/record.ts";

/** A record on its way to the disk, and where it landed. */
export interface Outgoing {
  readonly record: Record;
  readonly payload?: readonly Uint8Array[];
  /** Filled in place as the record is laid out; a seal that follows may refer to it. */
  readonly location: Location;
}

export interface Append {
  readonly records: readonly Outgoing[];
  /** Blocks only need to be written; whatever is acknowledged needs to be durable. */
  readonly durable: boolean;
  /** Tells the index of the records, once they are durable and before the append resolves. */
  readonly apply?: (index: IndexTransaction) => void;
}

interface Waiting extends Append {
  readonly bytes: number;
  readonly done: PromiseWithResolvers<void>;
}

export interface VolumeEvents {
  /** Everything below `durable` survives a power cut. Called in order; the appends resolve when this does. */
  onDurable(volume: Volume, durable: number, appends: readonly Append[]): Promise<void>;
  onFault(volume: Volume, fault: Error): void;
}

/** Bytes written at one go: enough for the disk's full speed, few enough that a small put behind them does not wait long. */
const BATCH_BYTES_MAX = 16 * 1024 * 1024;
/** Appends waiting to be written, in bytes; further ones wait before they are queued. */
const QUEUE_BYTES_MAX = 32 * 1024 * 1024;
const PADDING = Buffer.alloc(8);
const BATCH_HEAD_BYTES = recordBytes({ kind: "batch", durable: 0 });

export function volumePath(id: number): string {
  return `volumes/${id.toString(16).padStart(8, "0")}.volume`;
}

/** The id that a file of the volumes folder has; undefined for any other file. */
export function volumeIdOf(name: string): number | undefined {
  const match = /^([0-9a-f]{8})\.volume$/.exec(name);
  return match?.[1] === undefined ? undefined : Number.parseInt(match[1], 16);
}

/**
 * Makes the next volume. Ids only rise: the file is made exclusively, above the highest there is, and
 * compaction never takes the highest away. So a location can never come to mean other bytes.
 */
export async function createVolume(
  disk: Disk,
  header: Omit<VolumeRecord, "kind" | "volume">,
  events: VolumeEvents,
): Promise<Volume> {
  const ids = (await disk.list("volumes")).map(volumeIdOf);
  for (let id = Math.max(0, ...ids.map((each) => each ?? 0)) + 1; ; id++) {
    let file: DurableFile;
    try {
      file = await disk.open(volumePath(id), "create");
    } catch (error) {
      if (errorCode(error) === "EEXIST") continue;
      throw error;
    }
    try {
      const record: VolumeRecord = { kind: "volume", volume: id, ...header };
      const head = Buffer.alloc(recordBytes(record));
      encodeHead(record, head.subarray(0, headBytes(record)), { offset: 0, salt: 0 });
      await file.write(0, [head]);
      await file.sync();
      await disk.syncFolder("volumes");
      return new Volume(file, { id, salt: saltOf(header.secret, id), start: head.length, events });
    } catch (error) {
      await file[Symbol.asyncDispose]();
      // Nothing was ever in it, so that its id may be used again. A full disk would fill with empty files.
      await disk.remove(volumePath(id)).catch(() => undefined);
      throw error;
    }
  }
}

export class Volume implements AsyncDisposable {
  readonly id: number;
  readonly salt: number;
  /** Shards being written that have blocks here; while there are any, the volume cannot be closed. */
  writers = 0;
  /** Set when it is about to be closed: nothing new may be appended. */
  isEnding = false;
  readonly #file: DurableFile;
  readonly #events: VolumeEvents;
  #position: number;
  #durable: number;
  readonly #blocks: Waiting[] = [];
  readonly #seals: Waiting[] = [];
  #queued = 0;
  /** So many of the seals found no room together: each of them goes alone. */
  #alone = 0;
  readonly #room: (() => void)[] = [];
  #isWriting = false;
  #isSyncing = false;
  #committing = 0;
  #fault: Error | undefined;
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(
    file: DurableFile,
    options: { id: number; salt: number; start: number; events: VolumeEvents },
  ) {
    this.#file = file;
    this.id = options.id;
    this.salt = options.salt;
    this.#position = options.start;
    this.#durable = options.start;
    this.#events = options.events;
  }

  /** Bytes written so far, those waiting included. */
  get size(): number {
    return this.#position + this.#queued;
  }

  /** Everything below survives a power cut. */
  get durable(): number {
    return this.#durable;
  }

  get fault(): Error | undefined {
    return this.#fault;
  }

  /** Resolves once the records are written and, when `durable`, synced; their locations are filled in by then. */
  async append(append: Append): Promise<void> {
    while (this.#queued > QUEUE_BYTES_MAX && this.#fault === undefined) {
      await new Promise<void>((resolve) => this.#room.push(resolve));
    }
    if (this.#fault !== undefined) throw unavailable(this.#fault);
    let bytes = 0;
    for (const { record } of append.records) bytes += recordBytes(record);
    const done = Promise.withResolvers<void>();
    (append.durable ? this.#seals : this.#blocks).push({ ...append, bytes, done });
    this.#queued += bytes;
    if (!this.#isWriting) void this.#pump();
    await done.promise;
  }

  /** Makes all that was appended durable. */
  async sync(): Promise<void> {
    if (this.#fault !== undefined) throw unavailable(this.#fault);
    if (this.#durable === this.#position && this.#queued === 0) return;
    await this.append({ records: [], durable: true });
  }

  /** Ends the volume with its last record, durably; afterwards nothing in it may be cut. */
  async end(): Promise<void> {
    // Were they synced together, the last record could survive a power cut that the others do not.
    await this.sync();
    await this.append({
      records: [{ record: { kind: "end" }, location: { volume: 0, offset: 0 } }],
      durable: true,
    });
  }

  /** After a fault: takes away what was never durable, as far as the disk still allows it. */
  async cut(): Promise<void> {
    try {
      await this.#file.truncate(this.#durable);
    } finally {
      await this[Symbol.asyncDispose]();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isBusy) {
      this.#idle ??= Promise.withResolvers<void>();
      await this.#idle.promise;
    }
    await this.#file[Symbol.asyncDispose]();
  }

  get #isBusy(): boolean {
    return this.#isWriting || this.#isSyncing || this.#committing > 0;
  }

  async #pump(): Promise<void> {
    this.#isWriting = true;
    // What arrives in this turn of the loop goes together: no wait when idle, fuller batches when busy.
    await new Promise(setImmediate);
    for (;;) {
      const batch = this.#take();
      if (batch.length === 0 || this.#fault !== undefined) break;
      await this.#write(batch);
      for (const wake of this.#room.splice(0)) wake();
    }
    this.#isWriting = false;
    this.#settle();
  }

  /** Blocks at once; what waits for a sync only when none is running. */
  #take(): Waiting[] {
    if (this.#alone > 0 && !this.#isSyncing) {
      this.#alone -= 1;
      return this.#seals.splice(0, 1);
    }
    const batch: Waiting[] = [];
    let bytes = 0;
    const fill = (queue: Waiting[]) => {
      let count = 0;
      while (count < queue.length && bytes < BATCH_BYTES_MAX) bytes += queue[count++]?.bytes ?? 0;
      batch.push(...queue.splice(0, count));
    };
    fill(this.#blocks);
    if (!this.#isSyncing) fill(this.#seals);
    return batch;
  }

  async #write(batch: Waiting[]): Promise<void> {
    if (this.#fault !== undefined) {
      this.#fail(this.#fault, batch);
      return;
    }
    const { pieces, end } = this.#layOut(batch);
    try {
      await this.#file.write(this.#position, pieces);
    } catch (error) {
      await this.#writeFailed(batch, error as Error);
      return;
    }
    if (this.#fault !== undefined) {
      this.#fail(this.#fault, batch);
      return;
    }
    this.#position = end;
    const waiting: Waiting[] = [];
    for (const each of batch) {
      this.#queued -= each.bytes;
      if (each.durable) waiting.push(each);
      else each.done.resolve();
    }
    if (waiting.length > 0) void this.#sync(waiting, end);
  }

  /** Fills in locations and lays heads, payloads and padding one behind another. */
  #layOut(batch: readonly Waiting[]): { pieces: Uint8Array[]; end: number } {
    const opening: BatchRecord = { kind: "batch", durable: this.#durable };
    let total = BATCH_HEAD_BYTES;
    for (const { records } of batch) {
      for (const { record } of records) {
        total += record.kind === "block" ? headBytes(record) : recordBytes(record);
      }
    }
    const heads = Buffer.allocUnsafe(total);
    const pieces: Uint8Array[] = [];
    let offset = this.#position;
    let used = 0;
    let pieceStart = 0;
    const head = (record: Record) => {
      const length = headBytes(record);
      encodeHead(record, heads.subarray(used, used + length), { offset, salt: this.salt });
      used += length;
    };
    const pad = (length: number) => heads.fill(0, used, (used += length));
    head(opening);
    pad(BATCH_HEAD_BYTES - headBytes(opening));
    offset += BATCH_HEAD_BYTES;
    for (const { records } of batch) {
      for (const { record, payload, location } of records) {
        location.volume = this.id;
        location.offset = offset;
        head(record);
        const bytes = recordBytes(record);
        const padding = bytes - headBytes(record) - payloadBytes(record);
        offset += bytes;
        if (record.kind !== "block") {
          pad(padding);
          continue;
        }
        pieces.push(heads.subarray(pieceStart, used), ...(payload ?? []));
        if (padding > 0) pieces.push(PADDING.subarray(0, padding));
        pieceStart = used;
      }
    }
    if (used > pieceStart) pieces.push(heads.subarray(pieceStart, used));
    return { pieces, end: offset };
  }

  async #sync(waiting: readonly Waiting[], end: number): Promise<void> {
    this.#isSyncing = true;
    this.#committing += 1;
    try {
      await this.#file.sync();
      this.#durable = end;
      this.#isSyncing = false;
      // The next batch goes to the disk while the index takes this one.
      if (!this.#isWriting && this.#seals.length > 0) void this.#pump();
      await this.#events.onDurable(this, end, waiting);
      for (const { done } of waiting) done.resolve();
    } catch (error) {
      this.#isSyncing = false;
      this.#fail(error as Error, waiting);
    }
    this.#committing -= 1;
    this.#settle();
  }

  #settle(): void {
    if (!this.#isBusy) this.#idle?.resolve();
  }

  /** A full disk ends the appends that found no room; any other fault ends the volume. */
  async #writeFailed(batch: Waiting[], error: Error): Promise<void> {
    const code = errorCode(error);
    if (code !== "ENOSPC" && code !== "EDQUOT") {
      this.#fail(error, batch);
      return;
    }
    try {
      // The bytes that did find room are no records yet; the next batch goes over them.
      await this.#file.truncate(this.#position);
    } catch (cause) {
      this.#fail(cause as Error, batch);
      return;
    }
    if (batch.length > 1) {
      // A tombstone may fit where a block did not.
      const seals = batch.filter(({ durable }) => durable);
      this.#seals.unshift(...seals);
      this.#alone += seals.length;
      for (const each of batch.filter(({ durable }) => !durable)) await this.#write([each]);
      return;
    }
    for (const { bytes, done } of batch) {
      this.#queued -= bytes;
      done.reject(new ShardStoreFull("No space left on the disk", { cause: error }));
    }
  }

  #fail(error: Error, batch: readonly Waiting[]): void {
    if (this.#fault === undefined) {
      this.#fault = error;
      this.#events.onFault(this, error);
    }
    this.#queued = 0;
    const all = [...batch, ...this.#blocks.splice(0), ...this.#seals.splice(0)];
    for (const { done } of all) done.reject(unavailable(this.#fault));
    for (const wake of this.#room.splice(0)) wake();
  }
}

function unavailable(cause: Error): ShardStoreUnavailable {
  return new ShardStoreUnavailable("The volume can no longer be written", { cause });
}
