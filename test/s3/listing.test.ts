/** Listings: order, pages, prefixes and delimiters, spelling. */
import {
  DeleteObjectCommand,
  ListObjectsCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandInput,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { rounds } from "#lib/testing/rounds.ts";
import { elementOf, freshBucket, refusalOf, sendSigned } from "./requests.ts";
import { startServer, type TestServer } from "./server.ts";

let server: TestServer;
let client: S3Client;

beforeAll(async () => {
  server = await startServer();
  client = server.client();
});
afterAll(() => server.stop());

async function bucketWith(...keys: readonly string[]): Promise<string> {
  const Bucket = await freshBucket(client);
  for (const Key of keys) await client.send(new PutObjectCommand({ Bucket, Key, Body: "x" }));
  return Bucket;
}

/** All pages: what they list in order, and how many entries each said it had. */
async function walk(
  input: ListObjectsV2CommandInput,
): Promise<{ names: string[]; counts: number[] }> {
  const names: string[] = [];
  const counts: number[] = [];
  let ContinuationToken: string | undefined;
  do {
    const page = await client.send(new ListObjectsV2Command({ ...input, ContinuationToken }));
    for (const { Key = "" } of page.Contents ?? []) names.push(Key);
    for (const { Prefix = "" } of page.CommonPrefixes ?? []) names.push(Prefix);
    counts.push(page.KeyCount ?? -1);
    ContinuationToken = page.NextContinuationToken;
  } while (ContinuationToken !== undefined);
  return { names, counts };
}

const byBytes = (left: string, right: string) =>
  Buffer.compare(Buffer.from(left), Buffer.from(right));

test("rule 9: keys are ordered by their UTF-8 bytes, not by UTF-16", async () => {
  // U+FF5E sorts before U+1F600 in UTF-8 and behind its surrogates in UTF-16.
  const keys = ["\u{1f600}", "\uff5e", "a", "Z", "é", "a/b", "a-b"];
  const Bucket = await bucketWith(...keys);
  const { names } = await walk({ Bucket });
  expect(names).toEqual(keys.toSorted(byBytes));
});

describe("rule 11: pages", () => {
  let Bucket: string;
  beforeAll(async () => {
    Bucket = await bucketWith("a", "b/1", "b/2", "b/3", "c", "d/1", "e");
  });

  test.each([1, 2, 3, 7])("of %i go through all, common prefixes once", async (MaxKeys) => {
    const { names, counts } = await walk({ Bucket, Delimiter: "/", MaxKeys });
    expect(names.toSorted(byBytes)).toEqual(["a", "b/", "c", "d/", "e"]);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(5);
    expect(counts.every((count) => count <= MaxKeys)).toBe(true);
  });

  test("of none are empty and not truncated", async () => {
    const page = await client.send(new ListObjectsV2Command({ Bucket, MaxKeys: 0 }));
    expect([page.KeyCount, page.IsTruncated, page.MaxKeys]).toEqual([0, false, 0]);
  });

  test("never hold more than a thousand, and begin where asked", async () => {
    const page = await client.send(
      new ListObjectsV2Command({ Bucket, MaxKeys: 5000, StartAfter: "b/2" }),
    );
    expect(page.MaxKeys).toBe(1000);
    expect(page.StartAfter).toBe("b/2");
    expect(page.Contents?.map(({ Key }) => Key)).toEqual(["b/3", "c", "d/1", "e"]);
  });

  test("a token is opaque, ours alone, and wins over start-after", async () => {
    const first = await client.send(new ListObjectsV2Command({ Bucket, MaxKeys: 1 }));
    expect(first.NextContinuationToken).not.toContain("a/");
    const ContinuationToken = first.NextContinuationToken;
    const second = await client.send(
      new ListObjectsV2Command({ Bucket, ContinuationToken, StartAfter: "d" }),
    );
    expect(second.Contents?.[0]?.Key).toBe("b/1");
    const foreign = client.send(new ListObjectsV2Command({ Bucket, ContinuationToken: "a" }));
    expect(await refusalOf(foreign)).toBe("400 InvalidArgument");
  });

  test("of the first version name the next marker only with a delimiter", async () => {
    const list = (Delimiter?: string) =>
      client.send(new ListObjectsCommand({ Bucket, MaxKeys: 2, Delimiter }));
    expect((await list()).NextMarker).toBeUndefined();
    expect((await list("/")).NextMarker).toBe("b/");
    const rest = await client.send(
      new ListObjectsCommand({ Bucket, Marker: "b/", Delimiter: "/" }),
    );
    expect(rest.Contents?.map(({ Key }) => Key)).toEqual(["c", "e"]);
    expect(rest.CommonPrefixes?.map(({ Prefix }) => Prefix)).toEqual(["d/"]);
  });

  test.each(["blah", "-1"])("max-keys=%s is refused", async (maxKeys) => {
    const query = { "max-keys": maxKeys };
    const answer = await sendSigned(server, { method: "GET", path: `/${Bucket}`, query });
    expect([answer.status, answer.code]).toEqual([400, "InvalidArgument"]);
  });
});

test("rule 10: encoding-type=url spells keys so that every decoder reads them", async () => {
  const Bucket = await bucketWith("asdf+b", "foo+1/bar", "quux ab/thud", "100%", "tab\there");
  const query = { "list-type": "2", "encoding-type": "url", delimiter: "/", "start-after": " +" };
  const answer = await sendSigned(server, { method: "GET", path: `/${Bucket}`, query });
  const keys = [...answer.text.matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key]) => key);
  const prefixes = [...answer.text.matchAll(/<CommonPrefixes><Prefix>([^<]*)</g)].map(
    ([, key]) => key,
  );
  expect(keys).toEqual(["100%25", "asdf%2Bb", "tab%09here"]);
  expect(prefixes).toEqual(["foo%2B1/", "quux%20ab/"]);
  expect(elementOf(answer.text, "EncodingType")).toBe("url");
  expect(elementOf(answer.text, "Delimiter")).toBe("/");
  expect(elementOf(answer.text, "StartAfter")).toBe("%20%2B");
  const other = await sendSigned(server, {
    method: "GET",
    path: `/${Bucket}`,
    query: { "encoding-type": "base64" },
  });
  expect([other.status, other.code]).toEqual([400, "InvalidArgument"]);
});

test.each([
  ["x\ny=z/é", "x&#xA;y=z/é"],
  ["a b<&>", "a b&lt;&amp;&gt;"],
  ["100%", "100%25"],
  ["a+b", "a%2Bb"],
  ["\u0001", "%01"],
  ["😀", "%F0%9F%98%80"],
])(
  "rule 10: the first listing's prefix %j is read right decoded or not",
  async (prefix, element) => {
    const Bucket = await bucketWith("k");
    const query = { "encoding-type": "url", prefix };
    const answer = await sendSigned(server, { method: "GET", path: `/${Bucket}`, query });
    expect(elementOf(answer.text, "Prefix")).toBe(element);
  },
);

test("rule 12: only keys that were written appear", async () => {
  const Bucket = await bucketWith("deep/down/below");
  expect((await walk({ Bucket })).names).toEqual(["deep/down/below"]);
  await client.send(new DeleteObjectCommand({ Bucket, Key: "deep/down/below" }));
  expect((await walk({ Bucket })).names).toEqual([]);
  expect((await walk({ Bucket, Delimiter: "/" })).names).toEqual([]);
});

test("the owner is shown when asked for, in version two", async () => {
  const Bucket = await bucketWith("k");
  const list = async (FetchOwner?: boolean) =>
    (await client.send(new ListObjectsV2Command({ Bucket, FetchOwner }))).Contents?.[0]?.Owner;
  expect(await list()).toBeUndefined();
  expect((await list(true))?.ID).toMatch(/^[0-9a-f]{64}$/);
  const first = await client.send(new ListObjectsCommand({ Bucket }));
  expect(first.Contents?.[0]?.Owner?.ID).toMatch(/^[0-9a-f]{64}$/);
});

test("a listing shows which checksum each object has", async () => {
  const Bucket = await bucketWith("k");
  const { Contents } = await client.send(new ListObjectsV2Command({ Bucket }));
  expect(Contents?.[0]?.ChecksumAlgorithm).toEqual(["CRC32"]);
  expect(Contents?.[0]?.ChecksumType).toBe("FULL_OBJECT");
});

test("any prefix, delimiter and page size lists what a simple model does", async () => {
  const keys = ["a", "a/", "a/b", "a/b/c", "a//b", "ab", "b", "b/a", "b-a", "c/d/e", "é/x", "é"];
  const Bucket = await bucketWith(...keys);
  const prefix = fc.constantFrom("", "a", "a/", "a/b", "b", "é", "zzz");
  const delimiter = fc.constantFrom("", "/", "-", "b/");
  const size = fc.integer({ min: 1, max: 5 });
  await fc.assert(
    fc.asyncProperty(prefix, delimiter, size, async (Prefix, Delimiter, MaxKeys) => {
      const { names } = await walk({ Bucket, Prefix, Delimiter, MaxKeys });
      expect(names.toSorted(byBytes)).toEqual(model(keys, Prefix, Delimiter));
    }),
    { numRuns: rounds(40) },
  );
});

function model(keys: readonly string[], prefix: string, delimiter: string): string[] {
  const shown = keys
    .filter((key) => key.startsWith(prefix))
    .map((key) => {
      const at = delimiter === "" ? -1 : key.indexOf(delimiter, prefix.length);
      return at < 0 ? key : key.slice(0, at + delimiter.length);
    });
  return [...new Set(shown)].toSorted(byBytes);
}
