/**
 * Compiles services/ to dist/ for the published package: Node strips no types under node_modules, and there the
 * subpath imports (`#folder/file.ts`) become relative ones. Run by `npm pack` (prepack).
 *
 * Types are taken out by Node itself, as it does in a clone, so that both run the same code with the same lines.
 */
import { copyFile, glob, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { stripTypeScriptTypes } from "node:module";
import { dirname, join, posix, relative, resolve } from "node:path";

const root = resolve(import.meta.dirname, "..");
const output = join(root, "dist");

/** Imports that run, and threads and processes, which are started by address. */
const REFERENCE = /(\bfrom |\bimport |\bimport\(|\bnew URL\()"([#.][^"]+)\.ts"/g;

await rm(output, { recursive: true, force: true });
await compileAllFrom("main.ts");
for await (const path of glob("services/**/*.wasm", { cwd: root })) {
  const target = join(output, relative("services", path));
  await mkdir(dirname(target), { recursive: true });
  await copyFile(join(root, path), target);
}

/** Only what the program reaches: no tests, no contract suites, no tools. Paths are within services/. */
async function compileAllFrom(entry: string): Promise<void> {
  const wanted = [entry];
  const seen = new Set(wanted);
  for (let path = wanted.pop(); path !== undefined; path = wanted.pop()) {
    for (const target of await compile(path)) {
      if (!seen.has(target)) wanted.push(target);
      seen.add(target);
    }
  }
}

/** Answers the files that it refers to. */
async function compile(path: string): Promise<readonly string[]> {
  const source = await readFile(join(root, "services", path), "utf8");
  const targets: string[] = [];
  const folder = posix.dirname(path);
  const code = stripTypeScriptTypes(source).replaceAll(
    REFERENCE,
    (_, keyword: string, name: string) => {
      const target = name.startsWith("#") ? name.slice(1) : posix.join(folder, name);
      targets.push(`${target}.ts`);
      const steps = posix.relative(folder, target);
      return `${keyword}"${steps.startsWith(".") ? steps : `./${steps}`}.js"`;
    },
  );
  const compiled = join(output, path.replace(/\.ts$/, ".js"));
  await mkdir(dirname(compiled), { recursive: true });
  await writeFile(compiled, code);
  return targets;
}
