/** Every data folder that an earlier version wrote is read by this one. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { differences } from "../fixtures/contents.ts";
import { startServer } from "./server.ts";

const FIXTURES = resolve(import.meta.dirname, "../fixtures");
const archives = readdirSync(FIXTURES).filter((name) => name.endsWith(".tar.gz"));

test("there is a kept data folder of every released format", () => {
  expect(archives).toContain("data-0.1.0.tar.gz");
});

test.each(archives)("%s reads as it was written", async (archive) => {
  const scratch = mkdtempSync(join(tmpdir(), "anybucket-kept-"));
  execFileSync("tar", ["-xzf", join(FIXTURES, archive), "-C", scratch]);
  const server = await startServer({ folders: [join(scratch, "data")] });
  expect(await differences(server.client())).toEqual([]);
  expect(await server.stop()).toBe(0);
  rmSync(scratch, { recursive: true });
});
