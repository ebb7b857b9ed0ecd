/**
 * The three lists of ceph/s3-tests, by exact name: what passes, what a later capability will make pass, and what is not to pass.
 * Every test is in exactly one of them.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Verdict } from "./report.ts";

export const LIST_NAMES = ["passing", "planned", "excluded"] as const;
export type ListName = (typeof LIST_NAMES)[number];

/** A test's name, and why it is where it is; passing tests need no reason. */
export type List = readonly { readonly name: string; readonly reason: string }[];
export type Lists = Readonly<Record<ListName, List>>;

export async function readLists(): Promise<Lists> {
  const [passing, planned, excluded] = await Promise.all(LIST_NAMES.map(readList));
  return { passing: passing ?? [], planned: planned ?? [], excluded: excluded ?? [] };
}

export interface Judgement {
  /** Tests of `passing.txt` that did not pass. */
  readonly regressions: readonly string[];
  /** Tests that pass and are in another list. */
  readonly promotions: readonly string[];
  /** What is wrong with the lists themselves, in words. */
  readonly faults: readonly string[];
}

/** `isWhole`: the whole suite ran, so that a listed name without a verdict names no test. */
export function judge(
  lists: Lists,
  { verdicts, isWhole }: { verdicts: ReadonlyMap<string, Verdict>; isWhole: boolean },
): Judgement {
  const places = new Map<string, ListName[]>();
  for (const list of LIST_NAMES) {
    for (const { name } of lists[list]) places.set(name, [...(places.get(name) ?? []), list]);
  }
  const faults: string[] = [];
  for (const [name, found] of places) {
    if (found.length > 1) faults.push(`${name} is in ${found.join(" and in ")}`);
    if (isWhole && !verdicts.has(name)) faults.push(`${name} is in ${found[0]} and is no test`);
  }
  const regressions: string[] = [];
  const promotions: string[] = [];
  for (const [name, verdict] of verdicts) {
    const [place] = places.get(name) ?? [];
    if (place === undefined) faults.push(`${name} (${verdict}) is in no list`);
    else if (place === "passing" && verdict !== "passed") regressions.push(name);
    else if (place !== "passing" && verdict === "passed") promotions.push(name);
  }
  return { regressions, promotions, faults };
}

async function readList(list: ListName): Promise<List> {
  const text = await readFile(join(import.meta.dirname, `${list}.txt`), "utf8");
  return text
    .split("\n")
    .filter((line) => line.trim() !== "" && !line.startsWith("#"))
    .map((line) => {
      const [name = "", ...reason] = line.split("#");
      return { name: name.trim(), reason: reason.join("#").trim() };
    });
}
