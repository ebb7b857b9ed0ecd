/** Writers that keep changing keys of their own and write down what was acknowledged; and the check of all of it. */
import { randomBytes } from "node:crypto";
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutBucketVersioningCommand,
  PutObjectCommand,
  type S3Client,
  S3ServiceException,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { SeededRandom } from "#lib/random.ts";
import { ABSENT, type Journal, type State, stateOf } from "./journal.ts";

export const BUCKET = "crash";
export const VERSIONED_BUCKET = "crash-versioned";
const SIZES = [0, 1, 100, 4096, 4096, 4096, 65_537, 200_000, 1_500_000];
const KEYS_PER_WRITER = 12;
const FINDINGS_SHOWN = 20;

export async function createBuckets(client: S3Client): Promise<void> {
  await client.send(new CreateBucketCommand({ Bucket: BUCKET }));
  await client.send(new CreateBucketCommand({ Bucket: VERSIONED_BUCKET }));
  await client.send(
    new PutBucketVersioningCommand({
      Bucket: VERSIONED_BUCKET,
      VersioningConfiguration: { Status: "Enabled" },
    }),
  );
}

/** Runs writers until the signal aborts; resolves when each has given up. */
export async function runWriters(options: {
  client: S3Client;
  journal: Journal;
  writers: number;
  seed: number;
  signal: AbortSignal;
}): Promise<void> {
  const random = new SeededRandom(options.seed);
  const writers = Array.from({ length: options.writers }, (_, writer) =>
    runWriter({
      ...options,
      writer,
      random: new SeededRandom(Math.floor(random.fraction() * 2 ** 32)),
    }),
  );
  await Promise.all(writers);
}

async function runWriter(options: {
  client: S3Client;
  journal: Journal;
  writer: number;
  random: SeededRandom;
  signal: AbortSignal;
}): Promise<void> {
  const { client, journal, random, signal } = options;
  const pick = (count: number) => Math.floor(random.fraction() * count);
  while (!signal.aborted) {
    const name = `w${options.writer}/k${pick(KEYS_PER_WRITER)}`;
    const bucket = random.fraction() < 0.25 ? VERSIONED_BUCKET : BUCKET;
    const content = randomBytes(SIZES[pick(SIZES.length)] ?? 0);
    const dice = random.fraction();
    const change = dice < 0.6 ? put : dice < 0.75 ? remove : dice < 0.9 ? multipart : copy;
    const state = change === remove ? ABSENT : stateOf(content);
    const attempt = journal.begin(`${bucket}/${name}`, state);
    try {
      const versionId = await change({ client, bucket, name, content, signal });
      attempt.acknowledge(bucket === VERSIONED_BUCKET && state !== ABSENT ? versionId : undefined);
    } catch (error) {
      if (error instanceof S3ServiceException && (error.$metadata.httpStatusCode ?? 500) < 500)
        attempt.refuse();
      // Without an answer the write may or may not have happened. One round ends with the connection.
      if (!(error instanceof S3ServiceException)) return;
    }
  }
}

interface Change {
  readonly client: S3Client;
  readonly bucket: string;
  readonly name: string;
  readonly content: Buffer;
  readonly signal: AbortSignal;
}

async function put({ client, bucket, name, content }: Change): Promise<string | undefined> {
  const answer = await client.send(
    new PutObjectCommand({ Bucket: bucket, Key: name, Body: content }),
  );
  return answer.VersionId;
}

async function remove({ client, bucket, name }: Change): Promise<string | undefined> {
  const answer = await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: name }));
  return answer.VersionId;
}

async function multipart({ client, bucket, name, content }: Change): Promise<string | undefined> {
  const { UploadId } = await client.send(
    new CreateMultipartUploadCommand({ Bucket: bucket, Key: name }),
  );
  const target = { Bucket: bucket, Key: name, UploadId };
  const part = await client.send(
    new UploadPartCommand({ ...target, PartNumber: 1, Body: content }),
  );
  const answer = await client.send(
    new CompleteMultipartUploadCommand({
      ...target,
      MultipartUpload: { Parts: [{ PartNumber: 1, ETag: part.ETag }] },
    }),
  );
  return answer.VersionId;
}

/** Puts the content beside the key and copies it over: the copy is what the journal knows. */
async function copy({ client, bucket, name, content }: Change): Promise<string | undefined> {
  await client.send(new PutObjectCommand({ Bucket: bucket, Key: `${name}.source`, Body: content }));
  const answer = await client.send(
    new CopyObjectCommand({ Bucket: bucket, Key: name, CopySource: `${bucket}/${name}.source` }),
  );
  return answer.VersionId;
}

export interface Findings {
  readonly checked: number;
  /** One line for each key or version that is lost, wrong or undone. */
  readonly wrong: readonly string[];
}

/** Reads every key, every acknowledged version and both listings, and compares with the journal. */
export async function checkAll(client: S3Client, journal: Journal): Promise<Findings> {
  const wrong: string[] = [];
  const keys = journal.keys();
  const seen = new Map<string, State>();
  await inParallel(keys, async (key) => {
    const state = await read(client, key);
    seen.set(key, state);
    if (!journal.allowed(key).has(state)) {
      wrong.push(
        `${key} is ${state.slice(0, 12)}, allowed ${[...journal.allowed(key)].map((each) => each.slice(0, 12)).join(" or ")}`,
      );
    }
    journal.settle(key, state);
  });
  const versions = [...journal.versions()];
  await inParallel(versions, async ([name, wanted]) => {
    const [key = "", versionId] = name.split(" ");
    const state = await read(client, key, versionId);
    if (state !== wanted)
      wrong.push(`${name} is ${state.slice(0, 12)}, was ${wanted.slice(0, 12)}`);
  });
  for (const bucket of [BUCKET, VERSIONED_BUCKET]) {
    const listed = await listAll(client, bucket);
    for (const key of keys) {
      if (!key.startsWith(`${bucket}/`)) continue;
      const isThere = seen.get(key) !== ABSENT;
      if (listed.has(key) !== isThere)
        wrong.push(`${key} is ${isThere ? "missing from" : "still in"} the listing`);
    }
  }
  return { checked: keys.length + versions.length, wrong: wrong.slice(0, FINDINGS_SHOWN) };
}

async function read(client: S3Client, key: string, versionId?: string): Promise<State> {
  const [bucket = "", ...rest] = key.split("/");
  try {
    const answer = await client.send(
      new GetObjectCommand({ Bucket: bucket, Key: rest.join("/"), VersionId: versionId }),
    );
    return stateOf((await answer.Body?.transformToByteArray()) ?? new Uint8Array());
  } catch (error) {
    if (error instanceof S3ServiceException && error.$metadata.httpStatusCode === 404)
      return ABSENT;
    return `unreadable (${(error as Error).message})`;
  }
}

async function listAll(client: S3Client, bucket: string): Promise<Set<string>> {
  const keys = new Set<string>();
  let token: string | undefined;
  do {
    const page = await client.send(
      new ListObjectsV2Command({ Bucket: bucket, ContinuationToken: token }),
    );
    for (const { Key } of page.Contents ?? []) keys.add(`${bucket}/${Key}`);
    token = page.NextContinuationToken;
  } while (token !== undefined);
  return keys;
}

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const loop = async () => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: 16 }, loop));
}
