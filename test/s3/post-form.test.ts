/** Uploads from a browser's form, signed by its policy. */
import {
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { createPresignedPost } from "@aws-sdk/s3-presigned-post";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { elementOf, freshBucket, refusalOf } from "./requests.ts";
import { startServer, type TestServer } from "./server.ts";

let server: TestServer;
let client: S3Client;
let Bucket: string;

beforeAll(async () => {
  server = await startServer();
  client = server.client();
  Bucket = await freshBucket(client);
});
afterAll(() => server.stop());

interface Form {
  readonly key?: string;
  readonly fields?: Readonly<Record<string, string>>;
  /** Fields added behind the signer's back. */
  readonly extra?: Readonly<Record<string, string>>;
  readonly sizes?: readonly [number, number];
  readonly file?: string;
  readonly name?: string;
}

async function post(
  form: Form,
): Promise<{ answer: Response; text: string; code: string | undefined }> {
  const { key = "posted", fields = {}, extra = {}, sizes = [0, 1000], file = "from a form" } = form;
  const signed = await createPresignedPost(client, {
    Bucket,
    Key: key,
    Fields: { ...fields },
    Conditions: [["content-length-range", sizes[0], sizes[1]]],
    Expires: 60,
  });
  const body = new FormData();
  for (const [name, value] of Object.entries({ ...signed.fields, ...extra }))
    body.append(name, value);
  body.append("file", new Blob([file]), form.name ?? "file.txt");
  const answer = await fetch(signed.url, { method: "POST", body, redirect: "manual" });
  const text = await answer.text();
  return { answer, text, code: elementOf(text, "Code") };
}

describe("a form", () => {
  test("uploads its file, with its fields as metadata, tags and type", async () => {
    const tagging = "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>";
    const fields = { "Content-Type": "text/x-form", "x-amz-meta-place": "Kiel", tagging };
    const { answer } = await post({ key: "described", fields });
    expect(answer.status).toBe(204);
    expect(answer.headers.get("location")).toBe(`${server.endpoint}/${Bucket}/described`);
    const { Body, ContentType, Metadata, ETag } = await client.send(
      new GetObjectCommand({ Bucket, Key: "described" }),
    );
    expect(await Body?.transformToString()).toBe("from a form");
    expect([ContentType, Metadata, ETag]).toEqual([
      "text/x-form",
      { place: "Kiel" },
      answer.headers.get("etag"),
    ]);
    const { TagSet } = await client.send(new GetObjectTaggingCommand({ Bucket, Key: "described" }));
    expect(TagSet).toEqual([{ Key: "a", Value: "1" }]);
  });

  test("takes the file's name into its key", async () => {
    await post({ key: "dir/${filename}", name: "name.txt" });
    const head = await client.send(new HeadObjectCommand({ Bucket, Key: "dir/name.txt" }));
    expect(head.ContentLength).toBe(11);
  });

  test("is answered as it asks, by status", async () => {
    expect((await postAsking("200")).answer.status).toBe(200);
    expect((await postAsking("404")).answer.status).toBe(204);
    const created = await postAsking("201");
    expect(created.answer.status).toBe(201);
    expect(elementOf(created.text, "Key")).toBe("posted");
    expect(elementOf(created.text, "Bucket")).toBe(Bucket);
    expect(elementOf(created.text, "Location")).toBe(`${server.endpoint}/${Bucket}/posted`);
  });

  test("is sent on to where it asks, if that is an address", async () => {
    const { answer } = await postSentOn("https://example.com/done?x=1");
    expect(answer.status).toBe(303);
    const target = new URL(answer.headers.get("location") ?? "");
    expect(Object.fromEntries(target.searchParams)).toEqual({
      x: "1",
      bucket: Bucket,
      key: "posted",
      etag: answer.headers.get("etag"),
    });
    for (const address of ["nowhere", "javascript:alert(1)"]) {
      expect((await postSentOn(address)).answer.status).toBe(204);
    }
  });

  test("is held to its policy", async () => {
    const long = await post({ key: "refused", sizes: [0, 3] });
    expect([long.answer.status, long.code]).toEqual([400, "EntityTooLarge"]);
    const short = await post({ key: "refused", sizes: [100, 200] });
    expect([short.answer.status, short.code]).toEqual([400, "EntityTooSmall"]);
    const added = await post({ key: "refused", extra: { "x-amz-meta-more": "1" } });
    expect([added.answer.status, added.code]).toEqual([403, "AccessDenied"]);
    const moved = await post({ key: "refused", extra: { key: "elsewhere" } });
    expect(moved.answer.status).toBe(403);
    const head = client.send(new HeadObjectCommand({ Bucket, Key: "refused" }));
    expect(await refusalOf(head)).toBe("404 NotFound");
  });

  test("that nobody signed is refused", async () => {
    const body = new FormData();
    body.append("key", "unsigned");
    body.append("file", new Blob(["x"]));
    const answer = await fetch(`${server.endpoint}/${Bucket}`, { method: "POST", body });
    expect(answer.status).toBe(403);
  });
});

function postAsking(status: string): ReturnType<typeof post> {
  return post({ fields: { success_action_status: status } });
}

function postSentOn(address: string): ReturnType<typeof post> {
  return post({ fields: { success_action_redirect: address } });
}
