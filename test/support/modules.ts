/** The modules of services/ and who imports whom, read from their text. */
import { globSync, readFileSync } from "node:fs";

export interface Module {
  /** From the root of the repository. */
  readonly path: string;
  readonly text: string;
  /** Paths; type-only imports too. */
  readonly imports: readonly string[];
}

export function readModules(pattern = "services/**/*.{ts,js}"): ReadonlyMap<string, Module> {
  const modules = new Map<string, Module>();
  for (const path of globSync(pattern).toSorted()) {
    const text = readFileSync(path, "utf8");
    const imports = [...text.matchAll(IMPORT)].map(([, ...targets]) =>
      resolve(path, targets.find((target) => target !== undefined) ?? ""),
    );
    modules.set(path, { path, text, imports: imports.filter((target) => target !== "") });
  }
  return modules;
}

/** The modules that these need to run, themselves included. */
export function reachableFrom(
  start: readonly string[],
  modules: ReadonlyMap<string, Module>,
): ReadonlySet<string> {
  const found = new Set<string>();
  const waiting = [...start];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (found.has(path)) continue;
    found.add(path);
    waiting.push(...(modules.get(path)?.imports ?? []));
  }
  return found;
}

/** `from "#a/b.ts"`, `import("#a/b.ts")`, and files started as a worker or process of their own. */
const IMPORT =
  /(?:from|import\(|import)\s*"([^"]+)"|new URL\(\s*"([^"]+)"|import\.meta\.resolve\(\s*"([^"]+)"/g;

function resolve(importer: string, target: string): string {
  if (target.startsWith("#")) return `services/${target.slice(1)}`;
  // Packages, and files within them; a URL beside the importer does without the dot.
  if (!target.startsWith(".") && !/^[^/]+\.(ts|js)$/.test(target)) return "";
  const parts = importer.split("/").slice(0, -1);
  for (const part of target.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}
