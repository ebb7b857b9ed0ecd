/**
 * The interface between the index side of the object layer (versions, multipart, copy) and its data side
 * (writer.ts, reader.ts): extents go in and come out, shards and disks stay behind it.
 */
import type { Expectation } from "#metadata/metadata-store.ts";
import type { Extent, ObjectBody } from "#objects/model.ts";

/** Who an extent belongs to; written into every shard's seal and read back by garbage collection and by operators. */
export interface ExtentOwner {
  readonly bucketId: string;
  readonly bucketName: string;
  readonly key: string;
  /** For the bytes of a part, and of a manifest of an upload. */
  readonly uploadId?: string;
  readonly partNumber?: number;
}

/** Bytes durable on W disks or more and named by nothing yet. */
export interface WrittenExtents {
  /** One, or none for an empty body. */
  readonly extents: readonly Extent[];
  /** To be added to the commit: the writer's session, and the placement groups' keys (DESIGN §5). Fails → `replan`. */
  readonly expect: readonly Expectation[];
  /** Dirty marks and the like, to be added to the commit. */
  readonly put: readonly { readonly key: Uint8Array; readonly value: Uint8Array }[];
  /** The commit's outcome is known: the write no longer counts as under way (R9 b). Must be called exactly once; not committed → the shards are removed. */
  settle(outcome: "committed" | "not-committed"): void;
}

export interface DataPlane {
  /** Reads the body to its end. Throws what the body throws, having undone itself; `Unavailable` when fewer than W disks took it. */
  write(request: {
    body: ObjectBody;
    owner: ExtentOwner;
    storageClass: string;
    /** Headers and metadata for the seal, so that shards alone tell what they were; opaque here. */
    describe: () => Uint8Array;
    signal: AbortSignal;
  }): Promise<WrittenExtents>;
  /** Second names for the same bytes on the same disks; undefined when that cannot be (another codec than the class asks for, a shard missing). */
  link(request: {
    extents: readonly Extent[];
    owner: ExtentOwner;
    storageClass: string;
    signal: AbortSignal;
  }): Promise<WrittenExtents | undefined>;
  /** Bytes [start, end) of the extents taken as one run of bytes, verified, in order. Throws ExtentGone when they were removed. */
  read(request: {
    extents: readonly Extent[];
    start: number;
    end: number;
    signal: AbortSignal;
    /** A piece is good only until the next one is asked for: its memory is used again. */
    isTransient?: boolean;
  }): AsyncIterable<Uint8Array>;
  /** The same at once when the range lies in one stripe of one extent; else undefined. */
  readSmall(request: {
    extents: readonly Extent[];
    start: number;
    end: number;
    signal: AbortSignal;
  }): Promise<readonly Uint8Array[] | undefined>;
  /** What is written from now on goes where the index has it now. */
  replan(): Promise<void>;
}

/** The extent's shards are nowhere: it was removed (after the trash's retention), or more than m shards are lost. */
export class ExtentGone extends Error {
  override readonly name = "ExtentGone";
}
