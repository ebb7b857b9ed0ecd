/** A data plane in memory for tests of the index side: it keeps bytes, and watches that every write is settled once. */
import { hash } from "node:crypto";
import type { Random } from "#lib/random.ts";
import type { Put, Session } from "#metadata/metadata-store.ts";
import {
  type DataPlane,
  ExtentGone,
  type ExtentOwner,
  type WrittenExtents,
} from "#objects/data-plane.ts";
import type { Extent, ObjectBody } from "#objects/model.ts";

export interface StoredBytes {
  readonly bytes: Buffer;
  readonly owner: ExtentOwner;
  readonly extent: Extent;
  outcome: "under-way" | "committed" | "not-committed";
}

const READ_BYTES = 64 * 1024;

export class MemoryDataPlane implements DataPlane {
  readonly #session: Session;
  readonly #random: Random;
  /** By writeId as hex. */
  readonly stored: Map<string, StoredBytes>;
  /** What is added to each commit's puts, as for dirty marks. */
  marks: readonly Put[] = [];
  canLink = true;
  bytesRead = 0;

  /** `stored`: the disks of another process. */
  constructor(parts: { session: Session; random: Random; stored?: Map<string, StoredBytes> }) {
    this.#session = parts.session;
    this.#random = parts.random;
    this.stored = parts.stored ?? new Map();
  }

  async write(request: Parameters<DataPlane["write"]>[0]): Promise<WrittenExtents> {
    const { body, owner, describe, signal } = request;
    const pieces: Buffer[] = [];
    for await (const piece of body) {
      signal.throwIfAborted();
      pieces.push(Buffer.from(piece));
    }
    describe();
    return this.#keep([Buffer.concat(pieces)], owner);
  }

  /** There is only one place. */
  async replan(): Promise<void> {}

  async link(request: Parameters<DataPlane["link"]>[0]): Promise<WrittenExtents | undefined> {
    const { extents, owner } = request;
    const bytes = extents.map((extent) => this.#bytesOf(extent));
    return this.canLink ? this.#keep(bytes, owner) : undefined;
  }

  async *read(request: Parameters<DataPlane["read"]>[0]): AsyncGenerator<Uint8Array> {
    const { extents, start, end } = request;
    const bytes = Buffer.concat(extents.map((extent) => this.#bytesOf(extent)));
    for (let at = start; at < end; at += READ_BYTES) {
      const piece = bytes.subarray(at, Math.min(at + READ_BYTES, end));
      this.bytesRead += piece.length;
      yield piece;
    }
  }

  async readSmall(
    request: Parameters<DataPlane["readSmall"]>[0],
  ): Promise<readonly Uint8Array[] | undefined> {
    const { extents, start, end } = request;
    const [extent] = extents;
    if (extent === undefined || extents.length > 1 || end - start > READ_BYTES) return undefined;
    return [this.#bytesOf(extent).subarray(start, end)];
  }

  /** Writes whose outcome the index side has not told. */
  get underWay(): number {
    return [...this.stored.values()].filter(({ outcome }) => outcome === "under-way").length;
  }

  /** What garbage collection does. */
  remove(writeId: Uint8Array): void {
    this.stored.delete(nameOf(writeId));
  }

  #keep(contents: readonly Buffer[], owner: ExtentOwner): WrittenExtents {
    const kept = contents
      .filter(({ length }) => length > 0)
      .map((bytes): StoredBytes => {
        const writeId = this.#random.bytes(16);
        const extent = {
          group: writeId[0] ?? 0,
          writeId,
          codec: "replica-1",
          unit: 65_536,
          size: bytes.length,
        };
        const stored: StoredBytes = { bytes, owner, extent, outcome: "under-way" };
        this.stored.set(nameOf(writeId), stored);
        return stored;
      });
    let isSettled = false;
    return {
      extents: kept.map(({ extent }) => extent),
      expect: [this.#session.expectation()],
      put: this.marks,
      settle: (outcome) => {
        if (isSettled) throw new Error("Cannot settle a write twice");
        isSettled = true;
        for (const stored of kept) {
          stored.outcome = outcome;
          if (outcome === "not-committed") this.remove(stored.extent.writeId);
        }
      },
    };
  }

  #bytesOf(extent: Extent): Buffer {
    const stored = this.stored.get(nameOf(extent.writeId));
    if (stored === undefined) throw new ExtentGone("Cannot read an extent: it was removed");
    return stored.bytes;
  }
}

/** A body as the gateway hands it over: digests known at its end. */
export class TestBody implements ObjectBody {
  readonly #bytes: Buffer;
  readonly #checksum: ReturnType<ObjectBody["digests"]>["checksum"];
  readonly size: number;

  constructor(
    bytes: Buffer | string,
    checksum?: (bytes: Buffer) => ReturnType<ObjectBody["digests"]>["checksum"],
  ) {
    this.#bytes = Buffer.from(bytes);
    this.#checksum = checksum?.(this.#bytes);
    this.size = this.#bytes.length;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    if (this.size > 0) yield this.#bytes;
  }

  digests(): ReturnType<ObjectBody["digests"]> {
    return { md5: hash("md5", this.#bytes, "buffer"), checksum: this.#checksum };
  }
}

function nameOf(writeId: Uint8Array): string {
  return Buffer.from(writeId).toString("hex");
}
