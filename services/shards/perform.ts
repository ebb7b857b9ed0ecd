/** One request of a stream, done on the disk that it names. */
import { BufferPool } from "#lib/buffer-pool.ts";
import { chunkChecksums } from "#lib/crc32c.ts";
import type { Reply } from "#shards/answer-wire.ts";
import type { HalfWrittenShards } from "#shards/half-written.ts";
import type { Question, Request } from "#shards/request-wire.ts";
import type { ScrubCounts } from "#shards/scrub-counts.ts";
import {
  BLOCK_BYTES_MAX,
  type Block,
  CHUNK_BYTES,
  type ShardInfo,
  type ShardPage,
  type ShardStore,
  ShardStoreUnavailable,
} from "#shards/shard-store.ts";

/** Of a listing: what one answer may hold. Callers go on from its `next`. */
const PAGE_SHARDS_MAX = 1000;
const PAGE_BYTES_MAX = 2 * 1024 * 1024;
/** Of one remove. */
const REMOVALS_MAX = 10_000;
/** Of an info beside what its seal says of the object. */
const INFO_BYTES = 256;

/** Read into memory that is used again; smaller reads are cheaper without. */
const POOLED_BYTES_MIN = 64 * 1024;
/** Waiting for their next use, of all streams. */
const FREE_BYTES_MAX = 16 * 1024 * 1024;
const pool = new BufferPool(FREE_BYTES_MAX);

const DONE: Reply = { kind: "done" };

export interface PerformParts {
  readonly stores: ReadonlyMap<string, ShardStore>;
  readonly scrubs: ScrubCounts;
  readonly nodeId: string;
}

export async function perform(
  parts: PerformParts,
  { id: request, disk, question }: Request,
  { writes, signal }: { writes: HalfWrittenShards; signal: AbortSignal },
): Promise<Reply> {
  switch (question.kind) {
    case "append":
      requireChecksums(question.block);
      await writes.append(question.write, question.number, question.block);
      return DONE;
    case "seal":
      await writes.seal(question.write, question.blocks, question.seal);
      return DONE;
    case "abort":
      await writes.abort(question.write, new Error("The writer aborted"));
      return DONE;
    case "open": {
      const { id, forRepair } = question;
      writes.open(request, { store: storeOf(parts, disk), id, forRepair });
      return DONE;
    }
    case "cancel":
      return DONE;
    case "put":
    case "read":
    case "stat":
    case "verify":
    case "link":
    case "remove":
    case "list":
    case "health":
      return await performOnDisk(parts, { store: storeOf(parts, disk), disk, question, signal });
  }
}

interface OnDisk {
  readonly store: ShardStore;
  readonly disk: string;
  readonly question: Exclude<Question, { kind: "append" | "seal" | "abort" | "open" | "cancel" }>;
  readonly signal: AbortSignal;
}

async function performOnDisk(
  { scrubs }: PerformParts,
  { store, disk, question, signal }: OnDisk,
): Promise<Reply> {
  switch (question.kind) {
    case "put": {
      const { id, block, seal, forRepair } = question;
      if (block) requireChecksums(block);
      await store.put(id, { block, seal }, { signal, forRepair });
      return DONE;
    }
    case "read": {
      const { id, offset, length } = question;
      if (length > BLOCK_BYTES_MAX) throw new RangeError(`A read of ${length} bytes`);
      // When a read fails, who knows what still writes into its memory: it is left to V8.
      const into = length < POOLED_BYTES_MIN ? undefined : pool.take(length);
      let kept: Uint32Array | undefined;
      const onKept = (checksums: Uint32Array) => {
        kept = checksums;
      };
      const options = { signal, onKept, ...(into && { into }) };
      const bytes = await store.read(id, { offset, length }, options);
      const checksums = kept ?? chunkChecksums([bytes], bytes.length, CHUNK_BYTES);
      return { kind: "content", bytes, checksums, ...(into && { release: () => pool.give(into) }) };
    }
    case "stat":
      return { kind: "found", info: await store.stat(question.id, signal) };
    case "verify": {
      const verdict = await store.verify(question.id, signal);
      scrubs.note(disk, verdict);
      return { kind: "verdict", verdict };
    }
    case "link": {
      const { source, target, seal } = question;
      await store.link({ source, target }, seal, signal);
      return DONE;
    }
    case "remove":
      if (question.ids.length > REMOVALS_MAX) {
        throw new RangeError(`${question.ids.length} shards to remove at once`);
      }
      await store.remove(question.ids, signal, question.term);
      return DONE;
    case "list": {
      const { after, group } = question;
      const limit = Math.min(question.limit, PAGE_SHARDS_MAX);
      const request = { ...(after && { after }), ...(group !== undefined && { group }), limit };
      return { kind: "page", page: bounded(await store.list(request, signal)) };
    }
    case "health":
      return { kind: "health", health: await store.health() };
  }
}

function storeOf({ stores, nodeId }: PerformParts, disk: string): ShardStore {
  const store = stores.get(disk);
  if (store) return store;
  throw new ShardStoreUnavailable(`Node ${nodeId} has no disk ${disk}`);
}

/** Before anything is kept: what was damaged on the way must not be acknowledged (R7). */
function requireChecksums({ pieces, length, checksums }: Block): void {
  const found = chunkChecksums(pieces, length, CHUNK_BYTES);
  if (found.length !== checksums.length) {
    throw new RangeError(`A block of ${length} bytes has ${checksums.length} checksums`);
  }
  for (let chunk = 0; chunk < found.length; chunk++) {
    if (found[chunk] === checksums[chunk]) continue;
    throw new ShardStoreUnavailable(`Chunk ${chunk} of the block came damaged`);
  }
}

/** As many of them as one answer may hold. */
function bounded(page: ShardPage): ShardPage {
  const shards: ShardInfo[] = [];
  let bytes = 0;
  for (const info of page.shards) {
    bytes += INFO_BYTES + info.about.length + info.session.length + info.siblings.length * 4;
    if (bytes > PAGE_BYTES_MAX && shards.length > 0) {
      return { shards, next: shards.at(-1)?.id };
    }
    shards.push(info);
  }
  return page;
}
