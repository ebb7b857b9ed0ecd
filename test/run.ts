/**
 * `npm test`: sets up what the tests need, runs every kind of test, and prints how many of each ran.
 *
 * On Debian or Ubuntu as root it installs what is missing; elsewhere it names it, runs the rest and counts what was left out.
 * With CI=true a test that is left out is a failure.
 */
import { type SpawnOptions, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { IdleProcessors } from "#local/idle-processors.ts";
import { canImport, isInstalled } from "./clients/programs.ts";

interface Kind {
  readonly name: string;
  /** Vitest project. */
  readonly project: string;
  /** How many files run at a time; Vitest's default leaves a core to others, such as the servers that tests start. */
  readonly maxWorkers?: string;
  /** Goes on beside the others, and what it prints comes in one piece in the end: most kinds leave half of the machine to others. */
  readonly isBeside?: true;
}

const KINDS: readonly Kind[] = [
  { name: "unit", project: "unit", maxWorkers: "100%" },
  { name: "processes", project: "processes", maxWorkers: "100%" },
  { name: "simulation", project: "simulation", isBeside: true },
  { name: "s3", project: "s3" },
  { name: "s3-cluster", project: "s3-cluster" },
  { name: "local", project: "local", isBeside: true },
  { name: "cluster-local", project: "cluster-local" },
  { name: "clients", project: "clients", isBeside: true },
  { name: "clients-cluster", project: "clients-cluster" },
  { name: "etcd", project: "etcd", isBeside: true },
  { name: "crash", project: "crash", isBeside: true },
  { name: "helm", project: "helm", isBeside: true },
  { name: "docker", project: "docker" },
  { name: "cluster", project: "cluster" },
];

/** Programs that tests run, and the Debian package of each. */
const PROGRAMS: Readonly<Record<string, string>> = {
  aws: "awscli",
  s3cmd: "s3cmd",
  rclone: "rclone",
  restic: "restic",
  s3fs: "s3fs",
  curl: "curl",
  etcd: "etcd-server",
  etcdctl: "etcd-client",
  openssl: "openssl",
  python3: "python3",
  "mkfs.ext4": "e2fsprogs",
  dockerd: "docker.io",
  debootstrap: "debootstrap",
  iptables: "iptables",
  "docker-compose": "docker-compose",
};

/** The same for programs that Debian has no package of; Go makes them. */
const GO_PROGRAMS: Readonly<Record<string, string>> = { helm: "helm.sh/helm/v3/cmd/helm@v3.22.0" };
const GO_PROGRAMS_FOLDER = "/usr/local/bin";

/** The same for modules of the system's Python. */
const PYTHON_MODULES: Readonly<Record<string, string>> = { boto3: "python3-boto3" };

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

const root = resolve(import.meta.dirname, "..");
const isCi = process.env["CI"] === "true";
const { positionals } = parseArgs({ allowPositionals: true });
const isAll = positionals.length === 0;
const chosen = KINDS.filter(({ name }) => isAll || positionals.includes(name));

setUp();
const total: Counts = { passed: 0, failed: 0, skipped: 0 };
const lines: string[] = [];
if (isAll) await add("check", async () => staticChecks());
// Those that take all processors come first, and nothing beside them.
for (const kind of chosen.filter(takesAll)) await add(kind.name, () => runProject(kind));
await Promise.all([runInTurn(false), runInTurn(true)]);
say(["", ...lines].join("\n"));
if (isCi && total.skipped > 0) {
  say(`${total.skipped} skipped tests count as failures here`);
  total.failed += total.skipped;
}
say(`${total.passed} passed, ${total.failed} failed`);
process.exit(total.failed === 0 && total.passed > 0 ? 0 : 1);

async function runInTurn(isBeside: boolean): Promise<void> {
  for (const kind of chosen) {
    if (takesAll(kind) || (kind.isBeside ?? false) !== isBeside) continue;
    await add(kind.name, () => runProject(kind));
  }
}

function takesAll({ maxWorkers }: Kind): boolean {
  return maxWorkers === "100%";
}

async function add(name: string, run: () => Promise<Counts>): Promise<void> {
  const startedMs = performance.now();
  const idle = new IdleProcessors();
  const counts = await run();
  // Whatever ran on them.
  const busy = Math.round(100 * (1 - idle.sinceLast() / cpus().length));
  const seconds = Math.round((performance.now() - startedMs) / 1000);
  total.passed += counts.passed;
  total.failed += counts.failed;
  total.skipped += counts.skipped;
  lines.push(
    `${name.padEnd(15)} ${counts.passed} ok, ${counts.failed} wrong, ${counts.skipped} left out, ${seconds} s, processors ${busy} % busy`,
  );
}

/** Types, lint and format: one test each. */
function staticChecks(): Counts {
  const commands = [["tsc"], ["oxlint", "services", "deploy", "test"], ["biome", "ci", "."]];
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const [command = "", ...parameters] of commands) {
    const { status } = spawnSync(join(root, "node_modules/.bin", command), parameters, {
      cwd: root,
      stdio: "inherit",
    });
    if (status === 0) counts.passed++;
    else counts.failed++;
  }
  return counts;
}

async function runProject({ project, maxWorkers, isBeside }: Kind): Promise<Counts> {
  const scratch = mkdtempSync(join(tmpdir(), "anybucket-report-"));
  const report = join(scratch, "report.json");
  const said = join(scratch, "said");
  say(`\n=== ${project}${isBeside ? ": begins beside the others" : ""}`);
  const output = isBeside ? openSync(said, "w") : undefined;
  const stdio: SpawnOptions["stdio"] =
    output === undefined ? "inherit" : ["ignore", output, output];
  const running = spawn(
    process.execPath,
    [
      join(root, "node_modules/vitest/vitest.mjs"),
      "run",
      "--config",
      "test/vitest.config.ts",
      "--root",
      ".",
      "--project",
      project,
      ...(maxWorkers === undefined ? [] : [`--maxWorkers=${maxWorkers}`]),
      "--reporter=default",
      "--reporter=json",
      `--outputFile.json=${report}`,
    ],
    { cwd: root, stdio },
  );
  const [status] = (await once(running, "exit")) as [number | null];
  if (output !== undefined) {
    closeSync(output);
    say(`\n=== ${project}: what it printed\n${readFileSync(said, "utf8")}\n=== end of ${project}`);
  }
  const counts = { passed: 0, failed: 0, skipped: 0 };
  if (existsSync(report)) {
    const read = JSON.parse(readFileSync(report, "utf8")) as Record<string, number>;
    counts.passed = read["numPassedTests"] ?? 0;
    counts.failed = read["numFailedTests"] ?? 0;
    counts.skipped = (read["numPendingTests"] ?? 0) + (read["numTodoTests"] ?? 0);
  }
  // A file that does not load, or an error outside any test, fails the run without failing a test.
  if (status !== 0 && counts.failed === 0) counts.failed = 1;
  rmSync(scratch, { recursive: true });
  return counts;
}

/** Installs what is missing where that is ours to do, and says what is missing elsewhere. */
function setUp(): void {
  installPackages();
  installGoPrograms();
}

function installGoPrograms(): void {
  for (const [program, source] of Object.entries(GO_PROGRAMS)) {
    if (isInstalled(program)) continue;
    const command = `GOBIN=${GO_PROGRAMS_FOLDER} go install ${source}`;
    if (process.getuid?.() !== 0 || spawnSync("go", ["version"]).status !== 0) {
      say(`Not installed: ${program}. Tests that need it are left out; to have it: ${command}`);
      continue;
    }
    say(`Not installed: ${program}. Making it with ${command}`);
    const environment = { ...process.env, GOBIN: GO_PROGRAMS_FOLDER };
    spawnSync("go", ["install", source], {
      stdio: ["ignore", "ignore", "inherit"],
      env: environment,
    });
  }
}

function installPackages(): void {
  const missing = [
    ...Object.entries(PROGRAMS).filter(([program]) => !isInstalled(program)),
    ...Object.entries(PYTHON_MODULES).filter(([module]) => !canImport(module)),
  ];
  if (missing.length === 0) return;
  const packages = missing.map(([, name]) => name);
  const names = missing.map(([name]) => name).join(", ");
  const command = `apt-get install -y --no-install-recommends ${packages.join(" ")}`;
  if (!existsSync("/etc/debian_version") || process.getuid?.() !== 0) {
    say(`Not installed: ${names}. Tests that need them are left out; to have them: ${command}`);
    return;
  }
  say(`Not installed: ${names}. Installing with ${command}`);
  const environment = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  spawnSync("apt-get", ["update", "-qq"], { stdio: "inherit", env: environment });
  spawnSync("apt-get", ["install", "-y", "-qq", "--no-install-recommends", ...packages], {
    stdio: ["ignore", "ignore", "inherit"],
    env: environment,
  });
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
