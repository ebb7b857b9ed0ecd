/**
 * Extents + range → verified bytes in order. What is read ahead is bounded for each reader and for all of them
 * together: however many clients dawdle, the process stays small (I13).
 */
import { BufferPool } from "#lib/buffer-pool.ts";
import { type StripeRange, stripeRange, stripesOf } from "#objects/extents.ts";
import type { Extent } from "#objects/model.ts";
import { StripeBuffers } from "#objects/stripe-buffers.ts";
import type { StripeReads } from "#objects/stripe-reads.ts";

export interface ReadRequest {
  readonly extents: readonly Extent[];
  readonly start: number;
  readonly end: number;
  readonly signal: AbortSignal;
  /** A piece is good only until the next one is asked for. */
  readonly isTransient?: boolean;
}

/** Stripes on their way while one is handed out: the disks work while the client takes. */
const READ_AHEAD = 2;
/** For stripes of all readers together; who finds nothing left reads on in slices, one at a time. */
const READ_BYTES_MAX = 96 * 1024 * 1024;
/** A multiple of what has one checksum; small enough for a thousand slow clients. */
const SLICE_BYTES = 128 * 1024;
/** More than this is streamed. */
const SMALL_READ_BYTES_MAX = 256 * 1024;

/** Buffers that wait for their next use. */
const FREE_BYTES_MAX = 16 * 1024 * 1024;

interface Ahead {
  readonly pieces: Promise<readonly Uint8Array[]>;
  readonly buffers: StripeBuffers | undefined;
  /** Taken from the budget. */
  readonly bytes: number;
}

export class ExtentReader {
  readonly #stripes: StripeReads;
  readonly #pool = new BufferPool(FREE_BYTES_MAX);
  #budget: number;

  constructor(
    stripes: StripeReads,
    { readBytesMax = READ_BYTES_MAX }: { readBytesMax?: number } = {},
  ) {
    this.#stripes = stripes;
    this.#budget = readBytesMax;
  }

  /** undefined: it is not within one stripe, or too large to hold at once. */
  async readSmall({
    extents,
    start,
    end,
    signal,
  }: ReadRequest): Promise<readonly Uint8Array[] | undefined> {
    const length = end - start;
    if (length > SMALL_READ_BYTES_MAX) return undefined;
    if (length <= 0) return [];
    let base = 0;
    for (const extent of extents) {
      const from = start - base;
      const to = end - base;
      base += extent.size;
      if (from >= extent.size) continue;
      const k = this.#stripes.dataShards(extent);
      const stripe = Math.floor(from / (extent.unit * k));
      if (to > Math.min(extent.size, (stripe + 1) * extent.unit * k)) return undefined;
      return this.#stripes.read(stripeRange(extent, { k, stripe, from, to }), { signal });
    }
    throw outside({ extents, start, end });
  }

  async *read({
    extents,
    start,
    end,
    signal,
    isTransient = false,
  }: ReadRequest): AsyncGenerator<Uint8Array, void, void> {
    if (start < 0 || end > totalSize(extents)) throw outside({ extents, start, end });
    const stop = new AbortController();
    const lives = AbortSignal.any([signal, stop.signal]);
    const queue: Ahead[] = [];
    try {
      for (const range of stripesOf(extents, { start, end }, (one) =>
        this.#stripes.dataShards(one),
      )) {
        for (const part of this.#affordable(range)) {
          queue.push(this.#begin(part, lives, isTransient));
          const ahead = part === range ? READ_AHEAD : 0;
          while (queue.length > ahead) {
            yield* this.#handOut(queue);
          }
        }
      }
      while (queue.length > 0) yield* this.#handOut(queue);
    } finally {
      stop.abort();
      for (const { bytes } of queue) this.#budget += bytes;
    }
  }

  /** The stripe whole, or in slices where all readers together hold enough already. */
  #affordable(range: StripeRange): readonly StripeRange[] {
    if (range.to - range.from <= Math.max(this.#budget, SLICE_BYTES)) return [range];
    const slices: StripeRange[] = [];
    for (let from = range.from; from < range.to; ) {
      const to = Math.min(range.to, from - (from % SLICE_BYTES) + SLICE_BYTES);
      slices.push({ ...range, from, to });
      from = to;
    }
    return slices;
  }

  #begin(range: StripeRange, signal: AbortSignal, isTransient: boolean): Ahead {
    const bytes = range.to - range.from;
    this.#budget -= bytes;
    const buffers = isTransient ? new StripeBuffers(this.#pool) : undefined;
    const pieces = this.#stripes.read(range, { signal, buffers });
    // Handed out later, or never when an earlier one failed.
    pieces.catch(() => undefined);
    return { pieces, buffers, bytes };
  }

  async *#handOut(queue: Ahead[]): AsyncGenerator<Uint8Array, void, void> {
    const [first] = queue;
    if (!first) return;
    yield* await first.pieces;
    // Not where the reading was broken off: then a piece may still be on its way out.
    first.buffers?.giveBack();
    queue.shift();
    this.#budget += first.bytes;
  }
}

function totalSize(extents: readonly Extent[]): number {
  let size = 0;
  for (const extent of extents) size += extent.size;
  return size;
}

function outside({ extents, start, end }: Omit<ReadRequest, "signal">): Error {
  return new Error(`Cannot read bytes ${start} to ${end}: the extents hold ${totalSize(extents)}`);
}
