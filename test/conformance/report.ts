/** What pytest reports: a verdict for each test, counted by class. */
import { parseXml, XmlElement } from "@rgrove/parse-xml";

export type Verdict = "passed" | "failed" | "skipped";

/** Worst verdict of each function's cases. */
export function readReport(source: string): Map<string, Verdict> {
  const verdicts = new Map<string, Verdict>();
  // pytest writes what a test printed, and XML cannot hold all of that.
  const { root } = parseXml(source.replaceAll(/&#x[0-9a-f]+;/gi, "?"));
  if (root !== null) collect(root, verdicts);
  return verdicts;
}

export interface Count {
  readonly passed: number;
  readonly total: number;
}

/** By class (`core/bucket`), by the class's first half, and of all. */
export function countByClass(
  verdicts: ReadonlyMap<string, Verdict>,
  classes: Readonly<Record<string, string>>,
): ReadonlyMap<string, Count> {
  const counts = new Map<string, Count>();
  for (const [name, verdict] of verdicts) {
    const feature = classes[name] ?? "unknown/unknown";
    for (const group of [feature, feature.split("/")[0] ?? feature, "all"]) {
      const { passed, total } = counts.get(group) ?? { passed: 0, total: 0 };
      counts.set(group, { passed: passed + Number(verdict === "passed"), total: total + 1 });
    }
  }
  return counts;
}

const RANK: Record<Verdict, number> = { passed: 0, skipped: 1, failed: 2 };

function collect(element: XmlElement, verdicts: Map<string, Verdict>): void {
  if (element.name === "testcase") {
    const name = nameOf(element);
    const verdict = verdictOf(element);
    const before = verdicts.get(name) ?? "passed";
    verdicts.set(name, RANK[verdict] > RANK[before] ? verdict : before);
  }
  for (const child of element.children) {
    if (child instanceof XmlElement) collect(child, verdicts);
  }
}

/** `test_s3::test_x`, without the parameters of a case. */
function nameOf({ attributes }: XmlElement): string {
  const file = (attributes["classname"] ?? "").split(".").at(-1) ?? "";
  return `${file}::${(attributes["name"] ?? "").replace(/\[.*$/s, "")}`;
}

function verdictOf(testcase: XmlElement): Verdict {
  const outcomes = new Set(
    testcase.children.map((child) => (child instanceof XmlElement ? child.name : "")),
  );
  if (outcomes.has("failure") || outcomes.has("error")) return "failed";
  return outcomes.has("skipped") ? "skipped" : "passed";
}
