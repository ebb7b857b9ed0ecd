import { hash } from "node:crypto";
import { beforeEach, describe, expect, test } from "vitest";
import type { VersionRecord } from "#metadata/record-version.ts";
import { ExtentGone } from "#objects/data-plane.ts";
import type { Bucket, ChecksumAlgorithm } from "#objects/model.ts";
import type { CopyChanges } from "#objects/object-layer.ts";
import { storedVersion } from "#objects/objects.ts";
import { ATTRIBUTES, openLayer, type TestLayer } from "#objects/testing/open-layer.ts";
import { checkedBody, checksumOf, partBytes, TestUpload } from "#objects/testing/uploads.ts";

const BYTES = partBytes(7, 200_000);
const PART = partBytes(1);
const LAST = partBytes(2, 1000);
const WHOLE = Buffer.concat([PART, LAST]);
const CHANGES: CopyChanges = {
  headers: undefined,
  metadata: undefined,
  tags: undefined,
  ownerId: "other",
  acl: "private",
  storageClass: "STANDARD",
  checksumAlgorithm: undefined,
};

let opened: TestLayer;
let bucket: Bucket;

beforeEach(async () => {
  opened = await openLayer();
  bucket = await opened.makeBucket();
});

async function source(algorithm: ChecksumAlgorithm = "CRC64NVME"): Promise<VersionRecord> {
  const { layer, signal } = opened;
  const body = checkedBody(BYTES, algorithm);
  const stored = await layer.put({ bucket, key: "source", body, attributes: ATTRIBUTES, signal });
  if (stored.kind !== "stored") throw new Error(stored.kind);
  return storedVersion(stored.version);
}

async function sourceInParts(algorithm: ChecksumAlgorithm): Promise<VersionRecord> {
  const upload = await TestUpload.begin(opened, bucket, { key: "source", algorithm });
  await upload.put(1, PART);
  await upload.put(2, LAST);
  const completed = await upload.complete([upload.sent(1, PART), upload.sent(2, LAST)]);
  if (completed.kind !== "stored") throw new Error(completed.kind);
  const { layer, signal } = opened;
  const found = await layer.find({ bucket, key: "source", versionId: undefined, signal });
  if (found === undefined) throw new Error("no object");
  return storedVersion(found);
}

async function copy(version: VersionRecord, changes: Partial<CopyChanges> = {}, key = "target") {
  const { layer, signal } = opened;
  return layer.copy({
    source: { bucket, version },
    target: { bucket, key },
    changes: { ...CHANGES, ...changes },
    signal,
  });
}

async function bytesOf(key: string): Promise<Buffer> {
  const { layer, signal } = opened;
  const version = await layer.find({ bucket, key, versionId: undefined, signal });
  if (version === undefined) throw new Error("no object");
  const pieces: Uint8Array[] = [];
  for await (const piece of layer.read({ bucket, version, start: 0, end: version.size, signal })) {
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

describe("copies", () => {
  test("move no bytes where they can be linked, and have their own life", async () => {
    const version = await source();
    const copied = await copy(version);
    expect(copied).toMatchObject({
      kind: "stored",
      version: {
        etag: version.etag,
        checksum: version.checksum,
        metadata: version.metadata,
        ownerId: "other",
      },
    });
    expect(opened.data.bytesRead).toBe(0);
    const { layer, signal } = opened;
    await layer.remove({ bucket, key: "source", versionId: undefined, ownerId: "me", signal });
    for (const extent of version.extents) opened.data.remove(extent.writeId);
    expect((await bytesOf("target")).equals(BYTES)).toBe(true);
  });

  test("are read, verified and written anew where they cannot be linked", async () => {
    opened.data.canLink = false;
    const version = await source();
    expect(await copy(version)).toMatchObject({
      version: { etag: version.etag, checksum: version.checksum, size: BYTES.length },
    });
    expect((await bytesOf("target")).equals(BYTES)).toBe(true);
  });

  test("get the checksum that is asked for, computed from the bytes", async () => {
    const version = await source("CRC32");
    const copied = await copy(version, { checksumAlgorithm: "SHA256" });
    expect(copied).toMatchObject({
      version: {
        checksum: {
          algorithm: "SHA256",
          type: "FULL_OBJECT",
          value: checksumOf("SHA256", BYTES),
        },
      },
    });
  });

  test("of an object in parts keep its parts and ETag, with a checksum of the whole combined from theirs", async () => {
    const version = await sourceInParts("CRC32");
    expect(version.checksum?.type).toBe("COMPOSITE");
    const copied = await copy(version);
    expect(copied).toMatchObject({
      version: {
        etag: version.etag,
        partCount: 2,
        checksum: {
          algorithm: "CRC32",
          type: "FULL_OBJECT",
          value: checksumOf("CRC32", WHOLE),
        },
      },
    });
    expect(opened.data.bytesRead).toBe(0);
    expect((await bytesOf("target")).equals(WHOLE)).toBe(true);
  });

  test("of an object in parts whose checksum cannot be combined are one part with the MD5 of the bytes", async () => {
    const copied = await copy(await sourceInParts("SHA256"));
    expect(copied).toMatchObject({
      version: {
        etag: hash("md5", WHOLE, "hex"),
        partCount: 0,
        checksum: { algorithm: "SHA256", type: "FULL_OBJECT", value: checksumOf("SHA256", WHOLE) },
      },
    });
  });

  test("of parts in more placement groups than one commit can compare are read", async () => {
    const version = await sourceInParts("CRC32");
    const parts = Array.from({ length: 100 }, (_, index) => {
      const [part] = version.parts;
      const [extent] = part?.extents ?? [];
      if (part === undefined || extent === undefined) throw new Error("no parts");
      return { ...part, number: index + 1, extents: [{ ...extent, group: index }] };
    });
    const scattered = { ...version, parts, partCount: 100, size: 100 * PART.length };
    const { data } = opened;
    const linked = data.link.bind(data);
    let links = 0;
    data.link = async (request) => {
      links += 1;
      return linked(request);
    };
    const read = data.read.bind(data);
    data.read = (request) => read({ ...request, end: Math.min(request.end, 10) });
    await expect(copy(scattered)).rejects.toThrow("10 bytes came of");
    expect(links).toBe(0);
  });

  test("whose dirty marks are more than one commit can put are read", async () => {
    opened.data.marks = Array.from({ length: 65 }, (_, index) => ({
      key: Buffer.from(`dirty/${index}`),
      value: Buffer.of(1),
    }));
    const version = await source();
    opened.data.bytesRead = 0;
    expect((await copy(version)).kind).toBe("stored");
    expect(opened.data.bytesRead).toBe(BYTES.length);
    expect(opened.data.underWay).toBe(0);
    expect(opened.data.stored.size).toBe(2);
  });

  test("onto themselves replace metadata and leave the earlier names to the trash", async () => {
    const version = await source();
    const copied = await copy(version, { metadata: [["colour", "red"]] }, "source");
    expect(copied).toMatchObject({ version: { metadata: [["colour", "red"]] } });
    expect((await bytesOf("source")).equals(BYTES)).toBe(true);
    const { layer, signal, data } = opened;
    for (const { owner, extent } of data.stored.values()) {
      const write = { ...owner, writeId: extent.writeId };
      expect(await layer.references.isReferenced(write, signal)).toBe(true);
    }
    expect(data.stored.size).toBe(2);
  });

  test("of an empty object are empty objects", async () => {
    const { layer, signal } = opened;
    const body = checkedBody(Buffer.alloc(0));
    const stored = await layer.put({ bucket, key: "source", body, attributes: ATTRIBUTES, signal });
    if (stored.kind !== "stored") throw new Error(stored.kind);
    expect(await copy(storedVersion(stored.version))).toMatchObject({
      version: { size: 0, etag: hash("md5", "", "hex") },
    });
  });

  test("of a source that was removed meanwhile say so; of one whose bytes are lost, fail", async () => {
    const version = await source();
    for (const extent of version.extents) opened.data.remove(extent.writeId);
    await expect(copy(version)).rejects.toThrow(ExtentGone);
    const { layer, signal } = opened;
    await layer.remove({ bucket, key: "source", versionId: undefined, ownerId: "me", signal });
    expect(await copy(version)).toEqual({ kind: "source-gone" });
  });

  test("a part is linked from a whole object and read from a range of one", async () => {
    const version = await source();
    const upload = await TestUpload.begin(opened, bucket, { key: "target" });
    const { layer, signal, data } = opened;
    const request = { bucket, upload: upload.upload, signal };
    const whole = { bucket, version, start: 0, end: BYTES.length };
    expect(await layer.uploads.copyPart({ ...request, number: 1, source: whole })).toMatchObject({
      kind: "stored",
      part: { etag: hash("md5", BYTES, "hex"), checksum: version.checksum },
    });
    expect(data.bytesRead).toBe(0);
    const range = { bucket, version, start: 10, end: 1010 };
    expect(await layer.uploads.copyPart({ ...request, number: 2, source: range })).toMatchObject({
      kind: "stored",
      part: { size: 1000, etag: hash("md5", BYTES.subarray(10, 1010), "hex") },
    });
    await upload.abort();
    expect(await layer.uploads.copyPart({ ...request, number: 3, source: range })).toEqual({
      kind: "no-such-upload",
    });
  });
});
