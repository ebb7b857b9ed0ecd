/**
 * How many rounds a random test makes. Each test names the number that `npm test` and CI make; `npm run check`, which
 * has to be quick, makes a share of it, and a long run a multiple: `TEST_ROUNDS=20 npm test -- unit`.
 */
const SHARE = Number(process.env["TEST_ROUNDS"] ?? 1);

if (!(SHARE > 0))
  throw new Error(`TEST_ROUNDS is ${SHARE}: give a share above 0, such as 0.2 or 20`);

/** Never none. */
export function rounds(full: number): number {
  return Math.max(1, Math.round(full * SHARE));
}

/** Every place from 1 to `last`, or where only a share of the rounds is made, places as far apart, from a first one that changes. */
export function everyPlace({ last, seed }: { last: number; seed: number }): readonly number[] {
  const step = Math.max(1, Math.round(1 / SHARE));
  const places: number[] = [];
  for (let place = 1 + (seed % step); place <= last; place += step) places.push(place);
  return places;
}
