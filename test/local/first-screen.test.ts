/** What a newcomer sees first, and that what is to be pasted works. */
import { execFile, spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { readFile, stat, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { CreateBucketCommand, ListBucketsCommand } from "@aws-sdk/client-s3";
import { describe, expect, test } from "vitest";
import { clientOf, type Keys, ROOT, type Running, scratch, start, until } from "./process.ts";

const run = promisify(execFile);

/** The screen's last lines, which are to be pasted. */
function toPaste(running: Running): readonly string[] {
  const lines = running.stdout().split("\n");
  const first = lines.findIndex((line) => line.startsWith("  export AWS_ACCESS_KEY_ID="));
  const last = lines.indexOf("", first);
  return lines.slice(first, last).map((line) => line.trim());
}

async function keptKeys(data: string): Promise<Keys> {
  const text = await readFile(join(data, "credentials.json"), "utf8");
  const { accessKey, secretKey } = JSON.parse(text) as Record<string, string>;
  return { accessKeyId: accessKey ?? "", secretAccessKey: secretKey ?? "" };
}

function isInstalled(program: string): boolean {
  return (process.env["PATH"] ?? "").split(delimiter).some((folder) => {
    try {
      return readdirSync(folder).includes(program);
    } catch {
      return false;
    }
  });
}

describe("on a fresh folder", () => {
  test("keys are made and kept for their owner's eyes, the lines to paste work, a restart changes nothing", async () => {
    await using folder = await scratch();
    const options = { args: [join(folder.path, "data")] };
    const data = options.args[0] ?? "";
    await using end = new AsyncDisposableStack();
    const first = await start(options);
    end.defer(() => first.kill());
    const keys = await keptKeys(data);
    expect((await stat(join(data, "credentials.json"))).mode & 0o777).toBe(0o600);
    expect((await stat(data)).mode & 0o777).toBe(0o700);
    expect(keys.accessKeyId).toMatch(/^AK[A-Z2-7]{18}$/);
    expect(keys.secretAccessKey).toMatch(/^[\w-]{40}$/);
    // Standard output is no terminal here, so it ends up in logs.
    expect(first.stdout() + first.stderr()).not.toContain(keys.secretAccessKey);
    expect(first.stdout()).toContain(
      `  Key      ${keys.accessKeyId}   Secret in ${data}/credentials.json\n`,
    );
    expect(first.stdout()).toContain("ONE copy");
    await clientOf(first, keys).send(new CreateBucketCommand({ Bucket: "by-the-sdk" }));
    await paste(toPaste(first), folder.path);
    const { Buckets = [] } = await clientOf(first, keys).send(new ListBucketsCommand());
    const wanted = isInstalled("aws") ? ["by-the-sdk", "my-bucket"] : ["by-the-sdk"];
    expect(Buckets.map(({ Name }) => Name)).toEqual(wanted);
    expect(await first.stop()).toBe(0);

    const again = await start(options);
    end.defer(() => again.kill());
    const { accessKeyId, secretAccessKey } = keys;
    expect(await keptKeys(data)).toEqual({ accessKeyId, secretAccessKey });
    const after = await clientOf(again, keys).send(new ListBucketsCommand());
    expect(after.Buckets).toEqual(Buckets);
    expect(await again.stop()).toBe(0);
  });

  test.runIf(isInstalled("script"))(
    "on a terminal the secret is shown, and the log is for people",
    async () => {
      await using folder = await scratch();
      const data = join(folder.path, "data");
      const command = `stty -echo; exec ${process.execPath} ${join(ROOT, "services/anybucket.js")} ${data}`;
      const terminal = await start({
        node: ["script"],
        launcher: "-qec",
        args: [command, "/dev/null"],
      });
      await using end = new AsyncDisposableStack();
      end.defer(() => terminal.kill());
      const keys = await keptKeys(data);
      expect(terminal.stdout()).toContain(
        `Key      ${keys.accessKeyId}   Secret ${keys.secretAccessKey}\r\n`,
      );
      expect(terminal.stdout()).toContain(`AWS_SECRET_ACCESS_KEY=${keys.secretAccessKey} `);
      expect(terminal.stdout()).not.toContain('{"level"');
      await clientOf(terminal, keys).send(new CreateBucketCommand({ Bucket: "shown" }));
      const request =
        /^.*INFO.*: .*PUT \/shown 200 CreateBucket [\d.]+ ms, 0 B in, 0 B out, root \w{16}/m;
      await until(terminal, () => request.test(terminal.stdout()), "the request has its line");
      const server = Number(spawnSync("pgrep", ["-P", String(terminal.process.pid)]).stdout);
      process.kill(server, "SIGINT");
      await until(terminal, () => terminal.stdout().includes("Stopping"), "Ctrl-C stops it");
      expect(await terminal.exited).toBe(0);
    },
  );
});

/** All lines in one shell, those left out whose program is not installed. */
async function paste(lines: readonly string[], home: string): Promise<void> {
  const known = lines.filter((line) => {
    const [program = ""] = line.split(" ");
    return program === "export" || isInstalled(program);
  });
  expect(lines.length).toBe(3);
  const script = ["set -e", ...known].join("\n");
  await run("sh", ["-c", script], { env: { PATH: process.env["PATH"], HOME: home } });
}

describe("for those who come from MinIO", () => {
  test("its command line, its variables with secrets in files, its health paths", async () => {
    await using folder = await scratch();
    const [user, password] = [join(folder.path, "user"), join(folder.path, "password")];
    await writeFile(user, "minio-root\n");
    await writeFile(password, "minio-root-password\n");
    const data = join(folder.path, "data");
    const running = await start({
      args: (ports) => [
        "server",
        data,
        "--address",
        ports.address,
        "--console-address",
        ports.adminAddress,
        "--quiet",
      ],
      env: {
        MINIO_ROOT_USER_FILE: user,
        MINIO_ROOT_PASSWORD_FILE: password,
        MINIO_DEFAULT_BUCKETS: "first",
      },
    });
    await using end = new AsyncDisposableStack();
    end.defer(() => running.kill());
    for (const where of [running.endpoint, running.admin]) {
      for (const path of ["live", "ready", "cluster"]) {
        expect((await fetch(`${where}/minio/health/${path}`)).status).toBe(200);
      }
    }
    const keys = { accessKeyId: "minio-root", secretAccessKey: "minio-root-password" };
    const { Buckets } = await clientOf(running, keys).send(new ListBucketsCommand());
    expect(Buckets?.map(({ Name }) => Name)).toEqual(["first"]);
    expect(running.stdout()).not.toContain("minio-root-password");
    expect(running.stdout()).toContain("  Key      minio-root   Secret (as you set it)\n");
    expect(readdirSync(data)).not.toContain("credentials.json");
    expect(await running.stop()).toBe(0);
  });
});
