/**
 * Measures the power-cut test: plants a bug in a copy of the tree and runs the test there, which must then fail.
 * `node test/crash/planted.ts [NAME…]`; `POWER_CUTS` says how many cuts each gets.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

interface PlantedBug {
  readonly name: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

const BUGS: readonly PlantedBug[] = [
  {
    name: "data-without-fsync",
    file: "services/lib/system-disk.ts",
    find: "fs.fdatasync(this.#descriptor, (error) => (error === null ? resolve() : reject(error)));",
    replace: "this.#descriptor < 0 ? reject(new Error()) : resolve();",
  },
  {
    name: "index-before-its-flush",
    file: "services/metadata/lmdb-environment.ts",
    find: "overlappingSync: false,",
    replace: "overlappingSync: false,\n    noSync: true,",
  },
];

function plant(bug: PlantedBug, tree: string): void {
  const path = join(tree, bug.file);
  const source = readFileSync(path, "utf8");
  if (!source.includes(bug.find)) throw new Error(`${bug.name}: ${bug.file} has changed`);
  writeFileSync(path, source.replace(bug.find, bug.replace));
}

const root = resolve(import.meta.dirname, "../..");
const wanted = process.argv.slice(2);
let missed = 0;
if (!cutPower(undefined).isGreen) throw new Error("The tree without a planted bug is not green");
process.stdout.write("green without a planted bug\n");
for (const bug of BUGS) {
  if (wanted.length > 0 && !wanted.includes(bug.name)) continue;
  const { isGreen, finding } = cutPower(bug);
  const isCaught = !isGreen && finding !== undefined;
  if (!isCaught) missed++;
  process.stdout.write(`${isCaught ? "caught" : "NOT CAUGHT"} ${bug.name}\n`);
}
process.exit(missed === 0 ? 0 : 1);

/** Runs the power cuts on a copy of the tree; only a finding of lost data counts, not a tree that does not start. */
function cutPower(bug: PlantedBug | undefined): { isGreen: boolean; finding: string | undefined } {
  const tree = mkdtempSync(join(tmpdir(), "anybucket-planted-"));
  try {
    const files = execFileSync("git", ["ls-files", "-z"], { cwd: root }).toString().split("\0");
    for (const file of files) if (file !== "") cpSync(join(root, file), join(tree, file));
    symlinkSync(join(root, "node_modules"), join(tree, "node_modules"));
    if (bug !== undefined) plant(bug, tree);
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [
        join(tree, "node_modules/vitest/vitest.mjs"),
        "run",
        "--config",
        "test/vitest.config.ts",
        "--root",
        ".",
        "--project",
        "crash",
        "test/crash/power-cut.test.ts",
      ],
      { cwd: tree, encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } },
    );
    const finding = /seed \d+ cut \d+:.*|Cannot recover the index.*/.exec(stdout + stderr)?.[0];
    process.stdout.write(`${finding?.slice(0, 160) ?? stdout.slice(-2000)}\n`);
    return { isGreen: status === 0, finding };
  } finally {
    rmSync(tree, { recursive: true, force: true });
  }
}
