/** Arithmetic of extents, stripes and blocks; pure. `codec.ts` says how a stripe is cut. */
import type { Extent } from "#objects/model.ts";

/** A piece of one stripe: bytes [from, to) of it. */
export interface StripeRange {
  readonly extent: Extent;
  /** Where the stripe's blocks begin in the shards. */
  readonly shardOffset: number;
  readonly blockLength: number;
  readonly from: number;
  readonly to: number;
}

/** Bytes [from, to) of one block. */
export interface BlockRange {
  readonly index: number;
  readonly from: number;
  readonly to: number;
}

/** Bytes [start, end) of the extents taken as one run, stripe by stripe. `dataShards` is the codec's k. */
export function* stripesOf(
  extents: readonly Extent[],
  { start, end }: { start: number; end: number },
  dataShards: (extent: Extent) => number,
): Generator<StripeRange> {
  let base = 0;
  for (const extent of extents) {
    if (base >= end) return;
    const from = Math.max(0, start - base);
    const to = Math.min(extent.size, end - base);
    base += extent.size;
    if (from >= to) continue;
    const k = dataShards(extent);
    const stripeBytes = extent.unit * k;
    for (let stripe = Math.floor(from / stripeBytes); stripe * stripeBytes < to; stripe++) {
      yield stripeRange(extent, { k, stripe, from, to });
    }
  }
}

/** The stripe number `stripe` of the extent, as far as it lies in bytes [from, to) of the extent. */
export function stripeRange(
  extent: Extent,
  { k, stripe, from, to }: { k: number; stripe: number; from: number; to: number },
): StripeRange {
  const begin = stripe * extent.unit * k;
  const length = Math.min(extent.unit * k, extent.size - begin);
  return {
    extent,
    shardOffset: stripe * extent.unit,
    blockLength: Math.ceil(length / k),
    from: Math.max(0, from - begin),
    to: Math.min(length, to - begin),
  };
}

/** The data blocks that hold the range, and which bytes of each. */
export function blocksOf({ blockLength, from, to }: StripeRange): readonly BlockRange[] {
  const first = Math.floor(from / blockLength);
  const last = Math.floor((to - 1) / blockLength);
  const ranges: BlockRange[] = [];
  for (let index = first; index <= last; index++) {
    ranges.push({
      index,
      from: index === first ? from - first * blockLength : 0,
      to: index === last ? to - last * blockLength : blockLength,
    });
  }
  return ranges;
}

/** Bytes of a shard of a write of that size: what its sealed shards hold. */
export function shardLength(
  { size, unit }: { size: number; unit: number },
  dataShards: number,
): number {
  const stripeBytes = unit * dataShards;
  const full = Math.floor(size / stripeBytes);
  return full * unit + Math.ceil((size - full * stripeBytes) / dataShards);
}
