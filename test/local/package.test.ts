/** What `npm pack` makes: compiled, whole, and it runs where nothing else is. */
import { execFile } from "node:child_process";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { expect, test } from "vitest";
import { clientOf, logLines, ROOT, scratch, start } from "./process.ts";

const run = promisify(execFile);
const KEYS = { accessKeyId: "packed-user", secretAccessKey: "packed-secret" };

test("the package, installed into an empty folder, starts with npx and serves", async () => {
  await using folder = await scratch();
  const { stdout } = await run("npm", ["pack", "--json", "--pack-destination", folder.path], {
    cwd: ROOT,
  });
  const [packed] = JSON.parse(stdout.slice(stdout.indexOf("["))) as {
    filename: string;
    files: { path: string }[];
  }[];
  if (packed === undefined) throw new Error(`npm packed nothing: ${stdout}`);
  const files = packed.files.map(({ path }) => path);
  expect(
    files.filter(
      (path) =>
        !/^(dist\/|services\/anybucket\.js$|package\.json$|LICENSE$|README\.md$)/.test(path),
    ),
  ).toEqual([]);
  expect(files.filter((path) => /\.ts$|test|contract/.test(path))).toEqual([]);
  expect(files.filter((path) => path.endsWith(".wasm")).length).toBeGreaterThan(1);

  const empty = join(folder.path, "empty");
  await mkdir(empty);
  await writeFile(join(empty, "package.json"), "{}");
  await run(
    "npm",
    ["install", "--prefer-offline", "--no-audit", "--no-fund", join(folder.path, packed.filename)],
    {
      cwd: empty,
    },
  );
  const server = await start({
    node: ["npx"],
    launcher: "anybucket",
    args: [join(folder.path, "disk1"), join(folder.path, "disk2"), join(folder.path, "disk3")],
    cwd: empty,
    env: {
      HOME: folder.path,
      ANYBUCKET_ACCESS_KEY: KEYS.accessKeyId,
      ANYBUCKET_SECRET_KEY: KEYS.secretAccessKey,
      ANYBUCKET_BUCKETS: "packed",
      ANYBUCKET_STORAGE_CLASS: "ec-2+1",
    },
  });
  await using end = new AsyncDisposableStack();
  end.defer(() => server.kill());
  const client = clientOf(server, KEYS);
  const large = Buffer.alloc(9_000_000, "erasure-coded ");
  for (const [Key, Body] of [
    ["small", Buffer.from("in one piece")],
    ["large", large],
  ] as const) {
    await client.send(
      new PutObjectCommand({ Bucket: "packed", Key, Body, ChecksumAlgorithm: "CRC64NVME" }),
    );
    const read = await client.send(new GetObjectCommand({ Bucket: "packed", Key }));
    expect(Body.equals((await read.Body?.transformToByteArray()) ?? Buffer.alloc(0))).toBe(true);
  }
  expect((await readdir(join(folder.path, "disk3"))).toSorted()).toContain("volumes");
  // npm's own exit code says nothing; the server's output ends when all of its processes have.
  await server.stop();
  expect(logLines(server).map(({ msg }) => msg)).toContain("Stopping");
  await expect(fetch(`${server.admin}/livez`)).rejects.toThrow("fetch failed");
}, 300_000);
