/** The checker by itself: it accepts what S3 allows and rejects each of a set of doctored histories. */
import { describe, expect, test } from "vitest";
import { type HistoryTerms, judge } from "../support/checker.ts";
import type { Action, Answer, Operation } from "../support/history.ts";

const TERMS: HistoryTerms = { versionedBuckets: new Set(["kept"]) };
const NEVER = Number.POSITIVE_INFINITY;

/** Written as rows: from, to, what was asked, what was answered; of key `k` in bucket `plain` unless said. */
type Row = readonly [
  began: number,
  ended: number,
  action: Action,
  answer: Answer,
  more?: Partial<Operation>,
];

function history(rows: readonly Row[]): readonly Operation[] {
  return rows.map(([began, ended, action, answer, more], id) => ({
    id,
    client: `client-${id}`,
    gateway: "g1",
    bucket: "plain",
    key: "k",
    action,
    began,
    ended,
    answer,
    ...more,
  }));
}

const put = (value: string): Action => ({ kind: "put", value });
const putNew = (value: string): Action => ({
  kind: "put",
  value,
  condition: { kind: "if-none-match" },
});
const putOver = (value: string, over: string): Action => ({
  kind: "put",
  value,
  condition: { kind: "if-match", value: over },
});
const complete = (value: string, uploadId: string): Action => ({ kind: "put", value, uploadId });
const abort = (uploadId: string): Action => ({ kind: "abort", uploadId });
const remove: Action = { kind: "delete" };
const removeIf = (value: string): Action => ({
  kind: "delete",
  condition: { kind: "if-match-or-absent", value },
});
const read: Action = { kind: "read" };
const readOf = (versionId: string): Action => ({ kind: "read", versionId });
const removeOf = (versionId: string): Action => ({ kind: "delete", versionId });
const list: Action = { kind: "list", from: "", to: undefined };
const listVersions: Action = { kind: "list-versions" };
const done: Answer = { kind: "done" };
const doneAs = (versionId: string): Answer => ({ kind: "done", versionId });
const refused: Answer = { kind: "refused" };
const unknown: Answer = { kind: "unknown" };
const absent: Answer = { kind: "absent" };
const seen = (value: string): Answer => ({ kind: "seen", value });
const listed = (...found: (readonly [string, string])[]): Answer => ({ kind: "listed", found });
const inList = { key: "" };
const kept = { bucket: "kept" };

const ACCEPTED: Readonly<Record<string, readonly Row[]>> = {
  "reads of either value while one replaces the other": [
    [1, 2, put("a"), done],
    [3, 10, put("b"), done],
    [4, 5, read, seen("a")],
    [6, 7, read, seen("b")],
    [8, 9, read, seen("b")],
  ],
  "a write without an answer that happened": [
    [1, 2, put("a"), done],
    [3, NEVER, put("b"), unknown],
    [4, 5, read, seen("a")],
    [6, 7, read, seen("b")],
  ],
  "a write without an answer that never happened": [
    [1, 2, put("a"), done],
    [3, NEVER, put("b"), unknown],
    [20, 21, read, seen("a")],
  ],
  "a removal without an answer that happened": [
    [1, 2, put("a"), done],
    [3, NEVER, remove, unknown],
    [4, 5, read, seen("a")],
    [6, 7, read, absent],
  ],
  "a write without an answer that only a refusal shows": [
    [1, 2, put("a"), done],
    [3, NEVER, put("b"), unknown],
    [4, 5, putOver("c", "a"), refused],
    [6, 7, remove, done],
    [8, 9, read, absent],
  ],
  "a conditional removal of what has gone already": [
    [1, 2, put("a"), done],
    [3, 4, removeIf("a"), done],
    [5, 6, removeIf("a"), done],
    [7, 8, read, absent],
  ],
  "one winner of If-None-Match": [
    [1, 9, putNew("a"), done],
    [2, 8, putNew("b"), refused],
    [10, 11, read, seen("a")],
  ],
  "a listing that shows a key put meanwhile, and one that does not": [
    [1, 10, put("a"), done],
    [2, 9, list, listed(), inList],
    [3, 8, list, listed(["k", "a"]), inList],
  ],
  "a listing that covers other keys only": [
    [1, 2, put("a"), done],
    [3, 4, { kind: "list", from: "l", to: undefined }, listed(), inList],
  ],
  "two Completes of one upload and a put between them": [
    [1, 4, complete("a", "u"), done],
    [5, 6, put("b"), done],
    [7, 8, complete("a", "u"), done],
    [9, 10, read, seen("b")],
  ],
  "an upload that was aborted while its Complete got no answer": [
    [1, NEVER, complete("a", "u"), unknown],
    [2, 5, abort("u"), done],
    [6, 7, read, absent],
  ],
  "versions and a marker, one of them removed": [
    [1, 2, put("a"), doneAs("1"), kept],
    [3, 4, put("b"), doneAs("2"), kept],
    [5, 6, remove, doneAs("3"), kept],
    [7, 8, read, absent, kept],
    [9, 10, readOf("1"), seen("a"), kept],
    [11, 12, removeOf("1"), done, kept],
    [13, 14, readOf("1"), absent, kept],
    [
      15,
      16,
      listVersions,
      {
        kind: "versions",
        found: [
          [
            "k",
            [
              { value: undefined, versionId: "3" },
              { value: "b", versionId: "2" },
            ],
          ],
        ],
      },
      { ...kept, key: "" },
    ],
  ],
};

const REJECTED: Readonly<Record<string, readonly Row[]>> = {
  "a stale read": [
    [1, 2, put("a"), done],
    [3, 4, put("b"), done],
    [5, 6, read, seen("a")],
  ],
  "a lost write": [
    [1, 2, put("a"), done],
    [3, 4, read, absent],
  ],
  "a resurrected delete": [
    [1, 2, put("a"), done],
    [3, 4, remove, done],
    [5, 6, read, absent],
    [7, 8, read, seen("a")],
  ],
  "two winners of If-None-Match": [
    [1, 9, putNew("a"), done],
    [2, 8, putNew("b"), done],
  ],
  "a lost update by If-Match": [
    [1, 2, put("a"), done],
    [3, 8, putOver("b", "a"), done],
    [4, 9, putOver("c", "a"), done],
  ],
  "a conditional removal of another value": [
    [1, 2, put("b"), done],
    [3, 4, removeIf("a"), done],
  ],
  "a refusal of a conditional removal of nothing": [[1, 2, removeIf("a"), refused]],
  "a refusal that nothing explains": [
    [1, 2, put("a"), done],
    [3, 4, putOver("b", "a"), refused],
  ],
  "a listing that omits a completed write": [
    [1, 2, put("a"), done],
    [3, 4, list, listed(), inList],
  ],
  "a listing that shows a completed delete": [
    [1, 2, put("a"), done],
    [3, 4, remove, done],
    [5, 6, list, listed(["k", "a"]), inList],
  ],
  "a listing that shows a key nobody wrote": [[1, 2, list, listed(["other", "a"]), inList]],
  "wrong bytes": [
    [1, 2, put("a"), done],
    [3, 4, read, { kind: "wrong", what: "12 bytes that nobody wrote" }],
  ],
  "a value from the future": [
    [1, 2, read, seen("a")],
    [3, 4, put("a"), done],
  ],
  "reads that go back and forth": [
    [1, 2, put("a"), done],
    [3, NEVER, put("b"), unknown],
    [4, 5, read, seen("b")],
    [6, 7, read, seen("a")],
  ],
  "a write without an answer that takes effect twice": [
    [1, NEVER, put("a"), unknown],
    [2, 3, read, seen("a")],
    [4, 5, put("b"), done],
    [6, 7, read, seen("b")],
    [8, 9, read, seen("a")],
  ],
  "an upload both completed and aborted": [
    [1, 4, complete("a", "u"), done],
    [2, 5, abort("u"), done],
  ],
  "a Complete that takes effect after its Abort": [
    [1, NEVER, complete("a", "u"), unknown],
    [2, 5, abort("u"), done],
    [6, 7, read, seen("a")],
  ],
  "a Complete that takes effect again when it is repeated": [
    [1, 4, complete("a", "u"), done],
    [5, 6, put("b"), done],
    [7, 8, complete("a", "u"), done],
    [9, 10, read, seen("a")],
  ],
  "an older version that is gone": [
    [1, 2, put("a"), doneAs("1"), kept],
    [3, 4, put("b"), doneAs("2"), kept],
    [5, 6, readOf("1"), absent, kept],
  ],
  "a version with another one's bytes": [
    [1, 2, put("a"), doneAs("1"), kept],
    [3, 4, put("b"), doneAs("2"), kept],
    [5, 6, readOf("1"), seen("b"), kept],
  ],
  "a removed version that is back": [
    [1, 2, put("a"), doneAs("1"), kept],
    [3, 4, removeOf("1"), done, kept],
    [5, 6, readOf("1"), seen("a"), kept],
  ],
  "versions in another order than their commits": [
    [1, 2, put("a"), doneAs("1"), kept],
    [3, 4, put("b"), doneAs("2"), kept],
    [
      5,
      6,
      listVersions,
      {
        kind: "versions",
        found: [
          [
            "k",
            [
              { value: "a", versionId: "1" },
              { value: "b", versionId: "2" },
            ],
          ],
        ],
      },
      { ...kept, key: "" },
    ],
  ],
};

describe("the checker accepts", () => {
  test.each(Object.entries(ACCEPTED))("%s", (_, rows) => {
    expect(judge(history(rows), TERMS)).toMatchObject({ violations: [], undecided: [] });
  });
});

describe("the checker rejects", () => {
  test.each(Object.entries(REJECTED))("%s", (_, rows) => {
    expect(judge(history(rows), TERMS).violations).toHaveLength(1);
  });

  const healed = { at: 10, gateways: ["g1", "g2"] };

  test("a version that one gateway cannot read after healing", () => {
    const rows: readonly Row[] = [
      [1, 2, put("a"), doneAs("1"), kept],
      [11, 12, read, seen("a"), kept],
      [13, 14, readOf("1"), seen("a"), kept],
      [11, 12, read, seen("a"), { ...kept, gateway: "g2" }],
      [13, NEVER, readOf("1"), unknown, { ...kept, gateway: "g2" }],
    ];
    const { violations } = judge(history(rows), { ...TERMS, healed });
    expect(violations).toEqual(["kept/k: version 1 cannot be read through g2"]);
  });

  test("a key that nobody read after healing", () => {
    const rows: readonly Row[] = [
      [1, 2, put("a"), done],
      [3, 4, read, seen("a")],
      [11, 12, read, seen("a"), { gateway: "g2" }],
    ];
    const { violations } = judge(history(rows), { ...TERMS, healed });
    expect(violations).toEqual(["plain/k: cannot be read through g1 after healing"]);
  });
});

describe("the search", () => {
  test("says that it gave up on what is too much to search", () => {
    // Each may have happened or not, in any order, and nothing that was read decides.
    const rows: Row[] = Array.from(
      { length: 40 },
      (_, at): Row => [at, NEVER, put(`${at}`), unknown],
    );
    rows.push([50, 51, read, seen("nobody's")]);
    expect(judge(history(rows), TERMS).undecided).toEqual(["plain/k"]);
  });

  test("copes with hundreds of operations of one key", () => {
    const rows: Row[] = [];
    for (let at = 0; at < 400; at++) {
      rows.push([at * 10, at * 10 + 25, put(`${at}`), done]);
      rows.push([at * 10 + 26, at * 10 + 29, read, seen(`${at}`)]);
    }
    const { violations, undecided } = judge(history(rows), TERMS);
    expect(undecided).toEqual([]);
    expect(violations).toEqual([]);
  });
});
