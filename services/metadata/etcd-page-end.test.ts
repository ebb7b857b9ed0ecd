import { isDeepStrictEqual } from "node:util";
import { describe, expect, test } from "vitest";
import { SeededRandom } from "#lib/random.ts";
import { PageEnds } from "#metadata/etcd-page-end.ts";
import { afterKey, afterPrefix } from "#metadata/keys.ts";

const COUNT = 60_000;
const LIMIT = 1000;
const BUCKET = "L0123456789abcdef";
const FROM = Buffer.from(BUCKET);
const TO = afterPrefix(FROM);

/** What a range over sorted keys answers, and what it costs etcd: every key of it is counted. */
class Walk {
  readonly #keys: readonly Buffer[];
  counted = 0;
  requests = 0;

  constructor(names: readonly string[]) {
    this.#keys = names.map((name) => Buffer.from(BUCKET + name)).toSorted((a, b) => a.compare(b));
  }

  page(ends: PageEnds, from: Buffer, limit: number): Buffer[] {
    const found: Buffer[] = [];
    const before = { counted: this.counted, requests: this.requests };
    let at = from;
    for (const end of ends.tries(from, TO, limit)) {
      const inside = this.#keys.slice(this.#place(at), this.#place(end));
      this.requests += 1;
      this.counted += inside.length;
      found.push(...inside.slice(0, limit - found.length));
      if (found.length === limit) break;
      at = end;
    }
    const entries = found.map((key) => ({ key, value: key, revision: 1 }));
    const [counted, tried] = [this.counted - before.counted, this.requests - before.requests];
    ends.learn({ from, to: TO }, entries, { counted, tried });
    const right = this.#keys.slice(this.#place(from), this.#place(from) + limit);
    if (!isDeepStrictEqual(found, right)) throw new Error(`Wrong page from ${from.toString()}`);
    return found;
  }

  #place(key: Buffer): number {
    let [low, high] = [0, this.#keys.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#keys[middle] as Buffer).compare(key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

const random = new SeededRandom(20261127);
const numbers = Array.from({ length: COUNT }, (_, number) => number);
const SHAPES: Readonly<Record<string, readonly string[]>> = {
  "random hex": numbers.map(() => random.bytes(16).toString("hex")),
  "numbers with zeros": numbers.map((number) => `photos/${String(number).padStart(9, "0")}.jpg`),
  "numbers without": numbers.map((number) => `photos/2026/${number}.jpg`),
  days: numbers.map(
    (number) =>
      `logs/2026/${String(1 + (number % 365)).padStart(3, "0")}/host-${number % 50}/${number}`,
  ),
  "folders of very different sizes": numbers.map((number) =>
    number % 10 === 0 ? `${random.bytes(2).toString("hex")}/${number}` : `big/folder/${number}`,
  ),
};

describe("where a page ends", () => {
  test.each(Object.keys(SHAPES))("a listing of keys as %s costs about what it shows", (shape) => {
    const walk = new Walk(SHAPES[shape] ?? []);
    const ends = new PageEnds();
    let from: Buffer = FROM;
    let shown = 0;
    let pages = 0;
    for (
      let page = walk.page(ends, from, LIMIT);
      page.length > 0;
      page = walk.page(ends, from, LIMIT)
    ) {
      shown += page.length;
      pages += 1;
      from = afterKey(page.at(-1) ?? FROM);
    }
    expect(shown).toBe(new Set(SHAPES[shape]).size);
    // The first page counts the bucket; without guesses all of them did: thirty times what they show, and a thousand at two million keys.
    expect((walk.counted - COUNT) / shown).toBeLessThan(6);
    expect(walk.requests / pages).toBeLessThan(5);
  });

  test.each(Object.keys(SHAPES))(
    "the first page of keys as %s, asked for again, costs what it shows",
    (shape) => {
      const walk = new Walk(SHAPES[shape] ?? []);
      const ends = new PageEnds();
      walk.page(ends, FROM, LIMIT + 2);
      const { counted, requests } = walk;
      for (let time = 0; time < 10; time++) walk.page(ends, FROM, LIMIT + 2);
      expect(walk.counted - counted).toBe(10 * (LIMIT + 2));
      expect(walk.requests - requests).toBe(10);
    },
  );

  test("a range that ends before that first page does is not read beyond its end", () => {
    const [far, near] = ["z", "10"].map((name) => Buffer.from(BUCKET + name)) as [Buffer, Buffer];
    const entries = numbers.slice(10, 99).map((number) => {
      const key = Buffer.from(`${BUCKET}${number}`);
      return { key, value: key, revision: 1 };
    });
    const ends = new PageEnds();
    ends.learn({ from: FROM, to: far }, entries, { counted: COUNT, tried: 1 });
    expect([...ends.tries(FROM, far, 20)][0]).toEqual(afterKey(entries.at(-1)?.key ?? FROM));
    for (const end of ends.tries(FROM, near, 20)) expect(end.compare(near)).toBeLessThanOrEqual(0);
  });

  test("few keys are read at once, from the first page on", () => {
    const walk = new Walk(numbers.slice(0, 3_000).map(String));
    const ends = new PageEnds();
    for (let page = walk.page(ends, FROM, LIMIT), from; page.length > 0; ) {
      from = afterKey(page.at(-1) ?? FROM);
      page = walk.page(ends, from, LIMIT);
    }
    expect(walk.requests).toBe(4);
  });

  test("what was learnt of keys that are gone hides none of those that came", () => {
    const ends = new PageEnds();
    new Walk(SHAPES["random hex"] ?? []).page(ends, FROM, LIMIT);
    const walk = new Walk(["\u{10ffff}", "a", "zz", "\u0001", ""]);
    expect(walk.page(ends, FROM, LIMIT)).toHaveLength(5);
    expect(walk.page(ends, Buffer.from(`${BUCKET}b`), 1)).toHaveLength(1);
  });
});
