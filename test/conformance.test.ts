/** The lists of ceph/s3-tests are in order, and their judge tells what it should. */
import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { judge, LIST_NAMES, type List, type Lists, readLists } from "./conformance/lists.ts";
import { countByClass, readReport } from "./conformance/report.ts";

const path = new URL("conformance/classes.json", import.meta.url);
const classes = JSON.parse(await readFile(path, "utf8")) as Record<string, string>;

describe("the lists", async () => {
  const lists = await readLists();

  test("name each of the suite's tests once, in order", () => {
    const names = LIST_NAMES.flatMap((list) => lists[list].map(({ name }) => name));
    expect(names).toHaveLength(608);
    expect(new Set(names).size).toBe(names.length);
    expect(names.filter((name) => classes[name] === undefined)).toEqual([]);
    for (const list of LIST_NAMES) {
      const listed = lists[list].map(({ name }) => name);
      expect(listed).toEqual(listed.toSorted());
    }
  });

  test("say why a test does not pass", () => {
    const others = [...lists.planned, ...lists.excluded];
    expect(others.filter(({ reason }) => reason === "")).toEqual([]);
  });
});

describe("the judge", () => {
  const lists: Lists = { passing: named("a", "b"), planned: named("c"), excluded: named("d") };

  test("tells regressions, promotions and tests in no list", () => {
    const verdicts = new Map([
      ["a", "passed"],
      ["b", "skipped"],
      ["c", "passed"],
      ["d", "failed"],
      ["e", "failed"],
    ] as const);
    expect(judge(lists, { verdicts, isWhole: true })).toEqual({
      regressions: ["b"],
      promotions: ["c"],
      faults: ["e (failed) is in no list"],
    });
  });

  test("tells names in two lists, and in a whole run those that are no tests", () => {
    const twice = { ...lists, excluded: named("a") };
    const verdicts = new Map([["a", "passed"]] as const);
    expect(judge(twice, { verdicts, isWhole: false }).faults).toEqual([
      "a is in passing and in excluded",
    ]);
    expect(judge(lists, { verdicts, isWhole: true }).faults).toEqual([
      "b is in passing and is no test",
      "c is in planned and is no test",
      "d is in excluded and is no test",
    ]);
  });
});

test("a function passes only with all of its cases, and counts in its class", () => {
  const verdicts = readReport(`<testsuites><testsuite>
    <testcase classname="s3tests.functional.test_s3" name="test_copy_enc[1]"/>
    <testcase classname="s3tests.functional.test_s3" name="test_copy_enc[2]"><failure message="&#x1;"/></testcase>
    <testcase classname="s3tests.functional.test_s3" name="test_copy_enc[3]"/>
    <testcase classname="s3tests.functional.test_s3" name="test_100_continue"><skipped/></testcase>
    <testcase classname="s3tests.functional.test_s3" name="test_bucket_notexist"/>
  </testsuite></testsuites>`);
  expect([...verdicts]).toEqual([
    ["test_s3::test_copy_enc", "failed"],
    ["test_s3::test_100_continue", "skipped"],
    ["test_s3::test_bucket_notexist", "passed"],
  ]);
  expect(countByClass(verdicts, classes).get("all")).toEqual({ passed: 1, total: 3 });
  expect(countByClass(verdicts, classes).get("core/bucket")).toEqual({ passed: 1, total: 1 });
});

function named(...names: string[]): List {
  return names.map((name) => ({ name, reason: "" }));
}
