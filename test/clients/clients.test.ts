/** Real programs, unmodified and with no quirk set, against a real server. */
import { randomBytes } from "node:crypto";
import { createWriteStream, existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startServer, type TestServer } from "../s3/server.ts";
import {
  type Bench,
  canImport,
  hashFile,
  hashTree,
  isInstalled,
  makeTree,
  openBench,
  trusting,
} from "./programs.ts";

/** Debian's curl does not send the header by itself, and S3 asks for it. */
const UNSIGNED_PAYLOAD = ["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"];

for (const https of [false, true]) {
  describe(`over ${https ? "https" : "http"}`, () => {
    let server: TestServer;
    let bench: Bench;
    let tree: string;
    let hashes: Record<string, string>;

    beforeAll(async () => {
      server = await startServer({ https });
      bench = await openBench(server);
      tree = join(bench.folder, "tree");
      await makeTree(tree);
      hashes = await hashTree(tree);
    });
    afterAll(async () => {
      await bench[Symbol.asyncDispose]();
      await server.stop();
    });

    test.skipIf(!isInstalled("aws"))("aws s3: sync there and back gives equal hashes", async () => {
      const aws = (...parameters: string[]) =>
        bench.run("/usr/bin/aws", ["--endpoint-url", server.endpoint, ...parameters], {
          env: trusting(server),
        });
      const back = join(bench.folder, "aws-back");
      await aws("s3", "mb", "s3://aws-sync");
      await aws("s3", "sync", "--only-show-errors", tree, "s3://aws-sync/tree");
      await aws("s3", "sync", "--only-show-errors", "s3://aws-sync/tree", back);
      expect(await hashTree(back)).toEqual(hashes);
      expect(await aws("s3", "sync", tree, "s3://aws-sync/tree")).toBe("");
      await aws(
        "s3",
        "mv",
        "--only-show-errors",
        "s3://aws-sync/tree/a/b.txt",
        "s3://aws-sync/moved.txt",
      );
      expect(await aws("s3", "ls", "s3://aws-sync/tree/a/")).not.toContain("b.txt");
      const url = await aws("s3", "presign", "s3://aws-sync/moved.txt");
      const secure = https ? ["--cacert", server.certificate ?? ""] : [];
      expect(
        await bench.run("curl", [
          "-sf",
          ...secure,
          "-o",
          "presigned",
          "-w",
          "%{http_code}",
          url.trim(),
        ]),
      ).toBe("200");
      expect(await hashFile(join(bench.folder, "presigned"))).toBe(hashes["a/b.txt"]);
      await aws("s3", "rb", "--force", "s3://aws-sync");
    });

    test.skipIf(!isInstalled("s3cmd"))(
      "s3cmd: sync there and back gives equal hashes",
      async () => {
        const secure = https ? ["--ssl", `--ca-certs=${server.certificate}`] : ["--no-ssl"];
        const host = `127.0.0.1:${server.port}`;
        const s3cmd = (...parameters: string[]) =>
          bench.run("s3cmd", [
            "--config=/dev/null",
            `--access_key=${server.accessKey}`,
            `--secret_key=${server.secretKey}`,
            `--host=${host}`,
            `--host-bucket=${host}`,
            "--region=us-east-1",
            ...secure,
            "--quiet",
            ...parameters,
          ]);
        const back = join(bench.folder, "s3cmd-back");
        await mkdir(back);
        await s3cmd("mb", "s3://s3cmd-sync");
        await s3cmd("sync", `${tree}/`, "s3://s3cmd-sync/tree/");
        await s3cmd("sync", "s3://s3cmd-sync/tree/", `${back}/`);
        expect(await hashTree(back)).toEqual(hashes);
        await s3cmd("del", "--recursive", "--force", "s3://s3cmd-sync");
        await s3cmd("rb", "s3://s3cmd-sync");
      },
    );

    test.skipIf(!isInstalled("rclone"))(
      "rclone with provider Other: sync, check, move and purge",
      async () => {
        const remote = {
          RCLONE_CONFIG_S_TYPE: "s3",
          RCLONE_CONFIG_S_PROVIDER: "Other",
          RCLONE_CONFIG_S_ACCESS_KEY_ID: server.accessKey,
          RCLONE_CONFIG_S_SECRET_ACCESS_KEY: server.secretKey,
          RCLONE_CONFIG_S_ENDPOINT: server.endpoint,
          ...(https ? { RCLONE_CA_CERT: server.certificate ?? "" } : {}),
        };
        const rclone = (...parameters: string[]) =>
          bench.run("rclone", [...parameters, "--quiet", "--retries", "1"], { env: remote });
        const back = join(bench.folder, "rclone-back");
        await rclone("mkdir", "s:rclone-sync");
        await rclone(
          "sync",
          tree,
          "s:rclone-sync/tree",
          "--s3-upload-cutoff",
          "5M",
          "--s3-chunk-size",
          "5M",
        );
        await rclone("check", "--download", tree, "s:rclone-sync/tree");
        await rclone("sync", "s:rclone-sync/tree", back);
        expect(await hashTree(back)).toEqual(hashes);
        await rclone("moveto", "s:rclone-sync/tree/large.bin", "s:rclone-sync/elsewhere.bin");
        await rclone("copyto", "s:rclone-sync/elsewhere.bin", join(bench.folder, "elsewhere.bin"));
        expect(await hashFile(join(bench.folder, "elsewhere.bin"))).toBe(hashes["large.bin"]);
        await rclone("purge", "s:rclone-sync");
      },
    );

    test.skipIf(!isInstalled("restic"))("restic: backup, check and restore", async () => {
      const repository = {
        RESTIC_REPOSITORY: `s3:${server.endpoint}/restic-repository`,
        RESTIC_PASSWORD: "correct horse battery staple",
        RESTIC_CACHE_DIR: join(bench.folder, "restic-cache"),
      };
      const secure = https ? ["--cacert", server.certificate ?? ""] : [];
      const restic = (...parameters: string[]) =>
        bench.run("restic", ["--quiet", ...secure, ...parameters], { env: repository });
      const back = join(bench.folder, "restic-back");
      await restic("init");
      await restic("backup", tree);
      await restic("check", "--read-data");
      await restic("restore", "latest", "--target", back);
      expect(await hashTree(join(back, tree))).toEqual(hashes);
      await restic("forget", "--keep-last", "1", "--prune");
      await restic("check");
    });

    test.skipIf(!canImport("boto3"))(
      "boto3: managed upload and download, checksums and paginators",
      async () => {
        const script = join(bench.folder, "boto.py");
        await writeFile(script, BOTO_SCRIPT);
        const output = await bench.run(
          "/usr/bin/python3",
          [script, server.endpoint, join(tree, "large.bin")],
          { env: trusting(server) },
        );
        expect(output.trim()).toBe("ok");
      },
    );

    test("curl signs for itself: PUT, GET and a list", async () => {
      const secure = https ? ["--cacert", server.certificate ?? ""] : [];
      const curl = (...parameters: string[]) =>
        bench.run("curl", [
          "-sf",
          ...secure,
          "--aws-sigv4",
          "aws:amz:us-east-1:s3",
          ...UNSIGNED_PAYLOAD,
          "--user",
          `${server.accessKey}:${server.secretKey}`,
          ...parameters,
        ]);
      await curl("-X", "PUT", `${server.endpoint}/curl-bucket`);
      const file = join(tree, "a/b/c/deep.txt");
      await curl("-T", file, `${server.endpoint}/curl-bucket/some/key.txt`);
      await curl("-o", "curl-back", `${server.endpoint}/curl-bucket/some/key.txt`);
      expect(await hashFile(join(bench.folder, "curl-back"))).toBe(hashes["a/b/c/deep.txt"]);
      expect(await curl(`${server.endpoint}/curl-bucket?list-type=2`)).toContain(
        "<Key>some/key.txt</Key>",
      );
    });
  });
}

describe("large and mounted", () => {
  let server: TestServer;
  let bench: Bench;

  beforeAll(async () => {
    server = await startServer();
    bench = await openBench(server);
  });
  afterAll(async () => {
    await bench[Symbol.asyncDispose]();
    await server.stop();
  });

  test.skipIf(!isInstalled("aws"))(
    "a multipart upload of 1 GiB comes back with the same hash",
    async () => {
      const path = join(bench.folder, "gib.bin");
      const block = randomBytes(16 * 1024 * 1024);
      const file = createWriteStream(path);
      for (let index = 0; index < 64; index++) {
        block.writeUInt32LE(index, 0);
        await new Promise<void>((resolve, reject) => {
          file.write(Buffer.from(block), (error) => (error ? reject(error) : resolve()));
        });
      }
      await new Promise<void>((resolve) => file.end(resolve));
      const aws = (...parameters: string[]) =>
        bench.run("/usr/bin/aws", ["--endpoint-url", server.endpoint, ...parameters], {
          env: trusting(server),
        });
      await aws("s3", "mb", "s3://large");
      await aws("s3", "cp", "--only-show-errors", path, "s3://large/gib.bin");
      const wanted = await hashFile(path);
      await rm(path);
      await aws("s3", "cp", "--only-show-errors", "s3://large/gib.bin", path);
      expect(await hashFile(path)).toBe(wanted);
      await rm(path);
    },
  );

  test.skipIf(!isInstalled("s3fs") || !existsSync("/dev/fuse"))(
    "s3fs: files, folders, rename and append through a mount",
    async () => {
      const mount = join(bench.folder, "mount");
      const passwords = join(bench.folder, "passwd");
      await mkdir(mount);
      await writeFile(passwords, `${server.accessKey}:${server.secretKey}`, { mode: 0o600 });
      await bench.run("curl", [
        "-sf",
        "--aws-sigv4",
        "aws:amz:us-east-1:s3",
        ...UNSIGNED_PAYLOAD,
        "--user",
        `${server.accessKey}:${server.secretKey}`,
        "-X",
        "PUT",
        `${server.endpoint}/mounted`,
      ]);
      await bench.run("s3fs", [
        "mounted",
        mount,
        "-o",
        `url=${server.endpoint},use_path_request_style,passwd_file=${passwords},endpoint=us-east-1`,
      ]);
      try {
        await mkdir(join(mount, "folder"));
        await writeFile(join(mount, "folder/one.txt"), "first line\n");
        await writeFile(join(mount, "folder/one.txt"), "second line\n", { flag: "a" });
        await rename(join(mount, "folder/one.txt"), join(mount, "folder/two.txt"));
        expect(await readFile(join(mount, "folder/two.txt"), "utf8")).toBe(
          "first line\nsecond line\n",
        );
        expect(await readdir(join(mount, "folder"))).toEqual(["two.txt"]);
      } finally {
        await bench.run("umount", [mount]);
      }
    },
  );
});

const BOTO_SCRIPT = `
import sys, hashlib, os, boto3
from botocore.config import Config
endpoint, path = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=endpoint, config=Config(s3={"addressing_style": "path"}))
s3.create_bucket(Bucket="boto")
s3.upload_file(path, "boto", "large")
back = path + ".boto"
s3.download_file("boto", "large", back)
digest = lambda p: hashlib.sha256(open(p, "rb").read()).hexdigest()
assert digest(path) == digest(back)
os.remove(back)
for index in range(25):
    s3.put_object(Bucket="boto", Key="k/%02d" % index, Body=b"x" * index, Metadata={"index": str(index)})
pages = s3.get_paginator("list_objects_v2").paginate(Bucket="boto", Prefix="k/", PaginationConfig={"PageSize": 7})
keys = [item["Key"] for page in pages for item in page["Contents"]]
assert keys == ["k/%02d" % index for index in range(25)], keys
assert s3.head_object(Bucket="boto", Key="k/07")["Metadata"] == {"index": "7"}
deleted = s3.delete_objects(Bucket="boto", Delete={"Objects": [{"Key": key} for key in keys]})
assert len(deleted["Deleted"]) == 25
print("ok")
`;
