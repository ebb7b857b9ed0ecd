/** What one gateway has answered, the other one knows at once (I3): objects, listings, and whatever is said of a bucket. */
import {
  type BucketCannedACL,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteBucketCorsCommand,
  DeleteBucketTaggingCommand,
  DeleteObjectCommand,
  GetBucketAclCommand,
  GetBucketCorsCommand,
  GetBucketTaggingCommand,
  GetBucketVersioningCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  ListPartsCommand,
  PutBucketAclCommand,
  PutBucketCorsCommand,
  PutBucketTaggingCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  type S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, expect, test } from "vitest";
import { RunningCluster } from "./running-cluster.ts";

const ROUNDS = 25;

let cluster: RunningCluster;
let gateways: readonly [S3Client, S3Client];

beforeAll(async () => {
  cluster = await RunningCluster.start({
    nodes: 3,
    gateways: 2,
    env: { ANYBUCKET_DEFAULT_OWNERSHIP: "ObjectWriter" },
  });
  gateways = [cluster.client("gateway1"), cluster.client("gateway2")];
});
afterAll(async () => cluster[Symbol.asyncDispose]());

/** Each gateway in its turn writes, and the other one looks: so each has seen the state before, and could remember it. */
async function inTurns(
  round: (parts: { writer: S3Client; reader: S3Client; number: number }) => Promise<void>,
): Promise<void> {
  for (let number = 0; number < ROUNDS; number++) {
    const [one, other] = gateways;
    await round(
      number % 2 === 0
        ? { writer: one, reader: other, number }
        : { writer: other, reader: one, number },
    );
  }
}

/** The code of the error that it ends with. */
async function codeOf(answer: Promise<unknown>): Promise<string | undefined> {
  try {
    await answer;
    return undefined;
  } catch (error) {
    return (error as Error).name;
  }
}

test("an object that was put, overwritten or deleted is so for GET, HEAD and every listing", async () => {
  const Bucket = "objects";
  await gateways[0].send(new CreateBucketCommand({ Bucket }));
  await inTurns(async ({ writer, reader, number }) => {
    const Key = `k${number % 3}`;
    // On both sides of the size from which bodies are kept in another way.
    const body = `${number} ${"x".repeat(number % 4 === 3 ? 200_000 : 100)}`;
    const { ETag } = await writer.send(new PutObjectCommand({ Bucket, Key, Body: body }));
    const got = await reader.send(new GetObjectCommand({ Bucket, Key }));
    expect(await got.Body?.transformToString()).toBe(body);
    expect((await reader.send(new HeadObjectCommand({ Bucket, Key }))).ETag).toBe(ETag);
    const { Contents = [] } = await reader.send(new ListObjectsV2Command({ Bucket, Prefix: Key }));
    expect(Contents.map((entry) => [entry.Key, entry.ETag])).toEqual([[Key, ETag]]);
    if (number % 3 === 2) return;
    await writer.send(new DeleteObjectCommand({ Bucket, Key }));
    expect(await codeOf(reader.send(new HeadObjectCommand({ Bucket, Key })))).toBe("NotFound");
    const { KeyCount } = await reader.send(new ListObjectsV2Command({ Bucket, Prefix: Key }));
    expect(KeyCount).toBe(0);
  });
});

test("a bucket that was made or deleted is there, or not, for every request", async () => {
  const Bucket = "comes-and-goes";
  await inTurns(async ({ writer, reader }) => {
    const object = { Bucket, Key: "k", Body: "text" };
    const names = async () => {
      const { Buckets = [] } = await reader.send(new ListBucketsCommand({}));
      return Buckets.map(({ Name }) => Name);
    };
    await writer.send(new CreateBucketCommand({ Bucket }));
    await reader.send(new HeadBucketCommand({ Bucket }));
    expect(await names()).toContain(Bucket);
    await reader.send(new PutObjectCommand(object));
    expect(await codeOf(writer.send(new DeleteBucketCommand({ Bucket })))).toBe("BucketNotEmpty");
    await writer.send(new DeleteObjectCommand(object));
    await writer.send(new DeleteBucketCommand({ Bucket }));
    expect(await codeOf(reader.send(new HeadBucketCommand({ Bucket })))).toBe("NotFound");
    expect(await codeOf(reader.send(new PutObjectCommand(object)))).toBe("NoSuchBucket");
    expect(await codeOf(reader.send(new GetObjectCommand(object)))).toBe("NoSuchBucket");
    expect(await names()).not.toContain(Bucket);
  });
});

test("versioning that was switched on or suspended decides about the next write through the other gateway", async () => {
  const Bucket = "versions";
  await gateways[0].send(new CreateBucketCommand({ Bucket }));
  await inTurns(async ({ writer, reader, number }) => {
    const Status = number % 2 === 0 ? "Enabled" : "Suspended";
    await writer.send(
      new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status } }),
    );
    expect((await reader.send(new GetBucketVersioningCommand({ Bucket }))).Status).toBe(Status);
    const Key = `k${number}`;
    const put = await reader.send(new PutObjectCommand({ Bucket, Key, Body: "text" }));
    expect(put.VersionId ?? "null").toMatch(Status === "Enabled" ? /^(?!null$)/ : /^null$/);
    const { Versions = [] } = await writer.send(
      new ListObjectVersionsCommand({ Bucket, Prefix: Key }),
    );
    expect(Versions.map(({ VersionId }) => VersionId)).toEqual([put.VersionId ?? "null"]);
  });
});

test("CORS rules, tags and ACL that were set or deleted are so", async () => {
  const Bucket = "configured";
  await gateways[0].send(new CreateBucketCommand({ Bucket }));
  await inTurns(async ({ writer, reader, number }) => {
    const origin = `https://${number}.example.com`;
    const CORSRules = [{ AllowedMethods: ["GET"], AllowedOrigins: [origin] }];
    await writer.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules } }));
    const cors = await reader.send(new GetBucketCorsCommand({ Bucket }));
    expect(cors.CORSRules?.[0]?.AllowedOrigins).toEqual([origin]);
    const { port } = cluster.processes.member(reader === gateways[0] ? "gateway1" : "gateway2");
    const preflight = await fetch(`http://127.0.0.1:${port}/${Bucket}/k`, {
      method: "OPTIONS",
      headers: { origin, "access-control-request-method": "GET" },
    });
    expect(preflight.status).toBe(200);

    const TagSet = [{ Key: "round", Value: String(number) }];
    await writer.send(new PutBucketTaggingCommand({ Bucket, Tagging: { TagSet } }));
    const tagged = await reader.send(new GetBucketTaggingCommand({ Bucket }));
    expect(tagged.TagSet).toEqual(TagSet);

    const ACL: BucketCannedACL = number % 2 === 0 ? "public-read" : "private";
    await writer.send(new PutBucketAclCommand({ Bucket, ACL }));
    const { Grants = [] } = await reader.send(new GetBucketAclCommand({ Bucket }));
    expect(Grants.length).toBe(ACL === "public-read" ? 2 : 1);
    const anonymous = await fetch(`http://127.0.0.1:${port}/${Bucket}`);
    expect(anonymous.status).toBe(ACL === "public-read" ? 200 : 403);

    await writer.send(new DeleteBucketCorsCommand({ Bucket }));
    await writer.send(new DeleteBucketTaggingCommand({ Bucket }));
    expect(await codeOf(reader.send(new GetBucketCorsCommand({ Bucket })))).toBe(
      "NoSuchCORSConfiguration",
    );
    expect(await codeOf(reader.send(new GetBucketTaggingCommand({ Bucket })))).toBe("NoSuchTagSet");
  });
});

test("tags of an object, an upload that was begun and its parts are there", async () => {
  const Bucket = "parts";
  await gateways[0].send(new CreateBucketCommand({ Bucket }));
  await inTurns(async ({ writer, reader, number }) => {
    const object = { Bucket, Key: `k${number}` };
    await writer.send(new PutObjectCommand({ ...object, Body: "text" }));
    const TagSet = [{ Key: "round", Value: String(number) }];
    await reader.send(new PutObjectTaggingCommand({ ...object, Tagging: { TagSet } }));
    expect((await writer.send(new GetObjectTaggingCommand(object))).TagSet).toEqual(TagSet);

    const { UploadId } = await writer.send(new CreateMultipartUploadCommand(object));
    const { Uploads = [] } = await reader.send(
      new ListMultipartUploadsCommand({ Bucket, Prefix: object.Key }),
    );
    expect(Uploads.map((upload) => upload.UploadId)).toEqual([UploadId]);
    const part = { ...object, UploadId, PartNumber: 1 };
    const { ETag } = await reader.send(new UploadPartCommand({ ...part, Body: "part" }));
    const { Parts = [] } = await writer.send(new ListPartsCommand({ ...object, UploadId }));
    expect(Parts.map((each) => each.ETag)).toEqual([ETag]);
  });
});
