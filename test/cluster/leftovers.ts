/** What a run that was killed left behind: its containers, networks, cuts and mounted folders. The next run takes them away. */
import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { docker } from "../support/docker.ts";

const run = promisify(execFile);
/** Of containers: the process that made them. */
export const LABEL = "anybucket.test-cluster";
/** Of folders; the process follows. */
export const SCRATCH_PREFIX = "anybucket-test-cluster-";
const NETWORK_NAME = /\banybucket-(\d+)-[0-9a-f]{6}\b/;

export async function removeLeftovers(): Promise<void> {
  for (const line of lines(
    await docker(
      "ps",
      "--all",
      `--filter=label=${LABEL}`,
      `--format={{.ID}} {{.Label "${LABEL}"}}`,
    ),
  )) {
    const [id = "", pid] = line.split(" ");
    if (!isAlive(pid)) await docker("rm", "--force", "--volumes", id);
  }
  for (const name of lines(await docker("network", "ls", "--format={{.Name}}"))) {
    const pid = NETWORK_NAME.exec(name)?.[1];
    if (pid !== undefined && !isAlive(pid)) await docker("network", "rm", name);
  }
  await removeCuts();
  await removeFolders();
}

async function removeCuts(): Promise<void> {
  const { stdout } = await run("iptables", ["-w", "-S"]);
  for (const rule of lines(stdout)) {
    const pid = NETWORK_NAME.exec(rule)?.[1];
    if (!rule.startsWith("-A DOCKER-USER ") || pid === undefined || isAlive(pid)) continue;
    await run("iptables", ["-w", "-D", ...rule.replaceAll('"', "").split(" ").slice(1)]);
  }
}

async function removeFolders(): Promise<void> {
  const mounts = lines(readFileSync("/proc/mounts", "utf8")).map((line) => line.split(" ")[1]);
  for (const name of await readdir(tmpdir())) {
    const pid = name.startsWith(SCRATCH_PREFIX)
      ? /^\d+/.exec(name.slice(SCRATCH_PREFIX.length))?.[0]
      : undefined;
    // Logs of a run that failed are somebody's to read.
    if (pid === undefined || isAlive(pid) || name.endsWith("-logs")) continue;
    const folder = join(tmpdir(), name);
    for (const mount of mounts) if (mount?.startsWith(`${folder}/`)) await run("umount", [mount]);
    await rm(folder, { recursive: true, force: true });
  }
}

function isAlive(pid: string | undefined): boolean {
  return existsSync(`/proc/${pid}`);
}

function lines(text: string): readonly string[] {
  return text.split("\n").filter((line) => line !== "");
}
