/** What several records are made of: extents, checksums, headers, pairs. Schema: proto/records.proto. */
import { asBuffer } from "#metadata/keys.ts";
import { type RecordReader, type RecordWriter, UnreadableRecord } from "#metadata/record-wire.ts";

/** One write of the data plane. */
export interface ExtentRecord {
  readonly group: number;
  readonly writeId: Uint8Array;
  readonly codec: string;
  readonly unit: number;
  readonly size: number;
}

/** Their places are the numbers on disk: append only. */
const CHECKSUM_ALGORITHMS = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"] as const;
const CHECKSUM_TYPES = ["FULL_OBJECT", "COMPOSITE"] as const;
const CANNED_ACLS = [
  "private",
  "public-read",
  "public-read-write",
  "authenticated-read",
  "bucket-owner-read",
  "bucket-owner-full-control",
] as const;

export type ChecksumAlgorithmName = (typeof CHECKSUM_ALGORITHMS)[number];
export type ChecksumTypeName = (typeof CHECKSUM_TYPES)[number];
export type CannedAclName = (typeof CANNED_ACLS)[number];

export interface ChecksumRecord {
  readonly algorithm: ChecksumAlgorithmName;
  readonly type: ChecksumTypeName;
  readonly value: string;
}

export interface PartRecord {
  readonly number: number;
  readonly size: number;
  readonly extents: readonly ExtentRecord[];
  readonly checksum: string | undefined;
}

export interface TagRecord {
  readonly key: string;
  readonly value: string;
}

export interface HeadersRecord {
  readonly contentType?: string;
  readonly contentEncoding?: string;
  readonly contentLanguage?: string;
  readonly contentDisposition?: string;
  readonly cacheControl?: string;
  readonly expires?: string;
  readonly websiteRedirectLocation?: string;
}

export type MetadataRecord = readonly (readonly [name: string, value: string])[];

export function writeExtent(writer: RecordWriter, field: number, extent: ExtentRecord): void {
  const begun = writer.begin(field);
  writer.uint(1, extent.group);
  writer.bytes(2, extent.writeId);
  writer.string(3, extent.codec);
  writer.uint(4, extent.unit);
  writer.uint(5, extent.size);
  writer.end(begun);
}

export function readExtent(reader: RecordReader): ExtentRecord {
  let group = 0;
  let writeId: Uint8Array = Buffer.alloc(0);
  let codec = "";
  let unit = 0;
  let size = 0;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    switch (field) {
      case 1:
        group = reader.uint();
        break;
      case 2:
        writeId = reader.bytes();
        break;
      case 3:
        codec = reader.ascii();
        break;
      case 4:
        unit = reader.uint();
        break;
      case 5:
        size = reader.uint();
        break;
      default:
        reader.skip();
    }
  }
  if (writeId.length !== 16) throw new UnreadableRecord("Cannot read an extent: no writeId in it");
  return { group, writeId, codec, unit, size };
}

export function writeChecksum(
  writer: RecordWriter,
  field: number,
  checksum: ChecksumRecord | undefined,
): void {
  if (checksum === undefined) return;
  const begun = writer.begin(field);
  writeAlgorithm(writer, 1, checksum.algorithm);
  writeChecksumType(writer, 2, checksum.type);
  writer.string(3, checksum.value);
  writer.end(begun);
}

export function readChecksum(reader: RecordReader): ChecksumRecord {
  let algorithm: ChecksumAlgorithmName | undefined;
  let type: ChecksumTypeName | undefined;
  let value = "";
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    switch (field) {
      case 1:
        algorithm = readAlgorithm(reader);
        break;
      case 2:
        type = readChecksumType(reader);
        break;
      case 3:
        value = reader.ascii();
        break;
      default:
        reader.skip();
    }
  }
  if (algorithm === undefined || type === undefined) {
    throw new UnreadableRecord("Cannot read a checksum: of no known algorithm or type");
  }
  return { algorithm, type, value };
}

export function writeAlgorithm(
  writer: RecordWriter,
  field: number,
  algorithm: ChecksumAlgorithmName | undefined,
): void {
  if (algorithm !== undefined) writer.uint(field, CHECKSUM_ALGORITHMS.indexOf(algorithm) + 1);
}

export function readAlgorithm(reader: RecordReader): ChecksumAlgorithmName | undefined {
  const number = reader.uint();
  return number === 0 ? undefined : known(CHECKSUM_ALGORITHMS, number - 1, "checksum algorithm");
}

export function writeChecksumType(
  writer: RecordWriter,
  field: number,
  type: ChecksumTypeName | undefined,
): void {
  if (type !== undefined) writer.uint(field, CHECKSUM_TYPES.indexOf(type) + 1);
}

export function readChecksumType(reader: RecordReader): ChecksumTypeName | undefined {
  const number = reader.uint();
  return number === 0 ? undefined : known(CHECKSUM_TYPES, number - 1, "checksum type");
}

export function writeAcl(writer: RecordWriter, field: number, acl: CannedAclName): void {
  writer.uint(field, CANNED_ACLS.indexOf(acl));
}

export function readAcl(reader: RecordReader): CannedAclName {
  return known(CANNED_ACLS, reader.uint(), "ACL");
}

export function writePart(writer: RecordWriter, field: number, part: PartRecord): void {
  const begun = writer.begin(field);
  writer.uint(1, part.number);
  writer.uint(2, part.size);
  for (const extent of part.extents) writeExtent(writer, 3, extent);
  if (part.checksum !== undefined) writer.present(4, part.checksum);
  writer.end(begun);
}

export function readPart(reader: RecordReader): PartRecord {
  let number = 0;
  let size = 0;
  const extents: ExtentRecord[] = [];
  let checksum: string | undefined;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    switch (field) {
      case 1:
        number = reader.uint();
        break;
      case 2:
        size = reader.uint();
        break;
      case 3:
        extents.push(readExtent(reader.message()));
        break;
      case 4:
        checksum = reader.ascii();
        break;
      default:
        reader.skip();
    }
  }
  return { number, size, extents, checksum };
}

export function writeMetadata(writer: RecordWriter, field: number, metadata: MetadataRecord): void {
  for (const [name, value] of metadata) writePair(writer, field, name, value);
}

export function writeTags(writer: RecordWriter, field: number, tags: readonly TagRecord[]): void {
  for (const { key, value } of tags) writePair(writer, field, key, value);
}

function writePair(writer: RecordWriter, field: number, name: string, value: string): void {
  const begun = writer.begin(field);
  writer.string(1, name);
  writer.string(2, value);
  writer.end(begun);
}

export function readPair(reader: RecordReader): readonly [name: string, value: string] {
  let name = "";
  let value = "";
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) name = reader.string();
    else if (field === 2) value = reader.string();
    else reader.skip();
  }
  return [name, value];
}

export function readTag(reader: RecordReader): TagRecord {
  const [key, value] = readPair(reader);
  return { key, value };
}

const HEADER_FIELDS = [
  [1, "contentType"],
  [2, "contentEncoding"],
  [3, "contentLanguage"],
  [4, "contentDisposition"],
  [5, "cacheControl"],
  [6, "expires"],
  [7, "websiteRedirectLocation"],
] as const satisfies readonly (readonly [number, keyof HeadersRecord])[];

export function writeHeaders(writer: RecordWriter, field: number, headers: HeadersRecord): void {
  let begun = 0;
  for (const [inner, name] of HEADER_FIELDS) {
    const value = headers[name];
    if (value === undefined) continue;
    if (begun === 0) begun = writer.begin(field);
    writer.present(inner, value);
  }
  if (begun !== 0) writer.end(begun);
}

export function readHeaders(reader: RecordReader): HeadersRecord {
  const headers: { -readonly [name in keyof HeadersRecord]: string } = {};
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    const name = HEADER_FIELDS[field - 1]?.[1];
    if (name === undefined) reader.skip();
    else headers[name] = reader.string();
  }
  return headers;
}

export function known<T>(names: readonly T[], number: number, what: string): T {
  const name = names[number];
  if (name === undefined) {
    throw new UnreadableRecord(`Cannot read a record: ${number} is no ${what} known here`);
  }
  return name;
}

export function equalBytes(one: Uint8Array, other: Uint8Array): boolean {
  return asBuffer(one).equals(other);
}
