/**
 * Runs a checkout of ceph/s3-tests against a fresh server: `npm run conformance:s3-tests -- FOLDER [--http|--https] [-k EXPRESSION]`.
 *
 * Prints passed/total for each class, and fails when a test of `passing.txt` did not pass. A test of several cases passes only whole.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { parseXml, XmlElement } from "@rgrove/parse-xml";
import { startServer, type TestServer } from "../s3/server.ts";

/** The commit that classes and lists were made with. */
const PINNED = "8f0ae7b";
const PYTHON_PACKAGES = [
  "boto3==1.43.11",
  "pytest",
  "pytest-timeout",
  "pytest-xdist",
  "isodate",
  "pytz",
  "httplib2",
  "lxml",
  "pyyaml",
  "munch",
  "requests",
];
const FILES = ["s3tests/functional/test_s3.py", "s3tests/functional/test_headers.py"];
const here = import.meta.dirname;
const cache = resolve(here, "../.cache");

interface SuiteUser {
  readonly section: string;
  readonly name: string;
  readonly ownerId: string;
  readonly displayName: string;
  readonly email: string;
  readonly accessKey: string;
  readonly secretKey: string;
}

const USERS: readonly SuiteUser[] = [
  {
    section: "s3 main",
    name: "main",
    ownerId: "testid",
    displayName: "M. Tester",
    email: "tester@example.com",
    accessKey: "MAINACCESSKEY0000001",
    secretKey: "main-secret-key-of-the-conformance-suite",
  },
  {
    section: "s3 alt",
    name: "alt",
    ownerId: "56789abcdef0123456789abcdef0123456789abcdef0123456789abcdef01234",
    displayName: "john.doe",
    email: "john.doe@example.com",
    accessKey: "ALTACCESSKEY00000001",
    secretKey: "alt-secret-key-of-the-conformance-suite0",
  },
  {
    section: "s3 tenant",
    name: "tenant",
    ownerId: "testx$9876543210abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    displayName: "testx$tenanteduser",
    email: "tenanteduser@example.com",
    accessKey: "TENANTACCESSKEY00001",
    secretKey: "tenant-secret-key-of-the-conformance-sui",
  },
];

type Verdict = "passed" | "failed" | "skipped";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    http: { type: "boolean" },
    https: { type: "boolean" },
    k: { type: "string", short: "k" },
    workers: { type: "string", default: "4" },
    write: { type: "string" },
  },
});
const [folder] = positionals;
if (folder === undefined || !existsSync(join(folder, FILES[0] ?? ""))) {
  say(`Give the folder of a checkout of ceph/s3-tests at ${PINNED}.`);
  process.exit(2);
}
const both = values.http !== true && values.https !== true;
let isGood = true;
for (const scheme of ["http", "https"] as const) {
  if (!both && values[scheme] !== true) continue;
  isGood = (await runSuite(resolve(folder), scheme)) && isGood;
}
process.exit(isGood ? 0 : 1);

async function runSuite(checkout: string, scheme: "http" | "https"): Promise<boolean> {
  const scratch = await mkdtemp(join(tmpdir(), "anybucket-conformance-"));
  const usersFile = join(scratch, "users.json");
  await writeFile(
    usersFile,
    JSON.stringify(USERS.map((user) => ({ ...user, section: undefined }))),
  );
  const server = await startServer({
    https: scheme === "https",
    env: {
      ANYBUCKET_USERS_FILE: usersFile,
      ANYBUCKET_DEFAULT_OWNERSHIP: "ObjectWriter",
      ANYBUCKET_LEGACY_SIGNATURES: "true",
    },
  });
  try {
    const configuration = join(scratch, "s3tests.conf");
    await writeFile(configuration, suiteConfiguration(server, scheme));
    const report = join(scratch, "report.xml");
    const expression = values.k === undefined ? [] : ["-k", values.k];
    spawnSync(
      await python(),
      [
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-q",
        "--timeout",
        "120",
        "--tb",
        "short",
        "-n",
        values.workers,
        "-m",
        "not fails_on_aws",
        `--junitxml=${report}`,
        ...expression,
        ...FILES,
      ],
      {
        cwd: checkout,
        env: { ...process.env, S3TEST_CONF: configuration, PYTHONWARNINGS: "ignore" },
        stdio: ["ignore", "ignore", "inherit"],
      },
    );
    return await judge(report, scheme);
  } finally {
    await server.stop();
    await rm(scratch, { recursive: true, force: true });
  }
}

async function judge(report: string, scheme: string): Promise<boolean> {
  const source = await readFile(report, "utf8");
  const verdicts = readReport(source);
  const classes = JSON.parse(await readFile(join(here, "classes.json"), "utf8")) as Record<
    string,
    string
  >;
  const passing = await readList("passing.txt");
  if (values.write !== undefined) {
    const lines = [...verdicts].map(
      ([name, verdict]) => `${verdict} ${classes[name] ?? "?"} ${name}`,
    );
    await writeFile(`${values.write}-${scheme}.txt`, `${lines.toSorted().join("\n")}\n`);
    await writeFile(`${values.write}-${scheme}.xml`, source);
  }
  const totals = new Map<string, { passed: number; total: number }>();
  for (const [name, verdict] of verdicts) {
    const feature = classes[name] ?? "unknown/unknown";
    for (const group of [feature, feature.split("/")[0] ?? feature, "all"]) {
      const count = totals.get(group) ?? { passed: 0, total: 0 };
      count.total++;
      if (verdict === "passed") count.passed++;
      totals.set(group, count);
    }
  }
  say(`\nceph/s3-tests ${PINNED} over ${scheme}, without fails_on_aws`);
  for (const [group, { passed, total }] of [...totals].toSorted(([left], [right]) =>
    left.localeCompare(right),
  )) {
    say(`${group.includes("/") ? "  " : ""}${group.padEnd(40)} ${passed}/${total}`);
  }
  const regressions = passing.filter(
    (name) => verdicts.has(name) && verdicts.get(name) !== "passed",
  );
  for (const name of regressions) say(`REGRESSION ${name}`);
  const promotions = [...verdicts].filter(
    ([name, verdict]) => verdict === "passed" && !passing.includes(name),
  );
  if (promotions.length > 0) say(`${promotions.length} tests pass that passing.txt does not name`);
  const passed = totals.get("all")?.passed ?? 0;
  say(
    `${scheme}: ${passed} passed, ${(totals.get("all")?.total ?? 0) - passed} not passed, ${regressions.length} regressions`,
  );
  return regressions.length === 0 && verdicts.size > 0;
}

/** Worst verdict of each function's cases. */
function readReport(source: string): Map<string, Verdict> {
  const verdicts = new Map<string, Verdict>();
  const rank: Record<Verdict, number> = { passed: 0, skipped: 1, failed: 2 };
  const visit = (element: XmlElement) => {
    if (element.name === "testcase") {
      const file = (element.attributes["classname"] ?? "").split(".").at(-1) ?? "";
      const name = `${file}::${(element.attributes["name"] ?? "").replace(/\[.*$/s, "")}`;
      const outcomes = element.children
        .filter((child) => child instanceof XmlElement)
        .map((child) => child.name);
      const verdict: Verdict =
        outcomes.includes("failure") || outcomes.includes("error")
          ? "failed"
          : outcomes.includes("skipped")
            ? "skipped"
            : "passed";
      const before = verdicts.get(name) ?? "passed";
      verdicts.set(name, rank[verdict] > rank[before] ? verdict : before);
    }
    for (const child of element.children) if (child instanceof XmlElement) visit(child);
  };
  const root = parseXml(source.replaceAll(/&#x[0-9a-f]+;/gi, "?")).root;
  if (root !== null) visit(root);
  return verdicts;
}

async function readList(file: string): Promise<string[]> {
  const path = join(here, file);
  if (!existsSync(path)) return [];
  const lines = (await readFile(path, "utf8")).split("\n");
  return lines.map((line) => line.split("#")[0]?.trim() ?? "").filter((line) => line !== "");
}

function suiteConfiguration(server: TestServer, scheme: string): string {
  const users = USERS.map(
    (user) =>
      `[${user.section}]\ndisplay_name = ${user.displayName}\nuser_id = ${user.ownerId}\nemail = ${user.email}\naccess_key = ${user.accessKey}\nsecret_key = ${user.secretKey}\n${user.name === "tenant" ? "tenant = testx\n" : ""}${user.name === "main" ? "api_name = us-east-1\n" : ""}`,
  );
  const iam = ["iam", "iam root", "iam alt root"].map(
    (section) =>
      `[${section}]\nemail = iam@example.com\nuser_id = testid\ndisplay_name = M. Tester\naccess_key = ${USERS[0]?.accessKey}\nsecret_key = ${USERS[0]?.secretKey}\n`,
  );
  return [
    `[DEFAULT]\nhost = localhost\nport = ${server.port}\nis_secure = ${scheme === "https" ? "True" : "False"}\nssl_verify = False\n`,
    "[fixtures]\nbucket prefix = abc-{random}-\niam name prefix = s3-tests-\niam path prefix = /s3-tests/\n",
    ...users,
    ...iam,
  ].join("\n");
}

/** A Python with what the suite needs, made once. */
async function python(): Promise<string> {
  const venv = join(cache, "s3-tests-venv");
  const binary = join(venv, "bin/python");
  if (!existsSync(join(venv, "complete"))) {
    await mkdir(cache, { recursive: true });
    execFileSync("python3", ["-m", "venv", venv], { stdio: "inherit" });
    execFileSync(binary, ["-m", "pip", "install", "-q", ...PYTHON_PACKAGES], { stdio: "inherit" });
    await writeFile(join(venv, "complete"), "");
  }
  return binary;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
