import { fileURLToPath } from "node:url";
import * as fc from "fast-check";
import protobuf from "protobufjs";
import { describe, expect, test } from "vitest";
import { rounds } from "#lib/testing/rounds.ts";
import { formatId, idBytes, parseId } from "#metadata/ids.ts";
import {
  decodeBucket,
  decodeBucketState,
  encodeBucket,
  encodeBucketState,
} from "#metadata/record-bucket.ts";
import {
  decodeFinishedUpload,
  decodeUpload,
  decodeUploadPart,
  encodeFinishedUpload,
  encodeUpload,
  encodeUploadPart,
} from "#metadata/record-upload.ts";
import {
  decodeListed,
  decodeVersion,
  encodeVersion,
  type VersionRecord,
} from "#metadata/record-version.ts";
import { UnreadableRecord } from "#metadata/record-wire.ts";
import { decodeManifest, decodeTrash, encodeManifest, encodeTrash } from "#metadata/records.ts";

const schema = protobuf.loadSync(
  fileURLToPath(new URL("../../proto/records.proto", import.meta.url)),
);
const type = (name: string): protobuf.Type => schema.lookupType(`anybucket.records.${name}`);

/** What protobufjs makes of our bytes must be the same bytes when it writes them, and valid. */
function expectSchema(name: string, bytes: Buffer): void {
  const message = type(name).decode(bytes);
  expect(Buffer.from(type(name).encode(message).finish()).equals(bytes)).toBe(true);
}

const bytes = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((array) => Buffer.from(array));
const text = fc.string({ unit: "grapheme", maxLength: 200 });
const uint = fc.maxSafeNat();
const extent = fc.record({
  group: fc.nat(65_535),
  writeId: bytes(16),
  codec: fc.constantFrom("replica-1", "replica-3", "ec-4+2"),
  unit: fc.nat(4 * 1024 * 1024),
  size: uint,
});
const checksum = fc.record({
  algorithm: fc.constantFrom("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"),
  type: fc.constantFrom("FULL_OBJECT", "COMPOSITE"),
  value: bytes(8).map((value) => value.toString("base64")),
});
const acl = fc.constantFrom("private", "public-read", "bucket-owner-full-control" as const);
const headers = fc.record(
  { contentType: text, contentEncoding: text, expires: text, websiteRedirectLocation: text },
  { requiredKeys: [] },
);
const metadata = fc.array(fc.tuple(text, text), { maxLength: 5 });
const tags = fc.array(fc.record({ key: text, value: text }), { maxLength: 5 });
const part = fc.record({
  number: fc.integer({ min: 1, max: 10_000 }),
  size: uint,
  extents: fc.array(extent, { maxLength: 2 }),
  checksum: fc.option(fc.base64String(), { nil: undefined }),
});
const sequence = fc.integer({ min: 1, max: 2 ** 48 - 1 });
const none = fc.constant(Buffer.alloc(0));

const objectVersion: fc.Arbitrary<VersionRecord> = fc
  .record({
    key: text,
    sequence,
    nonce: bytes(14),
    isNull: fc.boolean(),
    isDeleteMarker: fc.constant(false),
    lastModifiedMs: uint,
    ownerId: text,
    size: uint,
    md5: bytes(16),
    partCount: fc.nat(10_000),
    checksum: fc.option(checksum, { nil: undefined }),
    storageClass: fc.constantFrom("STANDARD", "STANDARD_IA"),
    nullSequence: uint,
    acl,
    headers,
    metadata,
    tags,
    extents: fc.array(extent, { maxLength: 2 }),
    parts: fc.array(part, { maxLength: 4 }),
    manifest: fc.option(extent, { nil: undefined }),
    uploadId: fc.oneof(none, bytes(20)),
    change: fc.oneof(none, bytes(14)),
  })
  .map(({ md5, ...rest }) => ({
    ...rest,
    versionId: rest.isNull ? "null" : formatId({ order: rest.sequence, nonce: rest.nonce }),
    etag: md5.toString("hex") + (rest.partCount === 0 ? "" : `-${rest.partCount}`),
  }));

const marker: fc.Arbitrary<VersionRecord> = objectVersion.map((version) => ({
  ...version,
  isDeleteMarker: true,
  size: 0,
  etag: "",
  partCount: 0,
  checksum: undefined,
  storageClass: "STANDARD",
  acl: "private",
  headers: {},
  metadata: [],
  tags: [],
  extents: [],
  parts: [],
  manifest: undefined,
  uploadId: Buffer.alloc(0),
  change: Buffer.alloc(0),
}));

const RUNS = { numRuns: rounds(60) };

function faultOf(act: () => unknown): string | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.name : "no error";
  }
}

/** One record kind: what goes in comes out, and the bytes are those of the schema. */
function roundTrips<T>(
  name: string,
  values: fc.Arbitrary<T>,
  encode: (value: T) => Buffer,
  decode: (bytes: Buffer, value: T) => unknown,
): void {
  test(`a ${name} comes back as it was, in the schema's own bytes`, () => {
    fc.assert(
      fc.property(values, (value) => {
        const encoded = encode(value);
        expectSchema(name, encoded);
        expect(decode(encoded, value)).toEqual(value);
      }),
      RUNS,
    );
  });

  test(`a ${name} cut short or with bits flipped is unreadable or other, never a crash of another kind`, () => {
    fc.assert(
      fc.property(values, fc.nat(), fc.integer({ min: 1, max: 255 }), (value, place, flip) => {
        const encoded = encode(value);
        const broken = Buffer.from(encoded);
        const at = place % broken.length;
        broken[at] = (broken[at] ?? 0) ^ flip;
        for (const damaged of [broken, encoded.subarray(0, at)]) {
          expect(faultOf(() => decode(damaged, value))).toBeOneOf([undefined, "UnreadableRecord"]);
        }
      }),
      RUNS,
    );
  });

  test(`a ${name} of a newer format is a fault`, () => {
    fc.assert(
      fc.property(values, (value) => {
        const newer = Buffer.from(encode(value));
        newer[1] = 2;
        expect(() => decode(newer, value)).toThrow(UnreadableRecord);
      }),
      { numRuns: rounds(5) },
    );
  });

  test(`a ${name} with a field of a later program is still read`, () => {
    fc.assert(
      fc.property(values, (value) => {
        const later = Buffer.concat([
          encode(value),
          Buffer.from([
            0xa2, 0x06, 3, 1, 2, 3, 0xa8, 0x06, 0x96, 1, 0xb1, 0x06, 1, 2, 3, 4, 5, 6, 7, 8,
          ]),
        ]);
        expect(decode(later, value)).toEqual(value);
      }),
      { numRuns: rounds(10) },
    );
  });
}

describe("records", () => {
  roundTrips("Version", fc.oneof(objectVersion, marker), encodeVersion, (encoded, version) =>
    decodeVersion(version.key, encoded),
  );
  roundTrips(
    "Trash",
    fc.record({
      trashedMs: uint,
      extents: fc.array(extent),
      manifest: fc.option(extent, { nil: undefined }),
    }),
    encodeTrash,
    decodeTrash,
  );
  roundTrips("Manifest", fc.array(part), encodeManifest, decodeManifest);
  roundTrips(
    "Bucket",
    fc.record({
      id: bytes(16).map((id) => id.toString("hex")),
      ownerId: text,
      createdMs: uint,
      region: text,
      ownership: fc.constantFrom("BucketOwnerEnforced", "ObjectWriter", undefined),
      acl,
      tags: fc.option(tags, { nil: undefined }),
      cors: fc.option(
        fc.array(
          fc.record({
            id: fc.option(text, { nil: undefined }),
            allowedOrigins: fc.array(text),
            allowedMethods: fc.array(text),
            allowedHeaders: fc.array(text),
            exposeHeaders: fc.array(text),
            maxAgeSeconds: fc.option(fc.nat(), { nil: undefined }),
          }),
          { maxLength: 3 },
        ),
        { nil: undefined },
      ),
    }),
    encodeBucket,
    decodeBucket,
  );
  roundTrips(
    "BucketState",
    fc.record({
      id: bytes(16).map((id) => id.toString("hex")),
      isDeleting: fc.boolean(),
      versioning: fc.constantFrom("unversioned", "enabled", "suspended"),
    }),
    encodeBucketState,
    decodeBucketState,
  );
  roundTrips(
    "Upload",
    fc.record({
      nonce: bytes(14),
      completing: fc.oneof(none, bytes(14)),
      initiatedMs: uint,
      initiatorId: text,
      ownerId: text,
      storageClass: text,
      acl,
      headers,
      metadata,
      tags,
      checksumAlgorithm: fc.constantFrom("CRC32", "SHA256", undefined),
      checksumType: fc.constantFrom("FULL_OBJECT", "COMPOSITE", undefined),
    }),
    encodeUpload,
    decodeUpload,
  );
  roundTrips(
    "UploadPart",
    fc.record({
      nonce: bytes(14),
      size: uint,
      etag: bytes(16).map((md5) => md5.toString("hex")),
      lastModifiedMs: uint,
      checksum: fc.option(checksum, { nil: undefined }),
      extents: fc.array(extent, { maxLength: 2 }),
    }),
    encodeUploadPart,
    decodeUploadPart,
  );
  roundTrips(
    "FinishedUpload",
    fc
      .record({
        finishedMs: uint,
        version: fc.option(objectVersion, { nil: undefined }),
        listDigest: fc.oneof(none, bytes(32)),
        usedParts: fc.oneof(none, bytes(1250)),
        isClean: fc.boolean(),
        ownKey: text,
      })
      .map(({ ownKey, ...rest }) => ({ ...rest, key: rest.version?.key ?? ownKey })),
    encodeFinishedUpload,
    decodeFinishedUpload,
  );

  test("a listing sees the same of a version as a full read", () => {
    fc.assert(
      fc.property(objectVersion, (version) => {
        const { key, lastModifiedMs, size, etag, storageClass, ownerId } = version;
        const { checksum: sum } = version;
        expect(decodeListed(key, encodeVersion(version))).toEqual({
          key,
          lastModifiedMs,
          size,
          etag,
          storageClass,
          ownerId,
          checksum: sum,
        });
      }),
      RUNS,
    );
  });

  test.each([{ sequence: 2 ** 48 }, { nonce: Buffer.alloc(15, 7) }])(
    "a version that no id can name is unreadable: %o",
    (damage) => {
      const [version] = fc.sample(objectVersion, 1);
      const encoded = encodeVersion({ ...version, isNull: false, ...damage } as VersionRecord);
      expect(() => decodeVersion("key", encoded)).toThrow(UnreadableRecord);
    },
  );

  test("a plain object's record stays below 300 bytes", () => {
    const version: VersionRecord = {
      key: "photos/2026/11/24/holiday-0001.jpg",
      versionId: "",
      sequence: 12,
      nonce: Buffer.alloc(14, 7),
      isNull: true,
      isDeleteMarker: false,
      lastModifiedMs: 1_795_000_000_000,
      ownerId: "b".repeat(64),
      size: 4096,
      etag: "0f".repeat(16),
      partCount: 0,
      checksum: { algorithm: "CRC64NVME", type: "FULL_OBJECT", value: "AAECAwQFBgc=" },
      storageClass: "STANDARD",
      nullSequence: 0,
      acl: "private",
      headers: { contentType: "application/octet-stream" },
      metadata: [["mtime", "1795000000.123456789"]],
      tags: [],
      extents: [
        {
          group: 255,
          writeId: Buffer.alloc(16, 9),
          codec: "replica-3",
          unit: 1_048_576,
          size: 4096,
        },
      ],
      parts: [],
      manifest: undefined,
      uploadId: Buffer.alloc(0),
      change: Buffer.alloc(0),
    };
    expect(encodeVersion(version).length).toBeLessThan(300);
  });
});

describe("ids", () => {
  test("an id gives back its order and its nonce, sorts by order and is 32 safe characters", () => {
    fc.assert(
      fc.property(sequence, sequence, bytes(14), bytes(14), (one, other, nonce, another) => {
        const id = formatId({ order: one, nonce });
        expect(id).toMatch(/^[0-9a-v]{32}$/);
        expect(parseId(id)).toEqual({ order: one, nonce });
        const compared = Buffer.compare(
          idBytes({ order: one, nonce }),
          idBytes({ order: other, nonce: another }),
        );
        const otherId = formatId({ order: other, nonce: another });
        expect(id < otherId ? -1 : id > otherId ? 1 : 0).toBe(compared);
      }),
      RUNS,
    );
  });

  test("what we never gave out is no id", () => {
    for (const other of [
      "",
      "null",
      "w".repeat(32),
      "0".repeat(31),
      "0".repeat(33),
      "é".repeat(32),
    ]) {
      expect(parseId(other)).toBeUndefined();
    }
  });
});
