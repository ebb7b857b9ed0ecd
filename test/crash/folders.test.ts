/** Six folders and ec-4+2: any two lost, the first included, everything reads right; replaced, repaired, two others lost: the same. */
import { createHash, randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  ListObjectVersionsCommand,
  ListPartsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { expect, test } from "vitest";
import { startServer, type TestServer } from "../s3/server.ts";

const MIB = 1024 * 1024;
const SIZES = [
  0,
  1,
  4096,
  128 * 1024 - 1,
  128 * 1024,
  1_000_003,
  4 * MIB,
  4 * MIB + 1,
  9 * MIB + 17,
  64 * MIB,
];
const VERSION_SIZES = [10, 300_000, 5 * MIB];
const REPAIR_TIMEOUT_MS = 120_000;

test("with ec-4+2 on six folders any two may go, be replaced and repaired, and two others go", async () => {
  const root = await mkdtemp(join(tmpdir(), "anybucket-folders-"));
  const folders = Array.from({ length: 6 }, (_, index) => join(root, `disk${index + 1}`));
  await using cleanUp = { [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }) };
  void cleanUp;
  const start = (env: Record<string, string> = {}) =>
    startServer({
      folders,
      env: { ANYBUCKET_STORAGE_CLASS: "ec-4+2", ANYBUCKET_WORKERS: "2", ...env },
    });

  let server = await start();
  let client = server.client();
  const stored = await fill(client);
  expect(await diskUse(folders, stored.largeBytes)).toBeLessThan(1.65);
  const upload = await openUpload(client);
  await server.kill();

  await loseFolders(folders, [0, 3]);
  server = await start();
  client = server.client();
  await checkEverything(client, stored, upload);
  await client.send(
    new PutObjectCommand({ Bucket: "folders", Key: "written while degraded", Body: "still here" }),
  );
  stored.hashes.set("written while degraded", hash(Buffer.from("still here")));
  await server.kill();

  for (const index of [0, 3]) await mkdir(folders[index] ?? "", { recursive: true });
  server = await start({ ANYBUCKET_REPLACE: [folders[0], folders[3]].join(",") });
  await waitForRepair(server);
  await checkEverything(server.client(), stored, upload);
  await server.kill();

  await loseFolders(folders, [1, 4]);
  server = await start();
  client = server.client();
  await checkEverything(client, stored, upload);
  await finishUpload(client, upload);
  expect(await server.stop()).toBe(0);
}, 600_000);

interface Stored {
  readonly hashes: Map<string, string>;
  readonly versions: readonly { versionId: string; hash: string }[];
  readonly largeBytes: number;
}

interface OpenUpload {
  readonly uploadId: string;
  readonly parts: readonly Buffer[];
  readonly etags: readonly (string | undefined)[];
}

async function fill(client: S3Client): Promise<Stored> {
  const hashes = new Map<string, string>();
  await client.send(new CreateBucketCommand({ Bucket: "folders" }));
  await client.send(new CreateBucketCommand({ Bucket: "folders-versioned" }));
  const versioning = { Status: "Enabled" as const };
  await client.send(
    new PutBucketVersioningCommand({
      Bucket: "folders-versioned",
      VersioningConfiguration: versioning,
    }),
  );
  for (const size of SIZES) {
    const body = randomBytes(size);
    hashes.set(`size-${size}`, hash(body));
    await client.send(new PutObjectCommand({ Bucket: "folders", Key: `size-${size}`, Body: body }));
  }
  const versions: { versionId: string; hash: string }[] = [];
  for (const size of VERSION_SIZES) {
    const body = randomBytes(size);
    const { VersionId = "" } = await client.send(
      new PutObjectCommand({ Bucket: "folders-versioned", Key: "versioned", Body: body }),
    );
    versions.push({ versionId: VersionId, hash: hash(body) });
  }
  return {
    hashes,
    versions,
    largeBytes: [...SIZES, ...VERSION_SIZES]
      .filter((size) => size >= 128 * 1024)
      .reduce((sum, size) => sum + size, 0),
  };
}

async function openUpload(client: S3Client): Promise<OpenUpload> {
  const target = { Bucket: "folders", Key: "uploaded" };
  const { UploadId = "" } = await client.send(new CreateMultipartUploadCommand(target));
  const parts = [randomBytes(5 * MIB), randomBytes(5 * MIB + 7), randomBytes(99)];
  const etags: (string | undefined)[] = [];
  for (const [index, Body] of parts.entries()) {
    const { ETag } = await client.send(
      new UploadPartCommand({ ...target, UploadId, PartNumber: index + 1, Body }),
    );
    etags.push(ETag);
  }
  return { uploadId: UploadId, parts, etags };
}

async function finishUpload(client: S3Client, upload: OpenUpload): Promise<void> {
  const Parts = upload.etags.map((ETag, index) => ({ ETag, PartNumber: index + 1 }));
  const target = { Bucket: "folders", Key: "uploaded", UploadId: upload.uploadId };
  await client.send(new CompleteMultipartUploadCommand({ ...target, MultipartUpload: { Parts } }));
  expect(await readHash(client, "folders", "uploaded")).toBe(hash(Buffer.concat(upload.parts)));
}

async function checkEverything(
  client: S3Client,
  stored: Stored,
  upload: OpenUpload,
): Promise<void> {
  for (const [key, wanted] of stored.hashes) {
    expect([key, await readHash(client, "folders", key)]).toEqual([key, wanted]);
  }
  const listed = await client.send(new ListObjectVersionsCommand({ Bucket: "folders-versioned" }));
  expect(listed.Versions?.map(({ VersionId }) => VersionId)).toEqual(
    stored.versions.map(({ versionId }) => versionId).toReversed(),
  );
  for (const { versionId, hash: wanted } of stored.versions) {
    expect(await readHash(client, "folders-versioned", "versioned", versionId)).toBe(wanted);
  }
  const parts = await client.send(
    new ListPartsCommand({ Bucket: "folders", Key: "uploaded", UploadId: upload.uploadId }),
  );
  expect(parts.Parts?.map(({ ETag }) => ETag)).toEqual(upload.etags);
}

async function readHash(
  client: S3Client,
  bucket: string,
  key: string,
  versionId?: string,
): Promise<string> {
  const { Body } = await client.send(
    new GetObjectCommand({ Bucket: bucket, Key: key, VersionId: versionId }),
  );
  return hash((await Body?.transformToByteArray()) ?? new Uint8Array());
}

function hash(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

async function loseFolders(folders: readonly string[], indexes: readonly number[]): Promise<void> {
  for (const index of indexes) await rm(folders[index] ?? "", { recursive: true });
}

/** Bytes of volumes on all folders for each byte of large objects. */
async function diskUse(folders: readonly string[], largeBytes: number): Promise<number> {
  let bytes = 0;
  for (const folder of folders) {
    for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
      if (entry.isFile() && entry.parentPath.includes("volumes")) {
        bytes += (await stat(join(entry.parentPath, entry.name))).size;
      }
    }
  }
  return bytes / largeBytes;
}

async function waitForRepair(server: TestServer): Promise<void> {
  const deadline = Date.now() + REPAIR_TIMEOUT_MS;
  let last = "";
  while (Date.now() < deadline) {
    const answer = await fetch(`${server.adminEndpoint}/readyz`);
    last = await answer.text();
    if (!/degraded|repair/i.test(last)) return;
    await sleep(250);
  }
  throw new Error(`Repair did not complete: ${last}\n${server.output()}`);
}
