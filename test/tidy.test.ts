/** The architecture as a test: who may import whom, nothing left over, files one can read in a sitting that say what they are for. */
import { describe, expect, test } from "vitest";
import { type Module, reachableFrom, readModules } from "./support/modules.ts";

/** These put the program together and may use all: files at the top of services/, and the processes of one machine, or of a cluster. */
const ASSEMBLING: readonly string[] = ["", "local", "cluster"];

/** Any other folder may import itself and the folders named after it. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  gateway: ["objects", "access", "lib"],
  keeper: ["objects", "metadata", "placement", "codec", "shards", "lib"],
  admin: ["keeper", "objects", "access", "placement", "metadata", "shards", "lib"],
  console: ["lib"],
  portability: ["lib"],
  objects: ["metadata", "placement", "codec", "shards", "lib"],
  storage: ["shards", "codec", "lib"],
  placement: ["metadata", "lib"],
  // To decide who may do what with a bucket or an object, one must know what those are.
  access: ["objects", "metadata", "lib"],
  metadata: ["lib"],
  codec: ["lib"],
  shards: ["lib"],
  lib: [],
};

/** What is started and not imported: the launcher, the program, and the commands that make and measure WebAssembly. */
const STARTED: readonly RegExp[] = [
  /^services\/anybucket\.js$/,
  /^services\/main\.ts$/,
  /^services\/(codec|lib)\/wasm\//,
];

/** What only tests use, and stands beside what it tests: seams kept in memory or made to fail, and clients that sign for themselves. */
const FOR_TESTS: readonly RegExp[] = [
  /\.(test|contract)\.ts$/,
  /\/testing\//,
  /^services\/metadata\/memory\.ts$/,
  /^services\/shards\/memory-shard-store\.ts$/,
  /^services\/lib\/(faulty|memory)-disk\.ts$/,
  /^services\/gateway\/auth\/(chunked|reference)-client\.ts$/,
];

/** Tests and contracts may be longer: one reads them a case at a time. */
const LINES_MAX = 500;

const modules = readModules();
const program = [...modules.values()].filter(({ path }) => !isForTests(path));

describe("services", () => {
  test("every folder has its line in the architecture", () => {
    const known = [...ASSEMBLING, ...Object.keys(MAY_IMPORT)];
    const folders = new Set(program.map(({ path }) => folderOf(path)));
    expect([...folders].filter((folder) => !known.includes(folder))).toEqual([]);
  });

  test("folders import only what the architecture lets them", () => {
    const strays = program.flatMap((module) =>
      module.imports
        .filter((target) => isModule(target) && !mayImport(module, target))
        .map((target) => `${module.path} imports ${target}`),
    );
    expect(strays).toEqual([]);
  });

  test("the program imports nothing that is for tests only", () => {
    const strays = program.flatMap(({ path, imports }) =>
      imports.filter(isForTests).map((target) => `${path} imports ${target}`),
    );
    expect(strays).toEqual([]);
  });

  test("every import names a file that is there", () => {
    const dangling = [...modules.values()].flatMap(({ path, imports }) =>
      imports
        .filter((target) => isModule(target) && !modules.has(target))
        .map((target) => `${path} imports ${target}`),
    );
    expect(dangling).toEqual([]);
  });

  test("the program reaches every file", () => {
    const started = program.map(({ path }) => path).filter(isStarted);
    const reached = reachableFrom(started, modules);
    expect(program.map(({ path }) => path).filter((path) => !reached.has(path))).toEqual([]);
  });

  test("a test reaches every file that is for tests", () => {
    const everything = new Map([...modules, ...readModules("test/**/*.ts")]);
    const tests = [...everything.keys()].filter((path) => path.endsWith(".test.ts"));
    const reached = reachableFrom(tests, everything);
    expect([...modules.keys()].filter((path) => isForTests(path) && !reached.has(path))).toEqual(
      [],
    );
  });

  test("no file is longer than one reads in a sitting", () => {
    const long = program
      .map(({ path, text }) => ({ path, lines: text.split("\n").length - 1 }))
      .filter(({ path, lines }) => lines > LINES_MAX && !path.includes("/generated/"));
    expect(long).toEqual([]);
  });

  test("every file opens with a sentence on what it is for", () => {
    const silent = program.filter(({ text }) => !OPENS_WITH_SENTENCE.test(text));
    expect(silent.map(({ path }) => path)).toEqual([]);
  });
});

/** A launcher may begin with `#!`. */
const OPENS_WITH_SENTENCE = /^(?:#!.*\n)?(?:\/\*\*?|\/\/)[\s*]+\S+ \S+/;

function isForTests(path: string): boolean {
  return FOR_TESTS.some((pattern) => pattern.test(path));
}

function isStarted(path: string): boolean {
  return STARTED.some((pattern) => pattern.test(path));
}

function isModule(target: string): boolean {
  return target.startsWith("services/") && /\.(ts|js)$/.test(target);
}

/** Empty for files at the top of services/. */
function folderOf(path: string): string {
  const parts = path.split("/");
  return parts.length > 2 ? (parts[1] ?? "") : "";
}

function mayImport({ path }: Module, target: string): boolean {
  const folder = folderOf(path);
  if (ASSEMBLING.includes(folder)) return true;
  const wanted = folderOf(target);
  return wanted === folder || (MAY_IMPORT[folder]?.includes(wanted) ?? false);
}
