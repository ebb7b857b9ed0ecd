/** A copy of the tree in which a bug can be planted and taken out again. */
import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { PlantedBug } from "./bugs.ts";

const root = resolve(import.meta.dirname, "../..");

export class TreeCopy implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), "anybucket-planted-"));

  constructor() {
    // What is new is part of the tree too, and what was removed is not.
    const listing = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    const files = execFileSync("git", listing, { cwd: root }).toString().split("\0");
    for (const file of files) {
      if (file !== "" && existsSync(join(root, file)))
        cpSync(join(root, file), join(this.path, file));
    }
    symlinkSync(join(root, "node_modules"), join(this.path, "node_modules"));
  }

  /** Answers how to take it out again. Throws when the code that it changes is not there any more. */
  plant({ name, edits }: PlantedBug): Disposable {
    const originals = new Map<string, string>();
    for (const { file, find, replace } of edits) {
      const path = join(this.path, file);
      const source = readFileSync(path, "utf8");
      if (!source.includes(find)) throw new Error(`Cannot plant "${name}": ${file} has changed`);
      if (!originals.has(path)) originals.set(path, source);
      writeFileSync(
        path,
        source.replace(find, () => replace),
      );
    }
    return {
      [Symbol.dispose]: () => {
        for (const [path, source] of originals) writeFileSync(path, source);
      },
    };
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
