/** Remembers what a pure function of a text answered: for texts that come again with every request. */

/** Forgets all when `keptMax` are kept: beyond that somebody sends ever new ones, and computing them is cheap. What throws is not kept. */
export function memoized<Value>(
  compute: (text: string) => Value,
  keptMax: number,
): (text: string) => Value {
  const kept = new Map<string, Value>();
  return (text) => {
    const known = kept.get(text);
    if (known !== undefined) return known;
    const value = compute(text);
    if (kept.size >= keptMax) kept.clear();
    kept.set(text, value);
    return value;
  };
}
