/** Versions, delete markers and null versions. */
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { elementOf, freshBucket, refusalOf, sendSigned } from "./requests.ts";
import { startServer, type TestServer } from "./server.ts";

let server: TestServer;
let client: S3Client;

beforeAll(async () => {
  server = await startServer();
  client = server.client();
});
afterAll(() => server.stop());

async function setVersioning(Bucket: string, Status: "Enabled" | "Suspended"): Promise<void> {
  await client.send(
    new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status } }),
  );
}

async function versionedBucket(): Promise<string> {
  const Bucket = await freshBucket(client);
  await setVersioning(Bucket, "Enabled");
  return Bucket;
}

async function put(Bucket: string, Key: string, Body: string): Promise<string | undefined> {
  return (await client.send(new PutObjectCommand({ Bucket, Key, Body }))).VersionId;
}

async function textOf(Bucket: string, Key: string, VersionId?: string): Promise<string> {
  const { Body } = await client.send(new GetObjectCommand({ Bucket, Key, VersionId }));
  return (await Body?.transformToString()) ?? "";
}

describe("rule 25: versions", () => {
  test("are all kept, newest first", async () => {
    const Bucket = await versionedBucket();
    const ids = [
      await put(Bucket, "k", "one"),
      await put(Bucket, "k", "two"),
      await put(Bucket, "k", "three"),
    ];
    expect(new Set(ids).size).toBe(3);
    expect(await textOf(Bucket, "k")).toBe("three");
    expect(await textOf(Bucket, "k", ids[0])).toBe("one");
    const { Versions } = await client.send(new ListObjectVersionsCommand({ Bucket }));
    expect(Versions?.map(({ VersionId }) => VersionId)).toEqual(ids.toReversed());
    expect(Versions?.map(({ IsLatest }) => IsLatest)).toEqual([true, false, false]);
  });

  test("the one from before versioning is kept as null", async () => {
    const Bucket = await freshBucket(client);
    expect(await put(Bucket, "k", "before")).toBeUndefined();
    await setVersioning(Bucket, "Enabled");
    await put(Bucket, "k", "after");
    expect(await textOf(Bucket, "k", "null")).toBe("before");
  });

  test("while suspended, null is replaced and the others stay", async () => {
    const Bucket = await versionedBucket();
    const id = await put(Bucket, "k", "kept");
    await setVersioning(Bucket, "Suspended");
    expect(await put(Bucket, "k", "null one")).toBeUndefined();
    await put(Bucket, "k", "null two");
    const { Versions } = await client.send(new ListObjectVersionsCommand({ Bucket }));
    expect(Versions?.map(({ VersionId }) => VersionId)).toEqual(["null", id]);
    const removed = await client.send(new DeleteObjectCommand({ Bucket, Key: "k" }));
    expect([removed.DeleteMarker, removed.VersionId]).toEqual([true, "null"]);
    expect(await textOf(Bucket, "k", id)).toBe("kept");
  });

  test("a delete marker hides the key, and says so", async () => {
    const Bucket = await versionedBucket();
    const id = await put(Bucket, "k", "hidden");
    const removed = await client.send(new DeleteObjectCommand({ Bucket, Key: "k" }));
    expect(removed.DeleteMarker).toBe(true);
    const path = `/${Bucket}/k`;
    const current = await sendSigned(server, { method: "GET", path });
    expect([current.status, current.code, current.headers["x-amz-delete-marker"]]).toEqual([
      404,
      "NoSuchKey",
      "true",
    ]);
    const query = { versionId: removed.VersionId ?? "" };
    const marker = await sendSigned(server, { method: "GET", path, query });
    expect([marker.status, marker.code, marker.headers.allow]).toEqual([
      405,
      "MethodNotAllowed",
      "DELETE",
    ]);
    expect(await textOf(Bucket, "k", id)).toBe("hidden");
    const { Contents } = await client.send(new ListObjectsV2Command({ Bucket }));
    expect(Contents).toBeUndefined();
    const undone = await client.send(
      new DeleteObjectCommand({ Bucket, Key: "k", VersionId: removed.VersionId }),
    );
    expect([undone.DeleteMarker, undone.VersionId]).toEqual([true, removed.VersionId]);
    expect(await textOf(Bucket, "k")).toBe("hidden");
  });

  test("what is no id is InvalidArgument, what is no version NoSuchVersion", async () => {
    const Bucket = await versionedBucket();
    await put(Bucket, "k", "x");
    const read = (VersionId: string) => textOf(Bucket, "k", VersionId);
    expect(await refusalOf(read("nonsense"))).toBe("400 InvalidArgument");
    expect(await refusalOf(read("0".repeat(32)))).toBe("404 NoSuchVersion");
    const head = client.send(
      new HeadObjectCommand({ Bucket, Key: "k", VersionId: "0".repeat(32) }),
    );
    expect(await refusalOf(head)).toMatch(/^404 /);
  });

  test("one that is removed by id is gone for good, and again is a success", async () => {
    const Bucket = await versionedBucket();
    const [first, second] = [await put(Bucket, "k", "one"), await put(Bucket, "k", "two")];
    for (const _ of [1, 2]) {
      const removed = await client.send(
        new DeleteObjectCommand({ Bucket, Key: "k", VersionId: second }),
      );
      expect(removed.DeleteMarker).toBeUndefined();
    }
    expect(await textOf(Bucket, "k")).toBe("one");
    const { Versions } = await client.send(new ListObjectVersionsCommand({ Bucket }));
    expect(Versions?.map(({ VersionId }) => VersionId)).toEqual([first]);
  });
});

test("many deletes at once tell what became of each", async () => {
  const Bucket = await versionedBucket();
  const id = await put(Bucket, "k", "x");
  const Objects = [{ Key: "k", VersionId: id }, { Key: "l" }];
  const { Deleted } = await client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
  expect(Deleted?.[0]).toEqual({ Key: "k", VersionId: id });
  expect(Deleted?.[1]).toMatchObject({ Key: "l", DeleteMarker: true });
  expect(Deleted?.[1]?.DeleteMarkerVersionId).toMatch(/^\S{32}$/);
});

test("a copy names both versions, and an old one can be restored onto its own key", async () => {
  const Bucket = await versionedBucket();
  const old = await put(Bucket, "k", "old");
  await put(Bucket, "k", "new");
  const CopySource = `${Bucket}/k?versionId=${old}`;
  const copy = await client.send(new CopyObjectCommand({ Bucket, Key: "k", CopySource }));
  expect(copy.CopySourceVersionId).toBe(old);
  expect(copy.VersionId).not.toBe(old);
  expect(await textOf(Bucket, "k")).toBe("old");
});

describe("the listing of versions", () => {
  test("goes on from any page, through keys, versions, markers and prefixes", async () => {
    const Bucket = await versionedBucket();
    for (const key of ["a", "b/1", "b/2", "c"]) {
      await put(Bucket, key, "1");
      await put(Bucket, key, "2");
    }
    await client.send(new DeleteObjectCommand({ Bucket, Key: "c" }));
    const seen: string[] = [];
    let KeyMarker: string | undefined;
    let VersionIdMarker: string | undefined;
    do {
      const page = await client.send(
        new ListObjectVersionsCommand({
          Bucket,
          MaxKeys: 2,
          Delimiter: "/",
          KeyMarker,
          VersionIdMarker,
        }),
      );
      for (const { Key } of page.DeleteMarkers ?? []) seen.push(`${Key} marker`);
      for (const { Key } of page.Versions ?? []) seen.push(`${Key}`);
      for (const { Prefix } of page.CommonPrefixes ?? []) seen.push(`${Prefix}`);
      ({ NextKeyMarker: KeyMarker, NextVersionIdMarker: VersionIdMarker } = page);
    } while (KeyMarker !== undefined);
    expect(seen).toEqual(["a", "a", "c marker", "b/", "c", "c"]);
  });

  test("refuses a version's marker without its key", async () => {
    const Bucket = await versionedBucket();
    const query = { versions: "", "version-id-marker": "null" };
    const answer = await sendSigned(server, { method: "GET", path: `/${Bucket}`, query });
    expect([answer.status, answer.code]).toEqual([400, "InvalidArgument"]);
  });

  test("shows objects of a bucket without versioning as null", async () => {
    const Bucket = await freshBucket(client);
    await put(Bucket, "k", "x");
    const answer = await sendSigned(server, {
      method: "GET",
      path: `/${Bucket}`,
      query: { versions: "" },
    });
    expect(elementOf(answer.text, "VersionId")).toBe("null");
  });
});
