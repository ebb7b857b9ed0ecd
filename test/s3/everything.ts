/** All that a bucket holds, as seen from outside: what is refused must change none of it. */
import { setTimeout as sleep } from "node:timers/promises";
import {
  ListBucketsCommand,
  ListMultipartUploadsCommand,
  ListObjectVersionsCommand,
  ListPartsCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { expect } from "vitest";
import { sendSigned } from "./requests.ts";
import type { TestServer } from "./server.ts";

export interface Place {
  /** Of one worker: the bytes that several keep are not summed. */
  readonly server: TestServer;
  readonly client: S3Client;
  readonly Bucket: string;
}

/** For `startServer`. */
export const ONE_WORKER = { ANYBUCKET_WORKERS: "1" };

/** Does what must come to nothing, waits until no request is under way, and sees that all is as it was before. */
export async function leavesNothing<T>(place: Place, act: () => Promise<T>): Promise<T> {
  const before = await everythingOf(place);
  const outcome = await act();
  const soon = { timeout: 30_000 };
  await expect.poll(() => measured(place, /^anybucket_s3_inflight_requests\b/), soon).toBe(0);
  await expect.poll(() => everythingOf(place), soon).toEqual(before);
  return outcome;
}

/** The sum of a metric's lines that begin so: of one worker, or of a cluster's processes. A busy worker may miss a question or two. */
async function measured({ server }: Place, metric: RegExp): Promise<number> {
  for (let left = 100; left > 0; left--) {
    const lines = (await server.metrics()).split("\n").filter((each) => metric.test(each));
    if (lines.length > 0)
      return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
    await sleep(100);
  }
  throw new Error(`Cannot measure ${metric}: no worker tells it`);
}

async function everythingOf(place: Place) {
  const { server, client, Bucket } = place;
  const { Buckets = [] } = await client.send(new ListBucketsCommand({}));
  const listed = await client.send(new ListObjectVersionsCommand({ Bucket }));
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket }));
  const configurations = ["versioning", "cors", "tagging", "acl", "ownershipControls"];
  return {
    buckets: Buckets.map(({ Name }) => Name),
    versions: (listed.Versions ?? []).map(({ Key, VersionId, ETag, Size }) => [
      Key,
      VersionId,
      ETag,
      Size,
    ]),
    markers: (listed.DeleteMarkers ?? []).map(({ Key, VersionId }) => [Key, VersionId]),
    uploads: await Promise.all(
      Uploads.map(async ({ Key, UploadId }) => {
        const { Parts = [] } = await client.send(new ListPartsCommand({ Bucket, Key, UploadId }));
        return { Key, UploadId, parts: Parts.map(({ PartNumber, ETag }) => [PartNumber, ETag]) };
      }),
    ),
    configurations: await Promise.all(
      configurations.map(async (name) => {
        const request = { method: "GET", path: `/${Bucket}`, query: { [name]: "" } };
        const { code, text } = await sendSigned(server, request);
        return code ?? text;
      }),
    ),
    liveBytes: await measured(place, /^anybucket_disk_bytes\{.*kind="live"/),
  };
}
