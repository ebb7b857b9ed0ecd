/** Uploads in tests: parts of the least size with checksums as the gateway computes them. */
import { hash } from "node:crypto";
import { createChecksum } from "#lib/checksums.ts";
import { KEY } from "#metadata/keys.ts";
import {
  decodeUpload,
  decodeUploadPart,
  encodeUpload,
  encodeUploadPart,
} from "#metadata/record-upload.ts";
import type { Bucket, ChecksumAlgorithm, ChecksumType, Upload } from "#objects/model.ts";
import type { Uploads } from "#objects/object-layer.ts";
import { all } from "#objects/testing/invariants.ts";
import { TestBody } from "#objects/testing/memory-data-plane.ts";
import { ATTRIBUTES, type TestLayer } from "#objects/testing/open-layer.ts";

export const PART_BYTES = 5 * 1024 * 1024;

export interface Sent {
  readonly number: number;
  readonly etag: string;
  readonly checksum: { readonly algorithm: ChecksumAlgorithm; readonly value: string };
}

export function checksumOf(algorithm: ChecksumAlgorithm, bytes: Buffer): string {
  const sum = createChecksum(algorithm);
  sum.update(bytes);
  return sum.digest().toString("base64");
}

/** A body that came with, or was given, the checksum of an algorithm. */
export function checkedBody(bytes: Buffer, algorithm: ChecksumAlgorithm = "CRC64NVME"): TestBody {
  return new TestBody(bytes, (whole) => ({
    algorithm,
    type: "FULL_OBJECT",
    value: checksumOf(algorithm, whole),
  }));
}

export class TestUpload {
  readonly #test: TestLayer;
  readonly #bucket: Bucket;
  readonly #algorithm: ChecksumAlgorithm;
  readonly upload: Upload;

  constructor(parts: {
    test: TestLayer;
    bucket: Bucket;
    algorithm: ChecksumAlgorithm;
    upload: Upload;
  }) {
    this.#test = parts.test;
    this.#bucket = parts.bucket;
    this.#algorithm = parts.algorithm;
    this.upload = parts.upload;
  }

  static async begin(
    test: TestLayer,
    bucket: Bucket,
    options: { key?: string; algorithm?: ChecksumAlgorithm; type?: ChecksumType } = {},
  ): Promise<TestUpload> {
    const created = await test.layer.uploads.create({
      bucket,
      key: options.key ?? "key",
      initiatorId: "me",
      attributes: ATTRIBUTES,
      checksumAlgorithm: options.algorithm,
      checksumType: options.type,
      signal: test.signal,
    });
    if (created.kind !== "created") throw new Error("the bucket is gone");
    const { upload } = created;
    return new TestUpload({ test, bucket, algorithm: options.algorithm ?? "CRC64NVME", upload });
  }

  /** Answers what Complete must list, or why there is no such part. */
  async put(number: number, bytes: Buffer): Promise<Sent | string> {
    const stored = await this.#test.layer.uploads.putPart({
      bucket: this.#bucket,
      upload: this.upload,
      number,
      body: checkedBody(bytes, this.#algorithm),
      signal: this.#test.signal,
    });
    return stored.kind === "stored" ? this.sent(number, bytes) : stored.kind;
  }

  sent(number: number, bytes: Buffer): Sent {
    const value = checksumOf(this.#algorithm, bytes);
    const etag = hash("md5", bytes, "hex");
    return { number, etag, checksum: { algorithm: this.#algorithm, value } };
  }

  async complete(
    parts: readonly { number: number; etag: string; checksum?: Sent["checksum"] | undefined }[],
    options: Partial<Pick<Parameters<Uploads["complete"]>[0], "expected" | "precondition">> = {},
  ): ReturnType<Uploads["complete"]> {
    return this.#test.layer.uploads.complete({
      bucket: this.#bucket,
      key: this.upload.key,
      uploadId: this.upload.uploadId,
      parts: parts.map(({ number, etag, checksum }) => ({ number, etag, checksum })),
      expected: {},
      signal: this.#test.signal,
      ...options,
    });
  }

  async abort(): Promise<"aborted" | "no-such-upload"> {
    const { key, uploadId } = this.upload;
    const { layer, signal } = this.#test;
    return layer.uploads.abort({ bucket: this.#bucket, key, uploadId, signal });
  }
}

/** Bytes that differ from part to part and from place to place. */
export function partBytes(seed: number, length = PART_BYTES): Buffer {
  const bytes = Buffer.alloc(length, seed & 0xff);
  for (let at = 0; at < length; at += 4096)
    bytes.writeUInt32BE((at ^ seed) >>> 0, Math.min(at, length - 4));
  return bytes;
}

/** Makes every part's record say that it is as large as S3 wants parts to be: a thousand real ones would take 5 GiB. */
export async function pretendPartsAreLarge({ store }: TestLayer): Promise<void> {
  for (const { key, value } of await all(store, KEY.part)) {
    const record = { ...decodeUploadPart(value), size: PART_BYTES };
    await store.commit({ expect: [], put: [{ key, value: encodeUploadPart(record) }], remove: [] });
  }
}

/** Leaves every open upload as a Complete does whose process died. */
export async function holdOpenUploads({ store }: TestLayer): Promise<void> {
  for (const { key, value } of await all(store, KEY.upload)) {
    const record = { ...decodeUpload(value), completing: Buffer.alloc(14, 1) };
    await store.commit({ expect: [], put: [{ key, value: encodeUpload(record) }], remove: [] });
  }
}
