/**
 * Where a page probably ends. etcd counts every key of the range that it is asked for, whatever the limit, so a page
 * of a large bucket would cost as much as the bucket. So it is asked for a range that probably holds a little more than the page,
 * and for what follows when it does not. A guess that is wrong costs another request, never an entry.
 */
import { afterKey, afterPrefix, asBuffer } from "#metadata/keys.ts";
import type { Entry } from "#metadata/metadata-store.ts";

/** How keys lie in a region: their first difference is at `place`, and so far apart are they, read as a number from there on. */
interface Density {
  readonly place: number;
  readonly step: number;
  /** The region's first page when last read: where it began says nothing of where its keys lie. */
  readonly opening: Opening | undefined;
}

interface Opening {
  readonly from: Uint8Array;
  readonly last: Buffer;
  readonly count: number;
}

/** What reading a page took. */
export interface PageCost {
  /** Keys that etcd has walked over. */
  readonly counted: number;
  /** Ends that were tried. */
  readonly tried: number;
}

/** Of the number that tells how far apart keys are. */
const NUMBER_BYTES = 6;
const NUMBER_MAX = 2 ** (8 * NUMBER_BYTES);
/** As far as from one value of the first byte to the next. */
const NEXT_BYTE = NUMBER_MAX / 256;
/** Fewer keys than this a page are not worth a guess. */
const COUNTED_MIN = 5_000;
const LEARNT_MIN = 16;
/** More than wanted, so that one request does mostly; the next try is wider. */
const MARGIN = 1.5;
const WIDER = 6;
const DENSITIES_MAX = 1_000;

export class PageEnds {
  /** By what the ends of a range have in common: one for each bucket and kind of key. The last used is the last. */
  readonly #densities = new Map<string, Density>();

  /** The ends to try one after another, the last of them `to`. */
  *tries(from: Uint8Array, to: Uint8Array, wanted: number): Generator<Buffer, void, undefined> {
    const end = asBuffer(to);
    const density = this.#densities.get(regionOf(from, to));
    if (density !== undefined) {
      const shared = sharedLength(from, to);
      let start = asBuffer(from);
      const { opening } = density;
      if (isOpening(opening, from, wanted) && opening.last.compare(end) < 0) {
        start = afterKey(opening.last);
        yield start;
      }
      for (const near of widening(start, density, wanted)) {
        if (near.place < shared || near.end.compare(end) >= 0) break;
        yield near.end;
      }
    }
    yield end;
  }

  learn(
    range: { from: Uint8Array; to: Uint8Array },
    entries: readonly Entry[],
    { counted, tried }: PageCost,
  ): void {
    const region = regionOf(range.from, range.to);
    const known = this.#densities.get(region);
    const isLarge = counted >= COUNTED_MIN && counted > WIDER * entries.length;
    if (!isLarge && known === undefined) return;
    if (entries.length < LEARNT_MIN) return;
    const keys = entries.map(({ key }) => asBuffer(key));
    const { place, denser, average } = densityOf(keys);
    const hasServed = known?.place === place && tried === 1 && !isLarge;
    const tooNear = known !== undefined && tried > 1;
    const step = hasServed ? known.step : tooNear ? average : denser;
    const opening = range.from.length <= place ? openingOf(range.from, keys) : known?.opening;
    this.#densities.delete(region);
    this.#densities.set(region, { place, step, opening });
    const [oldest] = this.#densities.keys();
    if (this.#densities.size > DENSITIES_MAX && oldest !== undefined) {
      this.#densities.delete(oldest);
    }
  }
}

function openingOf(from: Uint8Array, keys: readonly Buffer[]): Opening | undefined {
  const last = keys.at(-1);
  // Copied, or one key would keep its whole page.
  return last && { from, last: Buffer.from(last), count: keys.length };
}

function isOpening(
  opening: Opening | undefined,
  from: Uint8Array,
  wanted: number,
): opening is Opening {
  if (opening === undefined || wanted > opening.count) return false;
  return asBuffer(from).equals(opening.from);
}

/** Ever further from the start: wider at the place where keys differ, then at places before it, each twice as far back. */
function* widening(from: Buffer, density: Density, wanted: number) {
  let at = from;
  let place = Math.min(density.place, from.length);
  let width =
    place === density.place ? Math.max(wanted, LEARNT_MIN) * MARGIN * density.step : NEXT_BYTE;
  for (let back = 1; place >= 0; ) {
    const near = advanced(at, place, width);
    const next = near ?? pastPrefix(at.subarray(0, place));
    if (next === undefined) return;
    yield { end: next, place };
    at = next;
    if (near === undefined) {
      place -= back;
      back *= 2;
      width = NEXT_BYTE;
    } else width *= WIDER;
  }
}

/**
 * A page that happens to cross a gap, as from 9 to a in hexadecimal, says little about the next: the denser half counts, unless
 * that led to an end that was too near.
 */
function densityOf(keys: readonly Buffer[]): { place: number; denser: number; average: number } {
  const middle = keys.length >>> 1;
  const [first, half, last] = [keys[0], keys[middle], keys.at(-1)] as [Buffer, Buffer, Buffer];
  const place = sharedLength(first, last);
  const [from, over, to] = [first, half, last].map((key) => numberAt(key, place)) as [
    number,
    number,
    number,
  ];
  const steps = [(over - from) / middle, (to - over) / (keys.length - 1 - middle)];
  const denser = Math.min(...steps.filter((step) => step > 0));
  return { place, denser, average: (to - from) / (keys.length - 1) };
}

function regionOf(from: Uint8Array, to: Uint8Array): string {
  return asBuffer(from).toString("latin1", 0, sharedLength(from, to));
}

function sharedLength(one: Uint8Array, other: Uint8Array): number {
  const most = Math.min(one.length, other.length);
  let length = 0;
  while (length < most && one[length] === other[length]) length += 1;
  return length;
}

/** The bytes from there on as a number; what is missing counts as 0. */
function numberAt(key: Buffer, place: number): number {
  let number = 0;
  for (let byte = 0; byte < NUMBER_BYTES; byte += 1) {
    number = number * 256 + (key[place + byte] ?? 0);
  }
  return number;
}

function advanced(key: Buffer, place: number, distance: number): Buffer | undefined {
  const number = numberAt(key, place) + Math.ceil(distance);
  if (number >= NUMBER_MAX) return undefined;
  const bytes = Buffer.alloc(place + NUMBER_BYTES);
  key.copy(bytes, 0, 0, place);
  bytes.writeUIntBE(number, place, NUMBER_BYTES);
  return bytes;
}

/** The first key that does not begin so, if there is one. */
function pastPrefix(prefix: Buffer): Buffer | undefined {
  return prefix.every((byte) => byte === 0xff) ? undefined : afterPrefix(prefix);
}
