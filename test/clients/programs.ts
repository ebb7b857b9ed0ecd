/** Runs real S3 programs against a server, each with a home of its own. */
import { execFile, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import type { TestServer } from "../s3/server.ts";

export interface Bench extends AsyncDisposable {
  readonly folder: string;
  /** Runs a program to its end; throws with its output when it fails. Answers standard output. */
  run(
    program: string,
    parameters: readonly string[],
    options?: { input?: Buffer; env?: Record<string, string> },
  ): Promise<string>;
}

const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

/** For the AWS command line and boto3; rclone refuses to start where it is set. */
export function trusting(server: TestServer): Record<string, string> {
  return server.certificate === undefined ? {} : { AWS_CA_BUNDLE: server.certificate };
}

export async function openBench(server: TestServer): Promise<Bench> {
  const folder = await mkdtemp(join(tmpdir(), "anybucket-client-"));
  const environment = {
    PATH: `/usr/bin:/bin:/usr/sbin:/sbin:${process.env["PATH"] ?? ""}`,
    HOME: folder,
    LANG: "C.UTF-8",
    AWS_ACCESS_KEY_ID: server.accessKey,
    AWS_SECRET_ACCESS_KEY: server.secretKey,
    AWS_DEFAULT_REGION: "us-east-1",
    AWS_EC2_METADATA_DISABLED: "true",
  };
  return {
    folder,
    run: (program, parameters, options = {}) =>
      new Promise((resolve, reject) => {
        const child = execFile(
          program,
          [...parameters],
          { env: { ...environment, ...options.env }, cwd: folder, maxBuffer: OUTPUT_BYTES_MAX },
          (error, stdout, stderr) => {
            if (error === null) resolve(stdout);
            else
              reject(
                new Error(
                  `${program} ${parameters.join(" ")}: ${error.message}\n${stdout}${stderr}`,
                ),
              );
          },
        );
        child.stdin?.end(options.input);
      }),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

/** On the system itself: what a version manager puts in the way of a program needs the user's own home. */
export function isInstalled(program: string): boolean {
  return ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"].some((folder) =>
    existsSync(join(folder, program)),
  );
}

export function canImport(module: string): boolean {
  return spawnSync("/usr/bin/python3", ["-c", `import ${module}`]).status === 0;
}

/** A folder of files whose names and sizes are the usual trouble. */
export async function makeTree(folder: string): Promise<void> {
  const files: readonly (readonly [string, number])[] = [
    ["empty", 0],
    ["one", 1],
    ["a/b/c/deep.txt", 1000],
    ["a/b.txt", 70_000],
    ["with space & plus+sign.txt", 12],
    ["ünïcödé/日本語 𝄞.bin", 4096],
    ["percent%2Fsign#and?question", 33],
    ["large.bin", 20 * 1024 * 1024 + 13],
  ];
  for (const [name, size] of files) {
    const path = join(folder, name);
    await mkdir(join(path, ".."), { recursive: true });
    await writeFile(path, randomBytes(size));
  }
}

/** Hash of each file of a folder by its relative name. */
export async function hashTree(folder: string): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {};
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    hashes[relative(folder, path)] = await hashFile(path);
  }
  return hashes;
}

export async function hashFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path)) hash.update(piece as Buffer);
  return hash.digest("hex");
}
