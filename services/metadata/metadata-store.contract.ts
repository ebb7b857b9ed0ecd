/** What every driver promises. Each driver's test calls this with a way to open a fresh, empty store. */
import * as fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { SeededRandom } from "#lib/random.ts";
import { rounds } from "#lib/testing/rounds.ts";
import {
  COMMIT_BYTES_MAX,
  COMMIT_OPERATIONS_MAX,
  type Commit,
  type CommitOutcome,
  type Entry,
  KEY_BYTES_MAX,
  type MetadataStore,
  type Session,
  type WatchEvent,
} from "#metadata/metadata-store.ts";

const LOWEST = Buffer.of(0);
const HIGHEST = Buffer.alloc(32, 0xff);
const ALL = { from: LOWEST, to: HIGHEST, limit: 1000 };

export function metadataStoreContract(driver: string, open: () => Promise<MetadataStore>): void {
  describe(`${driver} metadata`, () => {
    let store: MetadataStore;
    beforeAll(async () => {
      store = await open();
    });
    // Emptied rather than opened anew: that takes some drivers a thread.
    beforeEach(() => removeAll(store));
    afterAll(() => store[Symbol.asyncDispose]());

    describe("a commit", () => {
      test("writes and removes all its keys at one revision", async () => {
        await put(store, { a: "old", b: "old" });
        const revision = await commit(store, {
          put: [entry("a", "new"), entry("c", "new")],
          remove: [key("b")],
        });
        const [a, b, c] = await store.getMany([key("a"), key("b"), key("c")]);
        expect([text(a), text(b), text(c)]).toEqual(["new", undefined, "new"]);
        expect([a?.revision, c?.revision]).toEqual([revision, revision]);
      });

      test("that expects an absent key is refused once the key exists, and accepted again when it is gone", async () => {
        const create = { expect: [{ key: key("a"), revision: 0 }], put: [entry("a", "1")] };
        await commit(store, create);
        expect((await outcomeOf(store, create)).kind).toBe("conflict");
        await commit(store, { remove: [key("a")] });
        expect((await outcomeOf(store, create)).kind).toBe("committed");
      });

      test("that conflicts changes nothing and reports what is there, in the order asked", async () => {
        const revision = await put(store, { a: "1", b: "2" });
        const outcome = await outcomeOf(store, {
          expect: [
            { key: key("missing"), revision: 0 },
            { key: key("b"), revision: revision + 1 },
            { key: key("gone"), revision },
            { key: key("a"), revision },
          ],
          put: [entry("a", "changed"), entry("d", "added")],
          remove: [key("b")],
        });
        if (outcome.kind !== "conflict") throw new Error("expected a conflict");
        expect(outcome.current.map(text)).toEqual([undefined, "2", undefined, "1"]);
        expect(outcome.current.map((found) => found?.revision)).toEqual([
          undefined,
          revision,
          undefined,
          revision,
        ]);
        const page = await store.range(ALL);
        expect(page.entries.map(text)).toEqual(["1", "2"]);
      });

      test("that reports a conflict on a large value reports all of it", async () => {
        const value = patterned(300_000);
        await commit(store, { put: [{ key: key("large"), value }, entry("small", "1")] });
        const outcome = await outcomeOf(store, {
          expect: [
            { key: key("large"), revision: 0 },
            { key: key("small"), revision: 0 },
          ],
          put: [entry("x", "y")],
        });
        if (outcome.kind !== "conflict") throw new Error("expected a conflict");
        expect(value.equals(outcome.current[0]?.value ?? Buffer.of())).toBe(true);
        expect(text(outcome.current[1])).toBe("1");
      });

      test("with expectations only reads, and still answers which of them fail", async () => {
        const revision = await put(store, { a: "1" });
        const same = { expect: [{ key: key("a"), revision }] };
        expect((await outcomeOf(store, same)).kind).toBe("committed");
        expect((await outcomeOf(store, { expect: [{ key: key("a"), revision: 0 }] })).kind).toBe(
          "conflict",
        );
        expect((await store.get(key("a")))?.revision).toBe(revision);
      });

      test("removes a key that does not exist without complaint", async () => {
        expect((await outcomeOf(store, { remove: [key("never")] })).kind).toBe("committed");
      });

      test("has a revision above that of every commit acknowledged before it", async () => {
        let last = 0;
        for (let round = 0; round < 20; round++) {
          const revision = await put(store, { [`k${round % 3}`]: `${round}` });
          expect(revision).toBeGreaterThan(last);
          last = revision;
        }
      });

      test("never gives a key the revision of an earlier value, not even for commits that travel together", async () => {
        const outcomes = await Promise.all(
          Array.from({ length: 20 }, (_, number) =>
            outcomeOf(store, { put: [entry("a", `${number}`)] }),
          ),
        );
        const revisions = outcomes.map(revisionOf);
        expect(new Set(revisions).size).toBe(revisions.length);
        const last = await store.get(key("a"));
        expect(last?.revision).toBe(Math.max(...revisions));
        expect(text(last)).toBe(`${revisions.indexOf(last?.revision ?? 0)}`);
      });

      test("does not keep the memory of its caller", async () => {
        const value = Buffer.from("before");
        const name = key("mine");
        await commit(store, { put: [{ key: name, value }] });
        value.fill("x");
        name.fill("x");
        expect(text(await store.get(key("mine")))).toBe("before");
      });

      test("is refused when its signal has aborted", async () => {
        const aborted = store.commit(
          { expect: [], put: [entry("a", "1")], remove: [] },
          AbortSignal.abort(new Error("gone")),
        );
        await expect(aborted).rejects.toThrow("gone");
        expect(await store.get(key("a"))).toBeUndefined();
      });
    });

    describe("concurrent commits", () => {
      test("of two writers that read the same revision, one commits", async () => {
        const revision = await put(store, { a: "0" });
        const outcomes = await Promise.all(
          ["left", "right"].map((value) =>
            outcomeOf(store, {
              expect: [{ key: key("a"), revision }],
              put: [entry("a", value)],
            }),
          ),
        );
        expect(outcomes.map(({ kind }) => kind).toSorted()).toEqual(["committed", "conflict"]);
      });

      test("of two that both compare x and y, where one writes x and the other y, one commits", async () => {
        for (let round = 0; round < 10; round++) {
          const x = key(`x${round}`);
          const y = key(`y${round}`);
          const both = [
            { key: x, revision: 0 },
            { key: y, revision: 0 },
          ];
          const outcomes = await Promise.all(
            [x, y].map((own) =>
              outcomeOf(store, { expect: both, put: [{ key: own, value: Buffer.from("taken") }] }),
            ),
          );
          expect(outcomes.map(({ kind }) => kind).toSorted()).toEqual(["committed", "conflict"]);
          const found = await store.getMany([x, y]);
          expect(found.filter((present) => present !== undefined)).toHaveLength(1);
        }
      });

      test("a removal is seen by the one that expects absence, whichever of them is first", async () => {
        const revision = await put(store, { a: "1" });
        const [removal, creation] = await Promise.all([
          outcomeOf(store, { expect: [{ key: key("a"), revision }], remove: [key("a")] }),
          outcomeOf(store, {
            expect: [{ key: key("a"), revision: 0 }],
            put: [entry("a", "2")],
          }),
        ]);
        expect(removal.kind).toBe("committed");
        expect(text(await store.get(key("a")))).toBe(
          creation.kind === "committed" ? "2" : undefined,
        );
      });

      test("agree with some serial order of them", async () => {
        const random = new SeededRandom(20261124);
        for (let round = 0; round < 12; round++) {
          const { found, model } = await runSerially(store, random, round);
          expect(found).toEqual(model);
        }
      });
    });

    describe("a range", () => {
      const NAMES = ["a", "ab", "b", "ba", "c"];
      beforeEach(() => put(store, Object.fromEntries(NAMES.map((name) => [name, name]))));

      test("holds its first key and not its end", async () => {
        const page = await store.range({ from: key("ab"), to: key("c"), limit: 10 });
        expect(page.entries.map(text)).toEqual(["ab", "b", "ba"]);
        expect(page.more).toBe(false);
      });

      test("downwards holds the same keys, largest first", async () => {
        const page = await store.range({
          from: key("ab"),
          to: key("c"),
          limit: 10,
          reverse: true,
        });
        expect(page.entries.map(text)).toEqual(["ba", "b", "ab"]);
        expect(page.more).toBe(false);
      });

      test("downwards from an end that is no key starts just below it", async () => {
        const page = await store.range({ from: key("a"), to: key("bz"), limit: 2, reverse: true });
        expect(page.entries.map(text)).toEqual(["ba", "b"]);
        expect(page.more).toBe(true);
      });

      test.each([
        [false, 0, [], true],
        [false, 2, ["a", "ab"], true],
        [false, 5, NAMES, false],
        [true, 2, ["c", "ba"], true],
        [true, 5, NAMES.toReversed(), false],
      ])(
        "reverse %s with limit %i stops there and says whether more follows",
        async (reverse, limit, names, more) => {
          const page = await store.range({ ...ALL, limit, reverse });
          expect(page.entries.map(text)).toEqual(names);
          expect(page.more).toBe(more);
        },
      );

      test("that is empty or upside down holds nothing", async () => {
        for (const reverse of [false, true]) {
          for (const [from, to] of [
            ["b", "b"],
            ["c", "a"],
            ["x", "y"],
            ["0", "1"],
          ] as const) {
            const page = await store.range({ from: key(from), to: key(to), limit: 10, reverse });
            expect(page).toEqual({ entries: [], more: false });
          }
        }
      });

      test("from the empty key starts at the first", async () => {
        const page = await store.range({ from: Buffer.of(), to: key("b"), limit: 10 });
        expect(page.entries.map(text)).toEqual(["a", "ab"]);
      });

      test("gives the revision of every entry", async () => {
        const revision = await put(store, { b: "again" });
        const page = await store.range(ALL);
        const found = page.entries.find((present) => present.key[0] === 0x62);
        expect(found?.revision).toBe(revision);
        expect(page.entries[0]?.revision).toBeLessThan(revision);
      });
    });

    test("keys sort by their bytes, from 0x00 to 0xff and beyond U+FFFF", async () => {
      const keys = [
        Buffer.of(0),
        Buffer.of(0, 0),
        Buffer.of(0, 1),
        Buffer.of(1),
        Buffer.from("A"),
        Buffer.from("a"),
        Buffer.from("a\0"),
        Buffer.from("a\u0001"),
        Buffer.from("aa"),
        Buffer.from("\u{7f}"),
        Buffer.from("\u{80}"),
        // UTF-16 would put the last of these before the one above it.
        Buffer.from("\u{ffee}"),
        Buffer.from("\u{1f600}"),
        Buffer.of(0xff),
        Buffer.of(0xff, 0xff),
      ];
      const random = new SeededRandom(7);
      for (const shuffled of keys.toSorted(() => random.fraction() - 0.5)) {
        await commit(store, { put: [{ key: shuffled, value: shuffled }] });
      }
      const up = await store.range(ALL);
      expect(up.entries.map(hex)).toEqual(keys.map((bytes) => bytes.toString("hex")));
      const down = await store.range({ ...ALL, reverse: true });
      expect(down.entries.map(hex)).toEqual(
        keys.map((bytes) => bytes.toString("hex")).toReversed(),
      );
    });

    test("agrees with a sorted list on any keys and any range", async () => {
      const bytes = fc.uint8Array({ minLength: 1, maxLength: 3, max: 3 });
      const sorted = await seedEveryThirdKey(store);
      await fc.assert(
        fc.asyncProperty(
          bytes,
          bytes,
          fc.nat(12),
          fc.boolean(),
          async (from, to, limit, reverse) => {
            const inside = sorted.filter(
              (name) => Buffer.compare(name, from) >= 0 && Buffer.compare(name, to) < 0,
            );
            const ordered = reverse ? inside.toReversed() : inside;
            const page = await store.range({ from, to, limit, reverse });
            expect(page.entries.map(hex)).toEqual(
              ordered.slice(0, limit).map((name) => name.toString("hex")),
            );
            expect(page.more).toBe(ordered.length > limit);
          },
        ),
        { numRuns: rounds(100) },
      );
    });

    describe("reads", () => {
      test("see every commit acknowledged before them", async () => {
        for (let round = 0; round < 30; round++) {
          await put(store, { a: `${round}` });
          expect(text(await store.get(key("a")))).toBe(`${round}`);
        }
      });

      test("of several keys or of a range see one revision, while commits that change both go on", async () => {
        await put(store, { x: "0", y: "0" });
        const writing = (async () => {
          for (let round = 1; round <= 60; round++)
            await put(store, { x: `${round}`, y: `${round}` });
        })();
        const progress = { isDone: false };
        const done = writing.finally(() => {
          progress.isDone = true;
        });
        while (!progress.isDone) {
          const [x, y] = await store.getMany([key("x"), key("y")]);
          expect(text(x)).toBe(text(y));
          const { entries } = await store.range(ALL);
          expect(new Set(entries.map(text)).size).toBe(1);
          await new Promise((resolve) => setImmediate(resolve));
        }
        await done;
      });

      test("of a key twice answer twice, and of none answer none", async () => {
        await put(store, { a: "1" });
        const found = await store.getMany([key("a"), key("none"), key("a")]);
        expect(found.map(text)).toEqual(["1", undefined, "1"]);
        expect(await store.getMany([])).toEqual([]);
      });

      test("give values that later reads and writes do not change", async () => {
        await put(store, { a: "first", b: "second" });
        const a = await store.get(key("a"));
        await store.get(key("b"));
        const { entries } = await store.range(ALL);
        await put(store, { a: "third", b: "fourth" });
        await store.getMany([key("a"), key("b")]);
        expect(text(a)).toBe("first");
        expect(entries.map(text)).toEqual(["first", "second"]);
        expect(entries.map(({ key: bytes }) => bytes.toString())).toEqual(
          [key("a"), key("b")].map((bytes) => bytes.toString()),
        );
      });

      test("are refused when their signal has aborted", async () => {
        const signal = AbortSignal.abort(new Error("gone"));
        await expect(store.get(key("a"), signal)).rejects.toThrow("gone");
        await expect(store.getMany([key("a")], signal)).rejects.toThrow("gone");
        await expect(store.range(ALL, signal)).rejects.toThrow("gone");
      });
    });

    describe("values", () => {
      test.each([0, 1, 7, 8, 9, 4000, 5000, 33_000, 70_000, 512 * 1024])(
        "of %i bytes come back as they were put",
        async (size) => {
          const value = patterned(size);
          await commit(store, { put: [{ key: key("v"), value }] });
          const got = await store.get(key("v"));
          expect(value.equals(got?.value ?? Buffer.from("none"))).toBe(true);
          const [first] = await store.getMany([key("v"), key("w")]);
          expect(value.equals(first?.value ?? Buffer.from("none"))).toBe(true);
          const { entries } = await store.range(ALL);
          expect(value.equals(entries[0]?.value ?? Buffer.from("none"))).toBe(true);
        },
      );
    });

    describe("limits", () => {
      test("as many changes and as many expectations as allowed are accepted", async () => {
        const names = many(COMMIT_OPERATIONS_MAX);
        const outcome = await outcomeOf(store, {
          expect: names.map((name) => ({ key: key(name), revision: 0 })),
          put: names.slice(1).map((name) => entry(name, name)),
          remove: [key("0")],
        });
        expect(outcome.kind).toBe("committed");
      });

      test("one change more is refused", async () => {
        const refused = refusalOf(store, {
          put: many(COMMIT_OPERATIONS_MAX).map((name) => entry(name, name)),
          remove: [key("other")],
        });
        expect(await refused).toContain("changes");
      });

      test("one expectation more is refused", async () => {
        const refused = refusalOf(store, {
          expect: many(COMMIT_OPERATIONS_MAX + 1).map((name) => ({
            key: key(name),
            revision: 0,
          })),
        });
        expect(await refused).toContain("expectations");
      });

      test("more bytes than allowed are refused", async () => {
        const puts = [{ key: key("a"), value: Buffer.alloc(COMMIT_BYTES_MAX) }];
        expect(await refusalOf(store, { put: puts })).toContain("bytes");
      });

      test("a key of the longest length is kept and found, one byte more is refused", async () => {
        const longest = Buffer.alloc(KEY_BYTES_MAX, 0x61);
        await commit(store, { put: [{ key: longest, value: Buffer.from("here") }] });
        expect(text(await store.get(longest))).toBe("here");
        expect((await store.range({ ...ALL, reverse: true })).entries.map(text)).toEqual(["here"]);
        await commit(store, { remove: [longest] });
        const longer = Buffer.alloc(KEY_BYTES_MAX + 1, 0x61);
        expect(await refusalOf(store, { put: [{ key: longer, value: longer }] })).toContain(
          "a key has",
        );
        expect(await refusalOf(store, { expect: [{ key: longer, revision: 0 }] })).toContain(
          "a key has",
        );
        expect(await refusalOf(store, { remove: [longer] })).toContain("a key has");
        expect(await store.get(longer)).toBeUndefined();
      });

      test("an empty key is refused, and never found", async () => {
        expect(await refusalOf(store, { put: [entry("", "1")] })).toContain("empty");
        expect(await refusalOf(store, { remove: [key("")] })).toContain("empty");
        expect(await store.get(key(""))).toBeUndefined();
      });

      test.each<[string, Partial<Commit>]>([
        ["put twice", { put: [entry("a", "1"), entry("b", "1"), entry("a", "2")] }],
        ["removed twice", { remove: [key("a"), key("a")] }],
        ["put and removed", { put: [entry("a", "1")], remove: [key("a")] }],
        [
          "put and removed among many",
          { put: many(40).map((name) => entry(name, "1")), remove: [key("7")] },
        ],
      ])("a key %s is refused", async (_, parts) => {
        expect(await refusalOf(store, parts)).toContain("twice");
      });
    });

    describe("a session", () => {
      test("lets commits through that compare it", async () => {
        await using session = await store.session();
        expect((await fenced(store, session)).kind).toBe("committed");
        expect(session.id.length).toBeLessThanOrEqual(32);
      });

      test("has an id of its own", async () => {
        await using one = await store.session();
        await using other = await store.session();
        expect(one.id).not.toBe(other.id);
        expect(one.expectation().key).not.toEqual(other.expectation().key);
      });

      test("that is renewed fails the commits planned before, and lets new ones through", async () => {
        await using session = await store.session();
        const before = session.expectation();
        await session.renew();
        const late = await outcomeOf(store, { expect: [before], put: [entry("a", "late")] });
        expect(late.kind).toBe("conflict");
        expect((await fenced(store, session)).kind).toBe("committed");
      });

      test("keeps its revision when it publishes its low-water mark", async () => {
        await using session = await store.session();
        const before = session.expectation();
        await session.publishLowWater(42);
        await session.publishLowWater(2 ** 48 - 1);
        expect(session.expectation()).toEqual(before);
        expect((await fenced(store, session)).kind).toBe("committed");
      });

      test("whose key is removed lets nothing through, and can neither be renewed nor publish", async () => {
        const session = await store.session();
        await commit(store, { remove: [session.expectation().key] });
        expect((await fenced(store, session)).kind).toBe("conflict");
        await expect(session.renew()).rejects.toThrow(session.id);
        await expect(session.publishLowWater(1)).rejects.toThrow(session.id);
        expect(await store.get(session.expectation().key)).toBeUndefined();
      });

      test("leaves nothing behind when it ends", async () => {
        const session = await store.session();
        await session.publishLowWater(7);
        await session[Symbol.asyncDispose]();
        expect((await store.range(ALL)).entries).toEqual([]);
      });
    });

    describe("a watch", () => {
      test("tells of puts and removals under its prefix, and of nothing else", async () => {
        const stop = new AbortController();
        const events = store.watch(key("w/"), stop.signal);
        await put(store, { other: "1", w: "1" });
        const revision = await put(store, { "w/a": "1" });
        await commit(store, { remove: [key("w/a")] });
        const seen = await take(events, (event) => event.kind !== "put");
        stop.abort();
        if (seen.at(-1)?.kind === "reset") return;
        expect(seen.map((event) => event.kind)).toEqual(["put", "remove"]);
        const [first] = seen;
        expect(first).toMatchObject({ kind: "put", revision });
        expect(first?.kind === "put" && Buffer.from(first.key).toString()).toBe("w/a");
      });

      test("ends when its signal aborts", async () => {
        const stop = new AbortController();
        const ended = take(store.watch(key("w/"), stop.signal), () => false);
        stop.abort();
        expect(await ended).toEqual([]);
        expect(await take(store.watch(key("w/"), stop.signal), () => false)).toEqual([]);
      });

      test("whose events are not taken asks for a fresh read in the end, and holds few", async () => {
        const stop = new AbortController();
        const events = store.watch(key("w/"), stop.signal);
        for (let round = 0; round < 25; round++) {
          const names = Array.from({ length: 90 }, (_, number) => `w/${round}/${number}`);
          await put(store, Object.fromEntries(names.map((name) => [name, "1"])));
        }
        const iterator = events[Symbol.asyncIterator]();
        const first = await iterator.next();
        expect(first.value).toEqual({ kind: "reset" });
        stop.abort();
      });
    });

    test("a closed store refuses to be used", async () => {
      const closed = await open();
      await closed[Symbol.asyncDispose]();
      await expect(closed.get(key("a"))).rejects.toThrow("closed");
      await expect(outcomeOf(closed, { put: [entry("a", "1")] })).rejects.toThrow("closed");
    });
  });
}

/**
 * Counters that many clients add to at once, each by reading some keys and comparing them in the commit that
 * changes others of them. Every committed change must be found again, applied once and in the order of revisions.
 */
async function runSerially(store: MetadataStore, random: SeededRandom, round: number) {
  const names = Array.from({ length: 4 }, (_, number) => key(`s/${round}/${number}`));
  const history: {
    revision: number;
    read: ReadonlyMap<number, string>;
    wrote: number[];
    value: string;
  }[] = [];
  let writes = 0;
  const client = async () => {
    for (let step = 0; step < 6; step++) {
      const picked = names.map((_, place) => place).filter(() => random.fraction() < 0.6);
      const wrote = picked.filter(() => random.fraction() < 0.5);
      const found = await store.getMany(picked.map((place) => names[place] as Buffer));
      const expectations = picked.map((place, index) => ({
        key: names[place] as Buffer,
        revision: found[index]?.revision ?? 0,
      }));
      const value = `${round}-${writes++}`;
      const isRemoval = random.fraction() < 0.2;
      const changed = wrote.map((place) => names[place] as Buffer);
      const outcome = await store.commit({
        expect: expectations,
        put: isRemoval ? [] : changed.map((name) => ({ key: name, value: Buffer.from(value) })),
        remove: isRemoval ? changed : [],
      });
      if (outcome.kind === "conflict" || wrote.length === 0) continue;
      history.push({
        revision: outcome.revision,
        read: new Map(picked.map((place, index) => [place, text(found[index]) ?? ""])),
        wrote,
        value: isRemoval ? "" : value,
      });
    }
  };
  await Promise.all(Array.from({ length: 8 }, client));
  const model = names.map(() => "");
  for (const { read, wrote, value } of history.toSorted((a, b) => a.revision - b.revision)) {
    for (const [place, seen] of read) expect(model[place]).toBe(seen);
    for (const place of wrote) model[place] = value;
  }
  expect(history.length).toBeGreaterThan(0);
  const found = await store.getMany(names);
  return { found: found.map((present) => text(present) ?? ""), model };
}

/** Why the commit is refused; it must have changed nothing. */
async function refusalOf(store: MetadataStore, parts: Partial<Commit>): Promise<string> {
  const [refused] = await Promise.allSettled([outcomeOf(store, parts)]);
  expect((await store.range(ALL)).entries).toEqual([]);
  if (refused.status === "fulfilled") throw new Error("expected the commit to be refused");
  return String(refused.reason);
}

function fenced(store: MetadataStore, session: Session): Promise<CommitOutcome> {
  return outcomeOf(store, { expect: [session.expectation()], put: [entry("a", "1")] });
}

function many(count: number): readonly string[] {
  return Array.from({ length: count }, (_, number) => `${number}`);
}

/** A third of all keys of one to three bytes below 4, in order. */
async function seedEveryThirdKey(store: MetadataStore): Promise<readonly Buffer[]> {
  const names: Buffer[] = [];
  for (let number = 1; number < 4 ** 3 * 2; number += 3) {
    const digits = number.toString(4);
    names.push(Buffer.from(Array.from(digits, Number)));
  }
  const sorted = names.toSorted((a, b) => a.compare(b)).filter((name) => name.length <= 3);
  await commit(store, { put: sorted.map((name) => ({ key: name, value: Buffer.from("v") })) });
  return sorted;
}

async function removeAll(store: MetadataStore): Promise<void> {
  for (;;) {
    const page = await store.range({ ...ALL, limit: COMMIT_OPERATIONS_MAX });
    await commit(store, { remove: page.entries.map((found) => found.key) });
    if (!page.more) return;
  }
}

async function take(
  events: AsyncIterable<WatchEvent>,
  isLast: (event: WatchEvent) => boolean,
): Promise<readonly WatchEvent[]> {
  const seen: WatchEvent[] = [];
  for await (const event of events) {
    seen.push(event);
    if (isLast(event)) break;
  }
  return seen;
}

function put(store: MetadataStore, values: Readonly<Record<string, string>>): Promise<number> {
  return commit(store, {
    put: Object.entries(values).map(([name, value]) => entry(name, value)),
  });
}

async function commit(store: MetadataStore, parts: Partial<Commit>): Promise<number> {
  return revisionOf(await outcomeOf(store, parts));
}

function outcomeOf(store: MetadataStore, parts: Partial<Commit>): Promise<CommitOutcome> {
  return store.commit({ expect: [], put: [], remove: [], ...parts });
}

function revisionOf(outcome: CommitOutcome): number {
  if (outcome.kind === "conflict") throw new Error("expected the commit to go through");
  return outcome.revision;
}

function entry(name: string, value: string) {
  return { key: key(name), value: Buffer.from(value) };
}

function key(name: string): Buffer {
  return Buffer.from(name);
}

function text(found: Entry | undefined): string | undefined {
  return found && Buffer.from(found.value).toString();
}

function hex(found: Entry): string {
  return Buffer.from(found.key).toString("hex");
}

function patterned(size: number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let place = 0; place < size; place++) bytes[place] = (place * 31 + (place >> 8)) & 0xff;
  return bytes;
}
