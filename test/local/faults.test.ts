/** What only the operator can mend is said in one line, with the exit code of README's table. */
import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmdirSync } from "node:fs";
import {
  chmod,
  copyFile,
  mkdir,
  readdir,
  rename,
  rm,
  statfs,
  truncate,
  writeFile,
} from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import { describe, expect, test } from "vitest";
import { freePort } from "../s3/server.ts";
import { clientOf, faultOf, type LaunchOptions, ROOT, scratch, start, until } from "./process.ts";

const KEYS = { accessKeyId: "operator", secretAccessKey: "operator-secret" };
const GIVEN = {
  ANYBUCKET_ACCESS_KEY: KEYS.accessKeyId,
  ANYBUCKET_SECRET_KEY: KEYS.secretAccessKey,
};
const isRoot = process.getuid?.() === 0;
/** `nobody` on Debian; any user without rights will do. */
const NOBODY = 65_534;

async function refusalOf(options: LaunchOptions): Promise<{ code: number | null; line: string }> {
  const [address, adminAddress] = [
    `127.0.0.1:${await freePort()}`,
    `127.0.0.1:${await freePort()}`,
  ];
  const { code, stderr } = await faultOf({
    ...options,
    env: {
      ANYBUCKET_ADDRESS: address,
      ANYBUCKET_ADMIN_ADDRESS: adminAddress,
      ...GIVEN,
      ...options.env,
    },
  });
  expect(stderr).toMatch(/^anybucket: [^\n]+\n$/);
  return { code, line: stderr.slice("anybucket: ".length, -1) };
}

async function occupied(): Promise<{ address: string; [Symbol.asyncDispose](): Promise<void> }> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  return {
    address: `127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      server.close();
      await once(server, "close");
    },
  };
}

describe("ports", () => {
  test("the S3 port is in use", async () => {
    await using folder = await scratch();
    await using other = await occupied();
    const args = [join(folder.path, "data")];
    expect(await refusalOf({ args, env: { ANYBUCKET_ADDRESS: other.address } })).toEqual({
      code: 78,
      line: `Cannot listen on ${other.address}: the port is in use; stop the other program, or choose another with --address :PORT`,
    });
  });

  test("the admin port is in use", async () => {
    await using folder = await scratch();
    await using other = await occupied();
    const args = [join(folder.path, "data")];
    expect(await refusalOf({ args, env: { ANYBUCKET_ADMIN_ADDRESS: other.address } })).toEqual({
      code: 78,
      line: `Cannot listen on ${other.address}: the port is in use; stop the other program, or choose another with --admin-address :PORT`,
    });
  });
});

describe("files that the settings name", () => {
  test("a certificate that is not there", async () => {
    await using folder = await scratch();
    const path = join(folder.path, "cert.pem");
    const env = { ANYBUCKET_TLS_CERT_FILE: path, ANYBUCKET_TLS_KEY_FILE: path };
    const { code, line } = await refusalOf({ args: [join(folder.path, "data")], env });
    expect(code).toBe(78);
    expect(line).toMatch(`Cannot use certificate ${path} with key ${path}: ENOENT`);
  });

  test("a users' file with a fault in it", async () => {
    await using folder = await scratch();
    const path = join(folder.path, "users.json");
    await writeFile(
      path,
      '[{ "name": "bob", "accessKey": "operator", "secretKey": "bobs-secret" }]',
    );
    const env = { ANYBUCKET_USERS_FILE: path };
    expect(await refusalOf({ args: [join(folder.path, "data")], env })).toEqual({
      code: 78,
      line: "Cannot take these users: two users have the accessKey operator",
    });
  });
});

describe.runIf(isRoot)("folders that are another user's", () => {
  test("the folder is not writable: the line has the command that mends it", async () => {
    await using folder = await scratch();
    await chmod(folder.path, 0o755);
    const path = join(folder.path, "data of mine");
    await mkdir(path);
    const { code, line } = await refusalOf({ args: [path], uid: NOBODY });
    const command = `chown -R ${NOBODY}:${NOBODY} '${path}'`;
    expect({ code, line }).toEqual({
      code: 78,
      line: `Cannot write to ${path} as user ${NOBODY}: run, as root: ${command}`,
    });
    execFileSync("sh", ["-c", command]);
    const running = await start({ args: [path], uid: NOBODY, env: GIVEN });
    expect(await running.stop()).toBe(0);
  });

  test("a folder that is not there cannot be made", async () => {
    await using folder = await scratch();
    await chmod(folder.path, 0o755);
    const path = join(folder.path, "data");
    expect(await refusalOf({ args: [path], uid: NOBODY })).toEqual({
      code: 78,
      line: `Cannot make ${path} as user ${NOBODY}: run, as root: mkdir -p ${path} && chown ${NOBODY}:${NOBODY} ${path}`,
    });
  });

  test("files in it are left from a start as root", async () => {
    await using folder = await keptFolder();
    await chmod(folder.path, 0o755);
    execFileSync("chown", [String(NOBODY), folder.data]);
    const { code, line } = await refusalOf({ args: [folder.data], uid: NOBODY });
    expect(code).toBe(78);
    expect(line).toContain(`run, as root: chown -R ${NOBODY}:${NOBODY} ${folder.data}`);
  });
});

/** A data folder with objects in it. */
async function keptFolder(): Promise<{ path: string; data: string } & AsyncDisposable> {
  const folder = await scratch();
  const archive = join(ROOT, "test/fixtures/data-0.1.0.tar.gz");
  execFileSync("tar", ["-xzf", archive, "-C", folder.path]);
  return { ...folder, data: join(folder.path, "data") };
}

describe("folders that hold something else", () => {
  test("a folder with other files is left as it is", async () => {
    await using folder = await scratch();
    await writeFile(join(folder.path, "thesis.tex"), "");
    await writeFile(join(folder.path, "thesis.pdf"), "");
    expect(await refusalOf({ args: [folder.path] })).toEqual({
      code: 78,
      line: `Cannot use ${folder.path}: it holds other files (thesis.pdf and 1 more); give an empty folder`,
    });
    expect(await readdir(folder.path)).toEqual(["thesis.pdf", "thesis.tex"]);
  });

  test("a file where a folder should be", async () => {
    await using folder = await scratch();
    const path = join(folder.path, "data");
    await writeFile(path, "");
    expect(await refusalOf({ args: [path] })).toEqual({
      code: 78,
      line: `Cannot use ${path}: it is not a folder`,
    });
  });

  test("a folder of another Anybucket beside ours", async () => {
    await using folder = await keptFolder();
    const other = join(folder.path, "other");
    await mkdir(other);
    const identity = {
      formatVersion: 1,
      clusterId: "an-other-cluster",
      diskId: randomBytes(16).toString("hex"),
      secret: randomBytes(16).toString("hex"),
    };
    await writeFile(join(other, "disk.json"), JSON.stringify(identity));
    const { code, line } = await refusalOf({ args: [folder.data, other] });
    expect(code).toBe(78);
    expect(line).toMatch(
      `Cannot use ${other} with ${folder.data}: it holds the data of another Anybucket (cluster an-other-cluster, not `,
    );
  });

  test("the same folder twice", async () => {
    await using folder = await scratch();
    const { code, line } = await refusalOf({ args: [folder.path, `${folder.path}/`] });
    expect({ code, line }).toMatchObject({ code: 78, line: expect.stringContaining("twice") });
  });

  test("a data folder whose disk.json is gone is not taken for an empty one", async () => {
    await using folder = await keptFolder();
    await rm(join(folder.data, "disk.json"));
    const wanted = {
      code: 74,
      line: `Cannot use ${folder.data}: it holds data of an Anybucket but no disk.json that says whose; put that file back`,
    };
    expect(await refusalOf({ args: [folder.data] })).toEqual(wanted);
    for (const name of await readdir(folder.data)) {
      if (name !== "metadata") await rm(join(folder.data, name), { recursive: true });
    }
    expect(await refusalOf({ args: [folder.data] })).toEqual({
      code: 74,
      line: `Cannot use ${folder.data}: it holds an index but no disk.json that says whose; put that file back`,
    });
  });

  test("a damaged index", async () => {
    await using folder = await keptFolder();
    await writeFile(join(folder.data, "metadata/data.mdb"), randomBytes(8192));
    const { code, line } = await refusalOf({ args: [folder.data] });
    expect(code).toBe(74);
    expect(line).toMatch(/^Cannot recover the index: /);
  });

  test("keys that cannot be read", async () => {
    await using folder = await keptFolder();
    const path = join(folder.data, "credentials.json");
    await writeFile(path, "{ not JSON");
    const env = { ANYBUCKET_ACCESS_KEY: "", ANYBUCKET_SECRET_KEY: "" };
    expect(await refusalOf({ args: [folder.data], env })).toEqual({
      code: 74,
      line: `Cannot read ${path}: accessKey or secretKey is missing; remove it to have new keys made`,
    });
  });
});

test("a folder that another Anybucket uses is refused, and that one goes on", async () => {
  await using folder = await scratch();
  const args = [join(folder.path, "data")];
  const running = await start({ args, env: GIVEN });
  await using end = new AsyncDisposableStack();
  end.defer(() => running.kill());
  expect(await refusalOf({ args })).toEqual({
    code: 78,
    line: `Cannot use ${args[0]}: another Anybucket is running on it`,
  });
  await clientOf(running, KEYS).send(new CreateBucketCommand({ Bucket: "goes-on" }));
  expect(await running.stop()).toBe(0);
});

test("a disk that is not mounted leaves the store degraded, and nothing is written in its place", async () => {
  await using folder = await scratch();
  const [one, other] = [join(folder.path, "disk1"), join(folder.path, "disk2")];
  const options = { args: [one, other], env: GIVEN };
  await using end = new AsyncDisposableStack();
  const first = await start(options);
  end.defer(() => first.kill());
  await clientOf(first, KEYS).send(new CreateBucketCommand({ Bucket: "kept" }));
  await clientOf(first, KEYS).send(
    new PutObjectCommand({ Bucket: "kept", Key: "a", Body: "kept" }),
  );
  expect(await first.stop()).toBe(0);

  await rename(other, `${other}-unmounted`);
  await mkdir(other);
  const degraded = await start(options);
  end.defer(() => degraded.kill());
  const note = `degraded: the disk of ${other} is missing; mount it, or start with --replace ${other} to have an empty one filled`;
  expect(degraded.stdout()).toContain(`  Note     ${note}\n`);
  expect(await (await fetch(`${degraded.admin}/readyz`)).text()).toContain(note);
  const { Body } = await clientOf(degraded, KEYS).send(
    new GetObjectCommand({ Bucket: "kept", Key: "a" }),
  );
  expect(await Body?.transformToString()).toBe("kept");
  expect(await degraded.stop()).toBe(0);
  expect(await readdir(other)).toEqual([]);

  await rm(other, { recursive: true });
  await rename(`${other}-unmounted`, other);
  const whole = await start(options);
  end.defer(() => whole.kill());
  expect(whole.stdout()).not.toContain("is missing");
  expect(await whole.stop()).toBe(0);
});

/** A file system of its own in memory, which is there for root. */
async function smallDisk(megabytes: number): Promise<{ path: string } & AsyncDisposable> {
  const folder = await scratch();
  const path = join(folder.path, "disk");
  await mkdir(path);
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", path]);
  return {
    path,
    [Symbol.asyncDispose]: async () => {
      execFileSync("umount", ["-l", path]);
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** Root in a container may lack the right to. */
function canMount(): boolean {
  if (!isRoot) return false;
  const path = mkdtempSync(join(tmpdir(), "anybucket-mount-"));
  const isMounted = spawnSync("mount", ["-t", "tmpfs", "tmpfs", path]).status === 0;
  if (isMounted) execFileSync("umount", [path]);
  rmdirSync(path);
  return isMounted;
}

describe.runIf(canMount())("a full disk", () => {
  test("a start on it says so in one line", async () => {
    await using disk = await smallDisk(1);
    const { bavail, bsize } = await statfs(disk.path);
    await writeFile(join(disk.path, "lost+found"), Buffer.alloc(bavail * bsize));
    expect(await refusalOf({ args: [disk.path] })).toEqual({
      code: 74,
      line: `Cannot write to ${disk.path}: the disk is full; make room on it, then start again`,
    });
  });

  test("one too small for a store says the same", async () => {
    await using disk = await smallDisk(16);
    expect(await refusalOf({ args: [disk.path] })).toEqual({
      code: 74,
      line: `Cannot write to ${disk.path}: the disk is full; make room on it, then start again`,
    });
  });

  test("full while running: writes are put off, reads and deletes go on, also after a new start", async () => {
    await using disk = await smallDisk(256);
    const options = { args: [join(disk.path, "data")], env: GIVEN };
    await using end = new AsyncDisposableStack();
    let running = await start(options);
    end.defer(() => running.kill());
    let client = clientOf(running, KEYS);
    await client.send(new CreateBucketCommand({ Bucket: "full" }));
    for (const Key of ["a", "b", "c"]) {
      await client.send(
        new PutObjectCommand({ Bucket: "full", Key, Body: Buffer.alloc(200_000, Key) }),
      );
    }
    const filler = join(disk.path, "filler");
    const { bavail, bsize } = await statfs(disk.path);
    await writeFile(filler, Buffer.alloc(bavail * bsize));

    const put = () => client.send(new PutObjectCommand({ Bucket: "full", Key: "d", Body: "more" }));
    const read = async (Key: string) => {
      const { Body } = await client.send(new GetObjectCommand({ Bucket: "full", Key }));
      return Buffer.from((await Body?.transformToByteArray()) ?? []);
    };
    const putOff = { name: "SlowDown", $metadata: { httpStatusCode: 503 } };
    // It looks at the disk's free space once a second.
    await sleep(1100);
    await expect(put()).rejects.toMatchObject(putOff);
    expect(await read("a")).toEqual(Buffer.alloc(200_000, "a"));
    await client.send(new DeleteObjectCommand({ Bucket: "full", Key: "b" }));
    await expect(read("b")).rejects.toMatchObject({ name: "NoSuchKey" });
    expect(await running.stop()).toBe(0);

    expect(await refusalOf(options)).toEqual({
      code: 74,
      line: `Cannot write to ${options.args[0]}: the disk is full; make room on it, then start again`,
    });
    await truncate(filler, bavail * bsize - 8 * 1024 * 1024);
    running = await start(options);
    client = clientOf(running, KEYS);
    await expect(put()).rejects.toMatchObject(putOff);
    expect(await read("a")).toEqual(Buffer.alloc(200_000, "a"));
    await client.send(new DeleteObjectCommand({ Bucket: "full", Key: "a" }));
    await expect(read("a")).rejects.toMatchObject({ name: "NoSuchKey" });

    await rm(filler);
    await until(
      running,
      () =>
        put().then(
          () => true,
          () => false,
        ),
      "it takes writes again",
    );
    expect(await read("d")).toEqual(Buffer.from("more"));
    expect(await running.stop()).toBe(0);
  });
});

describe("Node", () => {
  test("too old, and none among the packages: one line says what to do", async () => {
    await using folder = await scratch();
    const launcher = join(folder.path, "anybucket.js");
    await copyFile(join(ROOT, "services/anybucket.js"), launcher);
    await writeFile(join(folder.path, "package.json"), '{ "type": "module" }');
    const { code, line } = await refusalOf({ launcher, node: await oldNode(folder.path) });
    expect(code).toBe(78);
    expect(line).toMatch(/^needs Node 26 or newer and this is v\d+\.\d+\.\d+: /);
  });

  test("too old, but there is one among the packages: that one runs", async () => {
    await using folder = await scratch();
    const options = { args: [join(folder.path, "data")], env: GIVEN };
    const running = await start({ ...options, node: await oldNode(folder.path) });
    await using end = new AsyncDisposableStack();
    end.defer(() => running.kill());
    await clientOf(running, KEYS).send(new CreateBucketCommand({ Bucket: "runs" }));
    expect(await running.stop()).toBe(0);
  });
});

/** The system's own where that is old; else one that looks so to the launcher. */
async function oldNode(folder: string): Promise<[program: string, ...flags: string[]]> {
  const { stdout } = spawnSync("/usr/bin/node", ["--version"], { encoding: "utf8" });
  if (Number(/^v(\d+)/.exec(stdout ?? "")?.[1] ?? 99) < 26) return ["/usr/bin/node"];
  const preload = join(folder, "old.cjs");
  const versions = "{ ...process.versions, node: '20.11.0' }";
  await writeFile(
    preload,
    `Object.defineProperties(process, { versions: { value: ${versions} }, version: { value: "v20.11.0" } });\n`,
  );
  return [process.execPath, "--require", preload];
}
