/** A shard in blocks on its way to a far disk: one block travels while the one before it is written there. */
import type { Reply } from "#shards/answer-wire.ts";
import type { LaneStream } from "#shards/lane-stream.ts";
import {
  BLOCK_BYTES_MAX,
  type Block,
  CHUNK_BYTES,
  type ShardId,
  type ShardSeal,
  type ShardWriter,
} from "#shards/shard-store.ts";

export interface FarWriterParts {
  readonly diskId: string;
  readonly id: ShardId;
  readonly signal: AbortSignal;
  readonly forRepair: boolean;
  /** Throws when the node cannot be reached. */
  readonly stream: () => LaneStream;
  /** Throws what the fault stands for. */
  readonly requireDone: (reply: Reply) => void;
}

export class FarShardWriter implements ShardWriter {
  readonly #parts: FarWriterParts;
  /** Blocks belong to the stream that they began on: on another there is no such write. */
  #opened: { readonly stream: LaneStream; readonly write: number } | undefined;
  #state: "open" | "sealed" | "aborted" = "open";
  #fault: { readonly error: unknown } | undefined;
  /** What was sent and is not yet acknowledged. */
  readonly #unacknowledged = new Set<Promise<void>>();
  #last: Promise<void> = Promise.resolve();
  #blocks = 0;
  #blockBytes = 0;
  #isLastSeen = false;

  constructor(parts: FarWriterParts) {
    this.#parts = parts;
  }

  async append(block: Block): Promise<void> {
    this.#requireOpen();
    this.#accept(block);
    this.#parts.signal.throwIfAborted();
    if (this.#fault) throw this.#fault.error;
    const { stream, write } = this.#open();
    const { promise: copied, resolve: onCopied } = Promise.withResolvers<void>();
    const number = this.#blocks++;
    const { diskId: disk, signal } = this.#parts;
    const before = this.#last;
    const { reply } = stream.ask(
      { kind: "append", write, number, block },
      { disk, signal, onCopied },
    );
    this.#last = this.#acknowledged(reply);
    await Promise.race([copied, this.#last]);
    await before;
  }

  async seal(seal: ShardSeal): Promise<void> {
    if (this.#state === "sealed") throw new Error("The shard is sealed already");
    this.#requireOpen();
    this.#state = "sealed";
    const { diskId: disk, signal, requireDone } = this.#parts;
    try {
      signal.throwIfAborted();
      if (this.#fault) throw this.#fault.error;
      const { stream, write } = this.#open();
      const blocks = this.#blocks;
      const { reply } = stream.ask({ kind: "seal", write, blocks, seal }, { disk, signal });
      requireDone(await reply);
    } catch (error) {
      await this.#forget();
      // What became of an earlier block says more than that its write is gone.
      throw this.#fault?.error ?? error;
    }
  }

  async abort(): Promise<void> {
    if (this.#state !== "open") return;
    this.#state = "aborted";
    await this.#forget();
  }

  #open(): { stream: LaneStream; write: number } {
    if (this.#opened) return this.#opened;
    const { id, forRepair, signal, diskId: disk } = this.#parts;
    const stream = this.#parts.stream();
    const { id: write, reply } = stream.ask({ kind: "open", id, forRepair }, { disk, signal });
    this.#opened = { stream, write };
    void this.#acknowledged(reply);
    return this.#opened;
  }

  /** Settles with the answer; its failure is the write's. */
  #acknowledged(reply: Promise<Reply>): Promise<void> {
    const acknowledged = reply.then(this.#parts.requireDone);
    const noted = acknowledged
      .catch((error: unknown) => {
        this.#fault ??= { error };
      })
      .finally(() => this.#unacknowledged.delete(noted));
    this.#unacknowledged.add(noted);
    return acknowledged;
  }

  /** The node keeps nothing of it, if it can be told; if not, the end of the stream has told it. */
  async #forget(): Promise<void> {
    if (!this.#opened) return;
    const { stream, write } = this.#opened;
    try {
      await stream.ask({ kind: "abort", write }, { disk: this.#parts.diskId }).reply;
    } catch {
      // Nothing can be done from here.
    }
    await Promise.all(this.#unacknowledged);
  }

  #accept(block: Block): void {
    if (block.length === 0 || block.length > BLOCK_BYTES_MAX) {
      throw new RangeError(`A block has 1 to ${BLOCK_BYTES_MAX} bytes, not ${block.length}`);
    }
    if (block.checksums.length !== Math.ceil(block.length / CHUNK_BYTES)) {
      throw new RangeError(
        `A block of ${block.length} bytes has ${block.checksums.length} checksums`,
      );
    }
    if (this.#blocks === 0) this.#blockBytes = block.length;
    if (this.#isLastSeen || block.length > this.#blockBytes) {
      throw new RangeError("All blocks of a shard but the last have one length");
    }
    this.#isLastSeen = block.length < this.#blockBytes;
  }

  #requireOpen(): void {
    if (this.#state !== "open") throw new Error(`The shard is ${this.#state}`);
  }
}
