import { hash } from "node:crypto";
import { beforeEach, describe, expect, test } from "vitest";
import { KEY, type KeyKind } from "#metadata/keys.ts";
import { decodeFinishedUpload } from "#metadata/record-upload.ts";
import type { Bucket } from "#objects/model.ts";
import { all, brokenInvariants } from "#objects/testing/invariants.ts";
import { TestBody } from "#objects/testing/memory-data-plane.ts";
import { ATTRIBUTES, openLayer, type TestLayer } from "#objects/testing/open-layer.ts";
import {
  checksumOf,
  holdOpenUploads,
  PART_BYTES,
  partBytes,
  pretendPartsAreLarge,
  type Sent,
  TestUpload,
} from "#objects/testing/uploads.ts";
import { RESULT_KEPT_MS } from "#objects/upload-endings.ts";

const ONE = partBytes(1);
const TWO = partBytes(2);
const LAST = partBytes(3, 100);
const WHOLE = Buffer.concat([ONE, TWO, LAST]);

let opened: TestLayer;
let bucket: Bucket;

beforeEach(async () => {
  opened = await openLayer();
  bucket = await opened.makeBucket();
});

async function threeParts(upload: TestUpload): Promise<readonly Sent[]> {
  const parts = [ONE, TWO, LAST];
  for (const [index, bytes] of parts.entries()) await upload.put(index + 1, bytes);
  return parts.map((bytes, index) => upload.sent(index + 1, bytes));
}

async function content(key = "key"): Promise<Buffer> {
  const { layer, signal } = opened;
  const version = await layer.find({ bucket, key, versionId: undefined, signal });
  if (version === undefined) return Buffer.from("nothing");
  const pieces: Uint8Array[] = [];
  for await (const piece of layer.read({ bucket, version, start: 0, end: version.size, signal })) {
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

/** How many keys of each kind there are. */
async function counts() {
  return {
    uploads: await count(KEY.upload),
    parts: await count(KEY.part),
    finished: await count(KEY.finished),
    trash: await count(KEY.trash),
  };
}

async function count(kind: KeyKind): Promise<number> {
  return (await all(opened.store, kind)).length;
}

function refuse(): never {
  throw new Error("precondition");
}

/** Every write kept is named by something, and nothing is named that is not kept. */
async function expectAllReferenced(): Promise<void> {
  const { data, layer, signal } = opened;
  expect(data.underWay).toBe(0);
  const answers = await Promise.all(
    [...data.stored.values()].map(async ({ owner, extent }) =>
      layer.references.isReferenced({ ...owner, writeId: extent.writeId }, signal),
    ),
  );
  expect(answers).toEqual(answers.map(() => true));
}

describe("multipart uploads", () => {
  test("parts become one object with S3's ETag and the CRC64NVME of the whole", async () => {
    const upload = await TestUpload.begin(opened, bucket);
    const completed = await upload.complete(await threeParts(upload));
    const md5 = hash(
      "md5",
      Buffer.concat([ONE, TWO, LAST].map((part) => hash("md5", part, "buffer"))),
      "hex",
    );
    expect(completed).toMatchObject({
      kind: "stored",
      version: {
        etag: `${md5}-3`,
        size: WHOLE.length,
        partCount: 3,
        checksum: {
          algorithm: "CRC64NVME",
          type: "FULL_OBJECT",
          value: checksumOf("CRC64NVME", WHOLE),
        },
        headers: ATTRIBUTES.headers,
      },
    });
    expect((await content()).equals(WHOLE)).toBe(true);
    expect(await counts()).toEqual({ uploads: 0, parts: 0, finished: 1, trash: 0 });
    expect(await brokenInvariants(opened.store, bucket.id)).toEqual([]);
    await expectAllReferenced();
  });

  test("ranges read only the parts that hold them", async () => {
    const upload = await TestUpload.begin(opened, bucket);
    await upload.complete(await threeParts(upload));
    const { layer, signal } = opened;
    const version = await layer.find({ bucket, key: "key", versionId: undefined, signal });
    if (version === undefined) throw new Error("no object");
    const ranges = [
      [PART_BYTES - 3, PART_BYTES + 3],
      [2 * PART_BYTES, 2 * PART_BYTES + 100],
      [5, 6],
    ] as const;
    for (const [start, end] of ranges) {
      const pieces: Uint8Array[] = [];
      for await (const piece of layer.read({ bucket, version, start, end, signal }))
        pieces.push(piece);
      expect(Buffer.concat(pieces).equals(WHOLE.subarray(start, end))).toBe(true);
    }
    const small = { bucket, version, start: 2 * PART_BYTES, end: 2 * PART_BYTES + 100, signal };
    expect(Buffer.concat((await layer.readSmall(small)) ?? [])).toEqual(LAST);
    expect(await layer.parts({ bucket, version, signal })).toMatchObject([
      { number: 1, size: PART_BYTES, offset: 0 },
      { number: 2, size: PART_BYTES, offset: PART_BYTES },
      { number: 3, size: 100, offset: 2 * PART_BYTES },
    ]);
  });

  test.for([
    ["CRC32", "COMPOSITE"],
    ["CRC32C", "FULL_OBJECT"],
    ["SHA1", "COMPOSITE"],
    ["SHA256", "COMPOSITE"],
    ["CRC64NVME", "FULL_OBJECT"],
  ] as const)("a %s checksum can be %s (edge rule 2)", async ([algorithm, type]) => {
    const upload = await TestUpload.begin(opened, bucket, { algorithm, type });
    const parts = await threeParts(upload);
    const digests = parts.map(({ checksum }) => Buffer.from(checksum.value, "base64"));
    const value =
      type === "FULL_OBJECT"
        ? checksumOf(algorithm, WHOLE)
        : checksumOf(algorithm, Buffer.concat(digests));
    const wrong = { algorithm, type, value: checksumOf(algorithm, ONE) };
    expect(await upload.complete(parts, { expected: { checksum: wrong } })).toEqual({
      kind: "bad-checksum",
    });
    const expected = { checksum: { algorithm, type, value }, size: WHOLE.length };
    const completed = await upload.complete(parts, { expected });
    expect(completed).toMatchObject({ version: { checksum: { algorithm, type, value } } });
  });

  test("what Complete refuses leaves the upload open (edge rule 7)", async () => {
    const upload = await TestUpload.begin(opened, bucket, { algorithm: "SHA256" });
    const [one, two, last] = await threeParts(upload);
    if (one === undefined || two === undefined || last === undefined) throw new Error("no parts");
    expect(await upload.complete([two, one])).toEqual({ kind: "invalid-part-order" });
    expect(await upload.complete([one, one])).toEqual({ kind: "invalid-part-order" });
    const stale = { ...one, etag: two.etag };
    expect(await upload.complete([stale, one])).toEqual({ kind: "invalid-part-order" });
    expect(await upload.complete([{ ...one, etag: two.etag }])).toEqual({
      kind: "invalid-part",
      number: 1,
    });
    expect(await upload.complete([one, { ...last, number: 9 }])).toEqual({
      kind: "invalid-part",
      number: 9,
    });
    expect(await upload.complete([{ ...one, checksum: two.checksum }])).toEqual({
      kind: "invalid-part",
      number: 1,
    });
    await upload.put(2, LAST);
    expect(await upload.complete([one, upload.sent(2, LAST), last])).toEqual({
      kind: "part-too-small",
      number: 2,
      size: 100,
      etag: last.etag,
    });
    expect(await upload.complete([one], { expected: { size: 7 } })).toEqual({
      kind: "size-mismatch",
    });
    await expect(upload.complete([one], { precondition: refuse })).rejects.toThrow("precondition");
    expect((await upload.complete([one])).kind).toBe("stored");
  });

  test("a composite upload is complete without its parts' checksums in the list", async () => {
    const asked = { algorithm: "SHA256" } as const;
    const upload = await TestUpload.begin(opened, bucket, asked);
    const parts = await threeParts(upload);
    const bare = parts.map((part) => ({ ...part, checksum: undefined }));
    const twin = await TestUpload.begin(opened, bucket, asked);
    const whole = await twin.complete(await threeParts(twin));
    const completed = await upload.complete(bare);
    const shown = (outcome: typeof whole) =>
      outcome.kind === "stored" ? outcome.version.checksum : outcome.kind;
    expect(shown(whole)).toMatchObject({ algorithm: "SHA256", type: "COMPOSITE" });
    expect(shown(completed)).toEqual(shown(whole));
  });

  test("the same Complete again gives the same answer while the result is kept (edge rule 5)", async () => {
    const upload = await TestUpload.begin(opened, bucket);
    const parts = await threeParts(upload);
    const first = await upload.complete(parts);
    const again = await upload.complete(parts);
    expect(again).toMatchObject({ kind: "stored" });
    expect(again.kind === "stored" && first.kind === "stored" && again.version.etag).toBe(
      first.kind === "stored" && first.version.etag,
    );
    expect(await upload.complete(parts.slice(0, 2))).toEqual({ kind: "no-such-upload" });
    opened.clock.advance(RESULT_KEPT_MS + 1);
    await opened.layer.endings.sweep(opened.signal);
    expect(await upload.complete(parts)).toEqual({ kind: "no-such-upload" });
    expect((await counts()).finished).toBe(0);
  });

  test("a part uploaded again replaces the earlier one, whose bytes become trash", async () => {
    const upload = await TestUpload.begin(opened, bucket);
    await upload.put(1, ONE);
    await upload.put(1, TWO);
    expect((await counts()).trash).toBe(1);
    expect(await upload.complete([upload.sent(1, ONE)])).toEqual({
      kind: "invalid-part",
      number: 1,
    });
    await upload.complete([upload.sent(1, TWO)]);
    expect((await content()).equals(TWO)).toBe(true);
    await expectAllReferenced();
  });

  test("parts that Complete leaves out become trash", async () => {
    const upload = await TestUpload.begin(opened, bucket);
    await threeParts(upload);
    await upload.complete([upload.sent(1, ONE), upload.sent(3, LAST)]);
    expect(await counts()).toEqual({ uploads: 0, parts: 0, finished: 1, trash: 1 });
    expect((await content()).equals(Buffer.concat([ONE, LAST]))).toBe(true);
    await expectAllReferenced();
  });

  test("after Abort nothing is left but trash, and nothing can be added", async () => {
    const upload = await TestUpload.begin(opened, bucket);
    const parts = await threeParts(upload);
    expect(await upload.abort()).toBe("aborted");
    expect(await counts()).toEqual({ uploads: 0, parts: 0, finished: 0, trash: 3 });
    expect(await upload.abort()).toBe("no-such-upload");
    expect(await upload.put(4, LAST)).toBe("no-such-upload");
    expect(await upload.complete(parts)).toEqual({ kind: "no-such-upload" });
    await expectAllReferenced();
  });

  test("an upload of 300 parts has a manifest of its own, which is referenced, copied and ends as trash", async () => {
    const { layer, signal, data } = opened;
    const upload = await TestUpload.begin(opened, bucket);
    // All but the last as large as S3 wants them, in one piece of memory.
    const sent: Sent[] = [];
    for (let number = 1; number <= 300; number += 1) {
      const part = await layer.uploads.putPart({
        bucket,
        upload: upload.upload,
        number,
        body: new TestBody(`${number}`),
        signal,
      });
      if (part.kind !== "stored") throw new Error(part.kind);
      sent.push({ number, etag: part.part.etag, checksum: { algorithm: "CRC64NVME", value: "" } });
    }
    await pretendPartsAreLarge(opened);
    const completed = await upload.complete(sent.map(({ number, etag }) => ({ number, etag })));
    expect(completed.kind).toBe("stored");
    expect(await counts()).toEqual({ uploads: 0, parts: 0, finished: 1, trash: 0 });
    expect(data.stored.size).toBe(301);
    await expectAllReferenced();
    const version = await layer.find({ bucket, key: "key", versionId: undefined, signal });
    if (version === undefined) throw new Error("no object");
    expect((await layer.parts({ bucket, version, signal })).length).toBe(300);
    await layer.remove({ bucket, key: "key", versionId: undefined, ownerId: "me", signal });
    expect((await counts()).trash).toBe(1);
    await expectAllReferenced();
  });

  test("UploadPart and Complete at once: a part is in the object or refused, never lost after its answer", async () => {
    const other = partBytes(4, 200);
    for (let seed = 0; seed < 20; seed += 1) {
      opened = await openLayer(seed);
      bucket = await opened.makeBucket();
      const upload = await TestUpload.begin(opened, bucket);
      await upload.put(1, LAST);
      const [completed, part] = await Promise.all([
        upload.complete([upload.sent(1, LAST)]),
        upload.put(1, other),
      ]);
      // Either the re-upload came first and Complete refused the old ETag, or it came too late.
      expect([completed.kind, typeof part]).toBeOneOf([
        ["stored", "string"],
        ["invalid-part", "object"],
        ["stored", "object"],
      ]);
      await expectAllReferenced();
      const isLate = completed.kind === "stored";
      expect((await content()).equals(isLate ? LAST : Buffer.from("nothing"))).toBe(true);
    }
  });

  test.for(["complete", "abort"] as const)(
    "a part whose upload meets its %s just before the part's commit is refused",
    async (ending) => {
      const upload = await TestUpload.begin(opened, bucket);
      await upload.put(1, LAST);
      const { store } = opened;
      const commit = store.commit.bind(store);
      let isFirst = true;
      store.commit = async (change, signal) => {
        if (isFirst && change.put.some(({ key }) => key[0] === KEY.part)) {
          isFirst = false;
          if (ending === "abort") await upload.abort();
          else await upload.complete([upload.sent(1, LAST)]);
        }
        return commit(change, signal);
      };
      expect(await upload.put(2, ONE)).toBe("no-such-upload");
      expect((await counts()).parts).toBe(0);
      await expectAllReferenced();
    },
  );

  test("Complete and Abort at once: exactly one of them wins", async () => {
    const wins = new Set<string>();
    for (let seed = 0; seed < 30; seed += 1) {
      opened = await openLayer(seed);
      bucket = await opened.makeBucket();
      const upload = await TestUpload.begin(opened, bucket);
      await upload.put(1, LAST);
      const pause = async () => {
        for (let turns = 0; turns < seed; turns += 1) await Promise.resolve();
      };
      const [completed, aborted] = await Promise.all([
        upload.complete([upload.sent(1, LAST)]),
        pause().then(async () => upload.abort()),
      ]);
      wins.add(aborted);
      expect([completed.kind, aborted]).toBeOneOf([
        ["stored", "no-such-upload"],
        ["no-such-upload", "aborted"],
      ]);
      await expectAllReferenced();
    }
    expect(wins.size).toBe(2);
  });

  test("two Completes at once make one version and give one answer", async () => {
    bucket = await opened.makeBucket("versioned", "enabled");
    const upload = await TestUpload.begin(opened, bucket);
    const parts = await threeParts(upload);
    const [one, two] = await Promise.all([upload.complete(parts), upload.complete(parts)]);
    expect(one).toMatchObject({ kind: "stored" });
    expect(two).toMatchObject({ kind: "stored" });
    const { layer, signal } = opened;
    const request = { bucket, prefix: "", delimiter: "", after: "", limit: 10, signal };
    const { entries } = await layer.listVersions({ ...request, afterVersionId: undefined });
    expect(entries.length).toBe(1);
  });

  test("a Complete whose process died half-way is taken over, by Complete, Abort or UploadPart", async () => {
    for (const next of ["complete", "abort", "part"] as const) {
      opened = await openLayer();
      bucket = await opened.makeBucket();
      const upload = await TestUpload.begin(opened, bucket);
      const parts = await threeParts(upload);
      const dead = upload.complete(parts);
      // The first commit of Complete lands; then its process ends.
      opened.store.fault = (commit) => {
        if (commit.remove.length > 0) throw new Error("the process died");
        return undefined;
      };
      await expect(dead).rejects.toThrow("the process died");
      await holdOpenUploads(opened);
      opened.store.fault = undefined;
      const outcome = {
        complete: async () => (await upload.complete(parts)).kind,
        abort: async () => upload.abort(),
        part: async () => typeof (await upload.put(3, LAST)),
      }[next];
      expect(await outcome()).toBe({ complete: "stored", abort: "aborted", part: "object" }[next]);
    }
  });

  test("part keys that a crash left behind are removed by the keeper's sweep, the unused ones into the trash", async () => {
    const upload = await TestUpload.begin(opened, bucket);
    await threeParts(upload);
    opened.store.fault = (commit) => {
      if (commit.remove.some((key) => key[0] === KEY.part)) throw new Error("the process died");
      return undefined;
    };
    // The object is there, and cleaning up is not the client's affair.
    expect((await upload.complete([upload.sent(1, ONE)])).kind).toBe("stored");
    opened.store.fault = undefined;
    expect(await counts()).toEqual({ uploads: 0, parts: 3, finished: 1, trash: 0 });
    await expectAllReferenced();
    await opened.layer.endings.sweep(opened.signal);
    expect(await counts()).toEqual({ uploads: 0, parts: 0, finished: 1, trash: 2 });
    await expectAllReferenced();
    const [entry] = await all(opened.store, KEY.finished);
    expect(entry && decodeFinishedUpload(entry.value).isClean).toBe(true);
  });

  test("open uploads are found, and their parts listed in pages", async () => {
    const upload = await TestUpload.begin(opened, bucket);
    await threeParts(upload);
    const { layer, signal } = opened;
    const { uploadId } = upload.upload;
    expect(await layer.uploads.find({ bucket, key: "key", uploadId, signal })).toEqual(
      upload.upload,
    );
    expect(await layer.uploads.find({ bucket, key: "other", uploadId, signal })).toBeUndefined();
    expect(await layer.uploads.find({ bucket, key: "key", uploadId: "x", signal })).toBeUndefined();
    const request = { bucket, upload: upload.upload, limit: 2, signal };
    expect(await layer.uploads.listParts({ ...request, after: 0 })).toMatchObject({
      parts: [{ number: 1, size: PART_BYTES }, { number: 2 }],
      isTruncated: true,
    });
    expect(await layer.uploads.listParts({ ...request, after: 2 })).toMatchObject({
      parts: [{ number: 3, size: 100 }],
      isTruncated: false,
    });
  });
});
