/**
 * Where the shards of one disk are kept. Implemented by a disk of this machine (storage/), by a disk of
 * a node far away and by the simulator, so callers never know which; `shard-store.contract.ts` holds
 * what all of them promise.
 *
 * A shard is write-once: (group, writeId, index) is never reused and never overwritten. It is written as
 * blocks and then sealed; an unsealed shard does not exist. Its bytes are determined by its writeId and
 * index, so writing it again (repair, a retry) is harmless when the digest is equal, refused otherwise.
 */

export interface ShardId {
  /** Placement group, 0 … 65,535. */
  readonly group: number;
  /** 16 random bytes, one for every write; groups are chosen from them. */
  readonly writeId: Uint8Array;
  /** Place of this shard among the n of its stripe, 0 … 23. */
  readonly index: number;
}

/** Longest block. */
export const BLOCK_BYTES_MAX = 4 * 1024 * 1024;
/** Every this many bytes of a block have a CRC32C of their own, so that a short range costs a short read. */
export const CHUNK_BYTES = 64 * 1024;

/** What a shard says of itself: enough to find its reference, and for an operator to get candidate versions back. */
export interface ShardSeal {
  /** Metadata session of the writer, and the writer's number for this write (R9). */
  readonly session: string;
  readonly sequence: number;
  /** CRC32C digests of all shards of this write, in order of index; see `shardDigest`. */
  readonly siblings: readonly number[];
  /** Protobuf `About` of proto/records.proto: cluster, bucket, key, version or upload and part, codec, sizes, ETag, metadata. */
  readonly about: Uint8Array;
}

export interface ShardInfo extends ShardSeal {
  readonly id: ShardId;
  /** Bytes of all blocks. */
  readonly length: number;
  readonly blocks: number;
  readonly digest: number;
}

/** Bytes in one or more pieces, with the CRC32C of each CHUNK_BYTES of them, computed where the bytes were made (R7). */
export interface Block {
  readonly pieces: readonly Uint8Array[];
  readonly length: number;
  readonly checksums: Uint32Array;
}

export interface ShardWriter {
  /** Blocks land in the order of the calls; all but the last have one length. Resolves when the next may be sent (the pieces are then free). */
  append(block: Block): Promise<void>;
  /** Resolves once the shard would survive a power cut. Its own digest must equal `siblings[index]`. */
  seal(seal: ShardSeal): Promise<void>;
  /** Forgets what was appended. Harmless after seal. */
  abort(): Promise<void>;
}

/** Why a store cannot take a shard now; the caller goes elsewhere or answers 503. */
export class ShardStoreUnavailable extends Error {
  override readonly name = "ShardStoreUnavailable";
}
/** The reserve of the disk is reached: no new shards, while deletes and repair go on (R19). */
export class ShardStoreFull extends ShardStoreUnavailable {}
/** Bytes are there and wrong, or cannot be read (I11): never "absent". */
export class ShardCorrupt extends Error {
  override readonly name = "ShardCorrupt";
}
/** Another shard of that name, with other bytes, is there already. */
export class ShardConflict extends Error {
  override readonly name = "ShardConflict";
}
/** A removal of a term before the latest that the disk has heard of: whoever decided it does not know what happened since. */
export class ShardFenced extends Error {
  override readonly name = "ShardFenced";
  /** The latest term. */
  readonly seen: number;

  constructor(seen: number, message = `The disk has heard of term ${seen}`) {
    super(message);
    this.seen = seen;
  }
}
/** A read of a shard that this store does not hold. */
export class ShardMissing extends Error {
  override readonly name = "ShardMissing";
}

export interface ShardPage {
  readonly shards: readonly ShardInfo[];
  /** Where to go on; undefined at the end. */
  readonly next: ShardId | undefined;
}

export interface StoreHealth {
  readonly state: "writable" | "full" | "read-only" | "failed";
  /** Bytes of the file system, and of it free. */
  readonly capacity: number;
  readonly free: number;
  /** Live bytes of shards, and bytes of volumes. */
  readonly live: number;
  readonly used: number;
  /** Why it is not writable. */
  readonly reason?: string;
}

export interface ShardReadOptions {
  readonly signal: AbortSignal;
  readonly into?: Uint8Array;
  /**
   * Called before the answer where the kept checksums are those of its bytes, CHUNK_BYTES each: who passes them on does not vouch for
   * what happened to the bytes in memory meanwhile.
   */
  readonly onKept?: (checksums: Uint32Array) => void;
}

export interface ShardStore extends AsyncDisposable {
  /** The disk's own id, from its `disk.json`; 32 hex digits. */
  readonly diskId: string;
  /** Throws ShardStoreFull or ShardStoreUnavailable from append or seal. `forRepair` may use the reserve. */
  write(id: ShardId, options: { signal: AbortSignal; forRepair?: boolean }): ShardWriter;
  /** One block and its seal in one go: what small objects take. */
  put(
    id: ShardId,
    content: { block: Block | undefined; seal: ShardSeal },
    options: { signal: AbortSignal; forRepair?: boolean },
  ): Promise<void>;
  /**
   * Bytes [offset, offset + length) of the shard, each chunk verified; length ≤ BLOCK_BYTES_MAX.
   * Throws ShardMissing or ShardCorrupt. `into`, when given, may be where the bytes are put (it is at least `length` long);
   * the answer says where they are.
   */
  read(
    id: ShardId,
    range: { offset: number; length: number },
    options: ShardReadOptions,
  ): Promise<Uint8Array>;
  /** What the seal says; undefined when there is no such shard. */
  stat(id: ShardId, signal: AbortSignal): Promise<ShardInfo | undefined>;
  /** Reads the whole shard and checks every byte: what scrub does. */
  verify(id: ShardId, signal: AbortSignal): Promise<"good" | "bad" | "missing">;
  /** A second name for the same bytes, sealed on its own. Durable. Throws ShardMissing. */
  link(
    ids: { source: ShardId; target: ShardId },
    seal: ShardSeal,
    signal: AbortSignal,
  ): Promise<void>;
  /**
   * Logical delete of names, durable; absent ones are skipped. The bytes go with the last name. With a term: the disk remembers the
   * highest for good, and refuses lower ones (ShardFenced); without any name nothing else happens. Where several processes have the
   * disk open, each remembers for itself until it is opened again.
   */
  remove(ids: readonly ShardId[], signal: AbortSignal, term?: number): Promise<void>;
  /** Sealed shards in order of (group, writeId, index), after the given one. `group` keeps to one group. */
  list(
    request: { after?: ShardId; group?: number; limit: number },
    signal: AbortSignal,
  ): Promise<ShardPage>;
  health(): Promise<StoreHealth>;
}
