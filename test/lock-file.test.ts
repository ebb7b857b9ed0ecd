/** package-lock.json installs everywhere: with it, `npm ci` must find every platform's packages and fetch from any registry. */
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";

interface Locked {
  readonly resolved?: string;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const text = await readFile(new URL("../package-lock.json", import.meta.url), "utf8");
const { packages } = JSON.parse(text) as { packages: Readonly<Record<string, Locked>> };

test("every optional dependency of a locked package is locked, those of other platforms as well", () => {
  // npm leaves them out when it makes a lock file beside installed packages, and `npm ci` then refuses.
  const names = new Set(Object.keys(packages).map((path) => path.split("node_modules/").at(-1)));
  const missing = Object.values(packages).flatMap(({ optionalDependencies = {} }) =>
    Object.keys(optionalDependencies).filter((name) => !names.has(name)),
  );
  expect(missing).toEqual([]);
});

test("no package is tied to a registry", () => {
  expect(Object.values(packages).filter(({ resolved }) => resolved !== undefined)).toEqual([]);
});
