/** Records of a multipart upload: itself, its parts, and what became of it. Schema: proto/records.proto. */
import {
  type CannedAclName,
  type ChecksumAlgorithmName,
  type ChecksumRecord,
  type ChecksumTypeName,
  type ExtentRecord,
  type HeadersRecord,
  type MetadataRecord,
  readAcl,
  readAlgorithm,
  readChecksum,
  readChecksumType,
  readExtent,
  readHeaders,
  readPair,
  readTag,
  type TagRecord,
  writeAcl,
  writeAlgorithm,
  writeChecksum,
  writeChecksumType,
  writeExtent,
  writeHeaders,
  writeMetadata,
  writeTags,
} from "#metadata/record-fields.ts";
import { readVersion, type VersionRecord, writeVersion } from "#metadata/record-version.ts";
import { RecordReader, RecordWriter, UnreadableRecord } from "#metadata/record-wire.ts";

export interface UploadRecord {
  readonly nonce: Uint8Array;
  /** Not empty while a Complete is under way: its nonce. */
  readonly completing: Uint8Array;
  readonly initiatedMs: number;
  readonly initiatorId: string;
  readonly ownerId: string;
  readonly storageClass: string;
  readonly acl: CannedAclName;
  readonly headers: HeadersRecord;
  readonly metadata: MetadataRecord;
  readonly tags: readonly TagRecord[];
  readonly checksumAlgorithm: ChecksumAlgorithmName | undefined;
  readonly checksumType: ChecksumTypeName | undefined;
}

export interface UploadPartRecord {
  readonly nonce: Uint8Array;
  readonly size: number;
  /** MD5 as hex. */
  readonly etag: string;
  readonly lastModifiedMs: number;
  readonly checksum: ChecksumRecord | undefined;
  readonly extents: readonly ExtentRecord[];
}

export interface FinishedUploadRecord {
  readonly finishedMs: number;
  readonly key: string;
  /** undefined: aborted. */
  readonly version: VersionRecord | undefined;
  /** Of the part list that Complete named. */
  readonly listDigest: Uint8Array;
  /** Bit n − 1: part n became part of the object. */
  readonly usedParts: Uint8Array;
  /** No part key is left. */
  readonly isClean: boolean;
}

const NOTHING = Buffer.alloc(0);
const writer = new RecordWriter();

export function encodeUpload(upload: UploadRecord): Buffer {
  writer.start();
  writer.bytes(2, upload.nonce);
  writer.bytes(3, upload.completing);
  writer.uint(4, upload.initiatedMs);
  writer.string(5, upload.initiatorId);
  writer.string(6, upload.ownerId);
  writer.string(7, upload.storageClass);
  writeAcl(writer, 8, upload.acl);
  writeHeaders(writer, 9, upload.headers);
  writeMetadata(writer, 10, upload.metadata);
  writeTags(writer, 11, upload.tags);
  writeAlgorithm(writer, 12, upload.checksumAlgorithm);
  writeChecksumType(writer, 13, upload.checksumType);
  return writer.finish();
}

export function decodeUpload(value: Uint8Array): UploadRecord {
  const reader = RecordReader.open("upload", value);
  let nonce: Uint8Array = NOTHING;
  let completing: Uint8Array = NOTHING;
  let initiatedMs = 0;
  let initiatorId = "";
  let ownerId = "";
  let storageClass = "";
  let acl: CannedAclName = "private";
  let headers: HeadersRecord = {};
  const metadata: (readonly [string, string])[] = [];
  const tags: TagRecord[] = [];
  let checksumAlgorithm: ChecksumAlgorithmName | undefined;
  let checksumType: ChecksumTypeName | undefined;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    switch (field) {
      case 2:
        nonce = reader.bytes();
        break;
      case 3:
        completing = reader.bytes();
        break;
      case 4:
        initiatedMs = reader.uint();
        break;
      case 5:
        initiatorId = reader.string();
        break;
      case 6:
        ownerId = reader.string();
        break;
      case 7:
        storageClass = reader.string();
        break;
      case 8:
        acl = readAcl(reader);
        break;
      case 9:
        headers = readHeaders(reader.message());
        break;
      case 10:
        metadata.push(readPair(reader.message()));
        break;
      case 11:
        tags.push(readTag(reader.message()));
        break;
      case 12:
        checksumAlgorithm = readAlgorithm(reader);
        break;
      case 13:
        checksumType = readChecksumType(reader);
        break;
      default:
        reader.skip();
    }
  }
  if (nonce.length === 0) throw new UnreadableRecord("Cannot read an upload: no nonce in it");
  return {
    nonce,
    completing,
    initiatedMs,
    initiatorId,
    ownerId,
    storageClass,
    acl,
    headers,
    metadata,
    tags,
    checksumAlgorithm,
    checksumType,
  };
}

export function encodeUploadPart(part: UploadPartRecord): Buffer {
  writer.start();
  writer.bytes(2, part.nonce);
  writer.uint(3, part.size);
  writer.hex(4, part.etag);
  writer.uint(5, part.lastModifiedMs);
  writeChecksum(writer, 6, part.checksum);
  for (const extent of part.extents) writeExtent(writer, 7, extent);
  return writer.finish();
}

export function decodeUploadPart(value: Uint8Array): UploadPartRecord {
  const reader = RecordReader.open("part", value);
  let nonce: Uint8Array = NOTHING;
  let size = 0;
  let etag = "";
  let lastModifiedMs = 0;
  let checksum: ChecksumRecord | undefined;
  const extents: ExtentRecord[] = [];
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    switch (field) {
      case 2:
        nonce = reader.bytes();
        break;
      case 3:
        size = reader.uint();
        break;
      case 4:
        etag = reader.hex();
        break;
      case 5:
        lastModifiedMs = reader.uint();
        break;
      case 6:
        checksum = readChecksum(reader.message());
        break;
      case 7:
        extents.push(readExtent(reader.message()));
        break;
      default:
        reader.skip();
    }
  }
  if (nonce.length === 0 || etag === "") {
    throw new UnreadableRecord("Cannot read a part: nonce or ETag is missing");
  }
  return { nonce, size, etag, lastModifiedMs, checksum, extents };
}

export function encodeFinishedUpload(finished: FinishedUploadRecord): Buffer {
  writer.start();
  writer.uint(2, finished.finishedMs);
  writer.string(3, finished.key);
  if (finished.version !== undefined) {
    const begun = writer.begin(4);
    writeVersion(writer, finished.version);
    writer.end(begun);
  }
  writer.bytes(5, finished.listDigest);
  writer.bytes(6, finished.usedParts);
  writer.bool(7, finished.isClean);
  return writer.finish();
}

export function decodeFinishedUpload(value: Uint8Array): FinishedUploadRecord {
  const reader = RecordReader.open("finished upload", value);
  let finishedMs = 0;
  let key = "";
  let version: VersionRecord | undefined;
  let listDigest: Uint8Array = NOTHING;
  let usedParts: Uint8Array = NOTHING;
  let isClean = false;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    switch (field) {
      case 2:
        finishedMs = reader.uint();
        break;
      case 3:
        key = reader.string();
        break;
      case 4:
        version = readVersion(key, reader.message());
        break;
      case 5:
        listDigest = reader.bytes();
        break;
      case 6:
        usedParts = reader.bytes();
        break;
      case 7:
        isClean = reader.bool();
        break;
      default:
        reader.skip();
    }
  }
  return { finishedMs, key, version, listDigest, usedParts, isClean };
}
