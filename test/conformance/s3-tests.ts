/**
 * Runs a checkout of ceph/s3-tests against a fresh server: `npm run conformance:s3-tests -- FOLDER [--http|--https] [-k EXPRESSION]`;
 * with --cluster, against two gateways that take turns.
 *
 * Prints passed/total for each class. Fails when a test of `passing.txt` did not pass, and when a test is in none or in two of the
 * lists. A test of several cases passes only whole.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { startClusterServer } from "../s3/cluster-server.ts";
import { startServer, type TestServer } from "../s3/server.ts";
import { judge, readLists } from "./lists.ts";
import { type Count, countByClass, readReport, type Verdict } from "./report.ts";

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
/** Tests that count all buckets of their user, and find only their own where nothing else runs. */
const ALONE = ["s3tests/functional/test_s3.py::test_list_buckets_paginated"];
const PYTEST_OPTIONS = ["-p", "no:cacheprovider", "-q", "--tb=short"];
const MARKERS = "not fails_on_aws";
/** Where the suite asks for a bucket: AWS has no name for its first region there, so it must be another one. */
const LOCATION_CONSTRAINT = "eu-central-1";
const cache = resolve(import.meta.dirname, "../.cache");

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

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    cluster: { type: "boolean", default: false },
    http: { type: "boolean" },
    https: { type: "boolean" },
    k: { type: "string", short: "k" },
    /** Seconds that one test may take: more where the machine has other things to do. */
    timeout: { type: "string", default: "120" },
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
  const apart = ALONE.map((test) => `--deselect=${test}`);
  const most = ["-n", values.workers, ...apart, ...FILES];
  const together = await runTests(checkout, scheme, { name: "together", tests: most });
  const alone = await runTests(checkout, scheme, { name: "alone", tests: ["-n", "0", ...ALONE] });
  return show(new Map([...together, ...alone]), scheme);
}

/** On a server and a folder of their own. */
async function runTests(
  checkout: string,
  scheme: "http" | "https",
  { name, tests }: { name: string; tests: readonly string[] },
): Promise<Map<string, Verdict>> {
  const scratch = await mkdtemp(join(tmpdir(), "anybucket-conformance-"));
  const usersFile = join(scratch, "users.json");
  await writeFile(
    usersFile,
    JSON.stringify(USERS.map((user) => ({ ...user, section: undefined }))),
  );
  const start = values.cluster ? startClusterServer : startServer;
  const server = await start({
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
    const env: NodeJS.ProcessEnv = {
      ...process.env,
      S3TEST_CONF: configuration,
      PYTHONWARNINGS: "ignore",
      // One test opens connections of its own and does not leave the certificate unverified as the others do.
      ...(server.certificate && { SSL_CERT_FILE: server.certificate }),
    };
    const limit = `--timeout=${values.timeout}`;
    const options = [...PYTEST_OPTIONS, limit, "-m", MARKERS, `--junitxml=${report}`];
    if (values.k !== undefined) options.push("-k", values.k);
    // Not waited for synchronously: what the server writes must be read meanwhile.
    const pytest = spawn(await python(), ["-m", "pytest", ...options, ...tests], {
      cwd: checkout,
      env,
      stdio: ["ignore", "ignore", "inherit"],
    });
    await once(pytest, "exit");
    const source = await readFile(report, "utf8");
    if (values.write !== undefined) {
      await writeFile(`${values.write}-${scheme}-${name}.xml`, source);
    }
    return readReport(source);
  } finally {
    await server.stop();
    await rm(scratch, { recursive: true, force: true });
  }
}

async function show(verdicts: ReadonlyMap<string, Verdict>, scheme: string): Promise<boolean> {
  const classes = JSON.parse(
    await readFile(join(import.meta.dirname, "classes.json"), "utf8"),
  ) as Record<string, string>;
  if (values.write !== undefined) {
    const lines = [...verdicts].map(
      ([name, verdict]) => `${verdict} ${classes[name] ?? "?"} ${name}`,
    );
    await writeFile(`${values.write}-${scheme}.txt`, `${lines.toSorted().join("\n")}\n`);
  }
  const counts = countByClass(verdicts, classes);
  const target = values.cluster ? "a cluster" : "one machine";
  say(`\nceph/s3-tests ${PINNED} on ${target} over ${scheme}, without fails_on_aws`);
  for (const [group, { passed, total }] of [...counts].toSorted(byGroup)) {
    say(`${group.includes("/") ? "  " : ""}${group.padEnd(40)} ${passed}/${total}`);
  }
  const isWhole = values.k === undefined;
  const { regressions, promotions, faults } = judge(await readLists(), { verdicts, isWhole });
  for (const name of promotions) say(`PASSES, is not in passing.txt: ${name}`);
  for (const fault of faults) say(`LISTS: ${fault}`);
  for (const name of regressions) say(`REGRESSION: ${name}`);
  const { passed, total } = counts.get("all") ?? { passed: 0, total: 0 };
  say(
    `${scheme}: ${passed} passed, ${total - passed} not passed, ${regressions.length} regressions, ${faults.length} faults of the lists`,
  );
  return regressions.length === 0 && faults.length === 0 && total > 0;
}

function byGroup([left]: readonly [string, Count], [right]: readonly [string, Count]): number {
  return left.localeCompare(right);
}

function suiteConfiguration(server: TestServer, scheme: string): string {
  const users = USERS.map(
    (user) =>
      `[${user.section}]\ndisplay_name = ${user.displayName}\nuser_id = ${user.ownerId}\nemail = ${user.email}\naccess_key = ${user.accessKey}\nsecret_key = ${user.secretKey}\n${user.name === "tenant" ? "tenant = testx\n" : ""}${user.name === "main" ? `api_name = ${LOCATION_CONSTRAINT}\n` : ""}`,
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
