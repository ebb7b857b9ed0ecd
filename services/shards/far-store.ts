/** A disk of a far node as a ShardStore. */
import { crc32c } from "#lib/crc32c.ts";
import type { Reply } from "#shards/answer-wire.ts";
import { FarShardWriter } from "#shards/far-writer.ts";
import { errorOf } from "#shards/faults.ts";
import type { LaneStream } from "#shards/lane-stream.ts";
import { freeMessage } from "#shards/message-memory.ts";
import type { Question } from "#shards/request-wire.ts";
import {
  BLOCK_BYTES_MAX,
  type Block,
  CHUNK_BYTES,
  type ShardId,
  type ShardInfo,
  type ShardPage,
  type ShardReadOptions,
  type ShardSeal,
  type ShardStore,
  ShardStoreUnavailable,
  type ShardWriter,
  type StoreHealth,
} from "#shards/shard-store.ts";

export interface FarStoreParts {
  readonly diskId: string;
  readonly nodeId: string;
  /** Where a request goes whose block, or whose answer's, has so many bytes. Throws when the node cannot be reached. */
  readonly stream: (bytes: number) => LaneStream;
  /** Told when an answer's bytes are not what the node says of them, or not those asked for. */
  readonly onWrongAnswer: (what: string) => void;
}

/** Of one remove; more go in turn. */
const REMOVALS_MAX = 1000;
/** A small answer is taken out of the message that it came in with others, so as not to keep them all. */
const KEPT_SHARE = 0.5;

export class FarShardStore implements ShardStore {
  readonly diskId: string;
  readonly #parts: FarStoreParts;

  constructor(parts: FarStoreParts) {
    this.diskId = parts.diskId;
    this.#parts = parts;
  }

  write(id: ShardId, options: { signal: AbortSignal; forRepair?: boolean }): ShardWriter {
    return new FarShardWriter({
      diskId: this.diskId,
      id,
      signal: options.signal,
      forRepair: options.forRepair ?? false,
      stream: () => this.#parts.stream(BLOCK_BYTES_MAX),
      requireDone: (reply) => this.#require(reply, "done"),
    });
  }

  async put(
    id: ShardId,
    { block, seal }: { block: Block | undefined; seal: ShardSeal },
    { signal, forRepair = false }: { signal: AbortSignal; forRepair?: boolean },
  ): Promise<void> {
    const content = block && block.length > 0 ? block : undefined;
    const question: Question = { kind: "put", id, seal, forRepair, block: content };
    this.#require(await this.#ask(question, signal, content?.length), "done");
  }

  async read(
    id: ShardId,
    { offset, length }: { offset: number; length: number },
    { signal, into }: ShardReadOptions,
  ): Promise<Uint8Array> {
    if (length > BLOCK_BYTES_MAX || length < 0 || offset < 0) {
      throw new RangeError(`Cannot read bytes ${offset}+${length} of a shard`);
    }
    const reply = await this.#ask({ kind: "read", id, offset, length }, signal, length);
    const { bytes, checksums, isAlone } = this.#require(reply, "content");
    this.#check(bytes, checksums, length);
    if (into) {
      into.set(bytes);
      if (isAlone) freeMessage(bytes);
      return into.subarray(0, length);
    }
    return bytes.length < bytes.buffer.byteLength * KEPT_SHARE ? Buffer.from(bytes) : bytes;
  }

  async stat(id: ShardId, signal: AbortSignal): Promise<ShardInfo | undefined> {
    return this.#require(await this.#ask({ kind: "stat", id }, signal), "found").info;
  }

  async verify(id: ShardId, signal: AbortSignal): Promise<"good" | "bad" | "missing"> {
    return this.#require(await this.#ask({ kind: "verify", id }, signal), "verdict").verdict;
  }

  async link(
    { source, target }: { source: ShardId; target: ShardId },
    seal: ShardSeal,
    signal: AbortSignal,
  ): Promise<void> {
    this.#require(await this.#ask({ kind: "link", source, target, seal }, signal), "done");
  }

  async remove(ids: readonly ShardId[], signal: AbortSignal, term?: number): Promise<void> {
    // A term is told also with no name.
    for (let start = 0; start < Math.max(1, ids.length); start += REMOVALS_MAX) {
      const part = ids.slice(start, start + REMOVALS_MAX);
      this.#require(await this.#ask({ kind: "remove", ids: part, term }, signal), "done");
    }
  }

  async list(
    { after, group, limit }: { after?: ShardId; group?: number; limit: number },
    signal: AbortSignal,
  ): Promise<ShardPage> {
    const question: Question = { kind: "list", after, group, limit };
    return this.#require(await this.#ask(question, signal), "page").page;
  }

  async health(): Promise<StoreHealth> {
    return this.#require(await this.#ask({ kind: "health" }), "health").health;
  }

  /** The connection is not its own. */
  async [Symbol.asyncDispose](): Promise<void> {}

  async #ask(question: Question, signal?: AbortSignal, bytes = 0): Promise<Reply> {
    signal?.throwIfAborted();
    const stream = this.#parts.stream(bytes);
    return await stream.ask(question, { disk: this.diskId, signal }).reply;
  }

  #require<K extends Reply["kind"]>(reply: Reply, kind: K): Extract<Reply, { kind: K }> {
    if (reply.kind === kind) return reply as Extract<Reply, { kind: K }>;
    if (reply.kind === "fault") throw errorOf(reply, this.#parts.nodeId);
    throw this.#wrong(`${reply.kind} where ${kind} was asked for`);
  }

  /** The disk's own checks were made at the node; this tells what came from what it meant to send (R7). */
  #check(bytes: Uint8Array, checksums: ArrayLike<number>, length: number): void {
    if (bytes.length !== length || checksums.length !== Math.ceil(length / CHUNK_BYTES)) {
      throw this.#wrong(`${bytes.length} bytes where ${length} were asked for`);
    }
    for (let chunk = 0; chunk < checksums.length; chunk++) {
      const start = chunk * CHUNK_BYTES;
      if (crc32c(bytes.subarray(start, start + CHUNK_BYTES)) !== checksums[chunk]) {
        throw this.#wrong("bytes that are not those of their checksum");
      }
    }
  }

  /** Not the disk's fault, so not ShardCorrupt: another disk is asked, and nothing is repaired. */
  #wrong(what: string): Error {
    this.#parts.onWrongAnswer(what);
    return new ShardStoreUnavailable(`Node ${this.#parts.nodeId} answered ${what}`);
  }
}
