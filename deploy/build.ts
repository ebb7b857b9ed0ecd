/**
 * Compiles services/ to dist/ for the published package: Node strips no types under node_modules, and there the
 * subpath imports (`#folder/file.ts`) become relative ones. Run by `npm pack` (prepack).
 */
import { execFileSync } from "node:child_process";
import { copyFile, glob, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";

const root = resolve(import.meta.dirname, "..");
const output = join(root, "dist");

await rm(output, { recursive: true, force: true });
await compile();
for await (const path of glob("**/*.js", { cwd: output })) await rewriteImports(path);
for await (const path of glob("services/**/*.wasm", { cwd: root })) {
  const target = join(output, relative("services", path));
  await mkdir(dirname(target), { recursive: true });
  await copyFile(join(root, path), target);
}

/** Only what the program runs, its threads included: no tests, no contract suites, no tools. */
async function compile(): Promise<void> {
  const project = join(root, "dist-tsconfig.json");
  const options = {
    extends: "./tsconfig.json",
    compilerOptions: {
      noEmit: false,
      outDir: "dist",
      rootDir: "services",
      rewriteRelativeImportExtensions: true,
    },
    include: [],
    files: ["services/main.ts", ...(await threadEntries())],
  };
  await writeFile(project, JSON.stringify(options));
  try {
    execFileSync(join(root, "node_modules/.bin/tsc"), ["-p", project], { stdio: "inherit" });
  } finally {
    await rm(project);
  }
}

/** Threads are started by address, which the compiler does not follow. */
async function threadEntries(): Promise<readonly string[]> {
  const entries: string[] = [];
  for await (const path of glob("services/**/*.ts", { cwd: root, exclude: ["**/*.test.ts"] })) {
    const source = await readFile(join(root, path), "utf8");
    for (const [, target = ""] of source.matchAll(
      /new URL\("(\.[^"]+\.ts)", import\.meta\.url\)/g,
    )) {
      entries.push(join(dirname(path), target));
    }
  }
  return entries;
}

async function rewriteImports(path: string): Promise<void> {
  const source = await readFile(join(output, path), "utf8");
  const rewritten = source.replaceAll(
    /(from |import |import\()"#([^"]+)\.ts"/g,
    (_, keyword: string, target: string) => {
      const steps = relative(dirname(path), `${target}.js`);
      return `${keyword}"${steps.startsWith(".") ? steps : `./${steps}`}"`;
    },
  );
  await writeFile(join(output, path), rewritten);
}
