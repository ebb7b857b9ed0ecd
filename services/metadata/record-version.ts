/** The record of one version of a key: an object or a delete marker, current or older. Schema: proto/records.proto. */
import { formatId } from "#metadata/ids.ts";
import { NONCE_BYTES } from "#metadata/keys.ts";
import {
  type CannedAclName,
  type ChecksumRecord,
  type ExtentRecord,
  type HeadersRecord,
  type MetadataRecord,
  type PartRecord,
  readAcl,
  readChecksum,
  readExtent,
  readHeaders,
  readPair,
  readPart,
  readTag,
  type TagRecord,
  writeAcl,
  writeChecksum,
  writeExtent,
  writeHeaders,
  writeMetadata,
  writePart,
  writeTags,
} from "#metadata/record-fields.ts";
import { RecordReader, RecordWriter, UnreadableRecord } from "#metadata/record-wire.ts";

/** A version as it is stored, with the two names that its key gives it. Fits the object layer's ObjectVersion. */
export interface VersionRecord {
  readonly key: string;
  /** "null", or sequence and nonce (ids.ts). */
  readonly versionId: string;
  readonly sequence: number;
  /** 14 bytes: which write made it. */
  readonly nonce: Uint8Array;
  readonly isNull: boolean;
  readonly isDeleteMarker: boolean;
  readonly lastModifiedMs: number;
  readonly ownerId: string;
  readonly size: number;
  /** MD5 as hex, `-N` behind it when there are parts. */
  readonly etag: string;
  readonly partCount: number;
  readonly checksum: ChecksumRecord | undefined;
  readonly storageClass: string;
  /** Of a current version: the sequence of the null version among the older ones, 0 when there is none. */
  readonly nullSequence: number;
  readonly acl: CannedAclName;
  readonly headers: HeadersRecord;
  readonly metadata: MetadataRecord;
  readonly tags: readonly TagRecord[];
  readonly extents: readonly ExtentRecord[];
  /** Of an object in parts: these, or the extent that lists them. */
  readonly parts: readonly PartRecord[];
  readonly manifest: ExtentRecord | undefined;
  /** 20 bytes; empty when no upload made it. */
  readonly uploadId: Uint8Array;
  /** Nonce of the last change of tags or ACL; empty when there was none. */
  readonly change: Uint8Array;
}

/** What a listing shows. */
export interface ListedRecord {
  readonly key: string;
  readonly lastModifiedMs: number;
  readonly size: number;
  readonly etag: string;
  readonly storageClass: string;
  readonly ownerId: string;
  readonly checksum: ChecksumRecord | undefined;
}

/** Storage class of nearly every object: not written. */
const STANDARD = "STANDARD";
const MD5_HEX_DIGITS = 32;
const NOTHING = Buffer.alloc(0);
/** Six bytes of a version id. */
const SEQUENCE_MAX = 2 ** 48 - 1;
const NONE: readonly never[] = [];
const NO_HEADERS: HeadersRecord = {};

/** The fields behind this one are of no interest to a listing. */
const LAST_LISTED_FIELD = 12;

const writer = new RecordWriter();

export function encodeVersion(version: VersionRecord): Buffer {
  writer.start();
  writeVersion(writer, version);
  return writer.finish();
}

/** Fields 2 and on: also how a version stands inside another record. */
export function writeVersion(to: RecordWriter, version: VersionRecord): void {
  to.uint(2, version.sequence);
  to.bytes(3, version.nonce);
  to.bool(4, version.isNull);
  to.bool(5, version.isDeleteMarker);
  to.uint(6, version.lastModifiedMs);
  to.string(7, version.ownerId);
  if (!version.isDeleteMarker) {
    to.uint(8, version.size);
    to.hex(9, version.etag.slice(0, MD5_HEX_DIGITS));
    to.uint(10, version.partCount);
    writeChecksum(to, 11, version.checksum);
    if (version.storageClass !== STANDARD) to.string(12, version.storageClass);
  }
  to.uint(13, version.nullSequence);
  if (version.isDeleteMarker) return;
  writeAcl(to, 14, version.acl);
  writeHeaders(to, 15, version.headers);
  writeMetadata(to, 16, version.metadata);
  writeTags(to, 17, version.tags);
  for (const extent of version.extents) writeExtent(to, 18, extent);
  for (const part of version.parts) writePart(to, 19, part);
  if (version.manifest !== undefined) writeExtent(to, 20, version.manifest);
  to.bytes(21, version.uploadId);
  to.bytes(22, version.change);
}

export function decodeVersion(key: string, value: Uint8Array): VersionRecord {
  return readVersion(key, RecordReader.open("version", value));
}

export function readVersion(key: string, reader: RecordReader): VersionRecord {
  let sequence = 0;
  let nonce: Uint8Array = NOTHING;
  let isNull = false;
  let isDeleteMarker = false;
  let lastModifiedMs = 0;
  let ownerId = "";
  let size = 0;
  let md5 = "";
  let partCount = 0;
  let checksum: ChecksumRecord | undefined;
  let storageClass = STANDARD;
  let nullSequence = 0;
  let acl: CannedAclName = "private";
  let headers: HeadersRecord = NO_HEADERS;
  let metadata: (readonly [string, string])[] | undefined;
  let tags: TagRecord[] | undefined;
  let extents: ExtentRecord[] | undefined;
  let parts: PartRecord[] | undefined;
  let manifest: ExtentRecord | undefined;
  let uploadId: Uint8Array = NOTHING;
  let change: Uint8Array = NOTHING;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    switch (field) {
      case 2:
        sequence = reader.uint();
        break;
      case 3:
        nonce = reader.bytes();
        break;
      case 4:
        isNull = reader.bool();
        break;
      case 5:
        isDeleteMarker = reader.bool();
        break;
      case 6:
        lastModifiedMs = reader.uint();
        break;
      case 7:
        ownerId = reader.string();
        break;
      case 8:
        size = reader.uint();
        break;
      case 9:
        md5 = reader.hex();
        break;
      case 10:
        partCount = reader.uint();
        break;
      case 11:
        checksum = readChecksum(reader.message());
        break;
      case 12:
        storageClass = reader.string();
        break;
      case 13:
        nullSequence = reader.uint();
        break;
      case 14:
        acl = readAcl(reader);
        break;
      case 15:
        headers = readHeaders(reader.message());
        break;
      case 16:
        metadata = push(metadata, readPair(reader.message()));
        break;
      case 17:
        tags = push(tags, readTag(reader.message()));
        break;
      case 18:
        extents = push(extents, readExtent(reader.message()));
        break;
      case 19:
        parts = push(parts, readPart(reader.message()));
        break;
      case 20:
        manifest = readExtent(reader.message());
        break;
      case 21:
        uploadId = reader.bytes();
        break;
      case 22:
        change = reader.bytes();
        break;
      default:
        reader.skip();
    }
  }
  if (sequence === 0 || nonce.length === 0 || (!isDeleteMarker && md5 === "")) {
    throw new UnreadableRecord(`Cannot read the record of a version of ${key}: fields are missing`);
  }
  if (sequence > SEQUENCE_MAX || nonce.length > NONCE_BYTES) {
    throw new UnreadableRecord(`Cannot read the record of a version of ${key}: no id is so long`);
  }
  return {
    key,
    versionId: isNull ? "null" : formatId({ order: sequence, nonce }),
    sequence,
    nonce,
    isNull,
    isDeleteMarker,
    lastModifiedMs,
    ownerId,
    size,
    etag: etagOf(md5, partCount),
    partCount,
    checksum,
    storageClass,
    nullSequence,
    acl,
    headers,
    metadata: metadata ?? NONE,
    tags: tags ?? NONE,
    extents: extents ?? NONE,
    parts: parts ?? NONE,
    manifest,
    uploadId,
    change,
  };
}

/** Reads no further than a listing needs: 1,000 of them are in the path of one request. */
export function decodeListed(key: string, value: Uint8Array): ListedRecord {
  const reader = RecordReader.open("version", value);
  let lastModifiedMs = 0;
  let ownerId = "";
  let size = 0;
  let md5 = "";
  let partCount = 0;
  let checksum: ChecksumRecord | undefined;
  let storageClass = STANDARD;
  for (
    let field = reader.field();
    field !== 0 && field <= LAST_LISTED_FIELD;
    field = reader.field()
  ) {
    switch (field) {
      case 6:
        lastModifiedMs = reader.uint();
        break;
      case 7:
        ownerId = reader.string();
        break;
      case 8:
        size = reader.uint();
        break;
      case 9:
        md5 = reader.hex();
        break;
      case 10:
        partCount = reader.uint();
        break;
      case 11:
        checksum = readChecksum(reader.message());
        break;
      case 12:
        storageClass = reader.string();
        break;
      default:
        reader.skip();
    }
  }
  if (md5 === "") throw new UnreadableRecord(`Cannot list ${key}: its record has no ETag`);
  const etag = etagOf(md5, partCount);
  return { key, lastModifiedMs, size, etag, storageClass, ownerId, checksum };
}

export function etagOf(md5: string, partCount: number): string {
  return partCount === 0 ? md5 : `${md5}-${partCount}`;
}

function push<T>(list: T[] | undefined, item: T): T[] {
  if (list === undefined) return [item];
  list.push(item);
  return list;
}
