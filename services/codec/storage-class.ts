/** Codec names as storage classes spell them: `replica-3`, `ec-4+2`. */

export type CodecShape =
  | { readonly kind: "replica"; readonly copies: number }
  | { readonly kind: "ec"; readonly k: number; readonly m: number };

/** Bounds of the format: shard indexes go up to 23, and the parity matrix has 8 rows and 16 columns. */
export const DATA_SHARDS_MAX = 16;
export const PARITY_SHARDS_MAX = 8;
export const COPIES_MAX = PARITY_SHARDS_MAX + 1;

const MEBIBYTE = 1024 * 1024;
/** The unit is a multiple of what one block checksum covers, so that only an object's last chunk is short. */
const UNIT_STEP = 64 * 1024;
/** README.md tells why. */
const UNIT_MAX = MEBIBYTE;
const STRIPE_DATA_MAX = 4 * MEBIBYTE;

/** What the name says; undefined when it is no codec's. */
export function parseCodecName(name: string): CodecShape | undefined {
  const replica = /^replica-([1-9])$/.exec(name);
  if (replica) return { kind: "replica", copies: Number(replica[1]) };
  const ec = /^ec-([1-9]\d?)\+([1-9])$/.exec(name);
  if (!ec) return undefined;
  const k = Number(ec[1]);
  const m = Number(ec[2]);
  if (k > DATA_SHARDS_MAX || m > PARITY_SHARDS_MAX) return undefined;
  return { kind: "ec", k, m };
}

export function codecName(shape: CodecShape): string {
  return shape.kind === "replica" ? `replica-${shape.copies}` : `ec-${shape.k}+${shape.m}`;
}

/** Shards of every stripe. */
export function shardCount(shape: CodecShape): number {
  return shape.kind === "replica" ? shape.copies : shape.k + shape.m;
}

/** Bytes of a block of a full stripe, for new objects; those written earlier name their own. */
export function defaultUnit(shape: CodecShape): number {
  if (shape.kind === "replica") return UNIT_MAX;
  const largest = Math.min(UNIT_MAX, STRIPE_DATA_MAX / shape.k);
  return largest - (largest % UNIT_STEP);
}
