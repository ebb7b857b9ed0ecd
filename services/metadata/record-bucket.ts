/** Records of a bucket: its configuration, and the small state that every commit compares. Schema: proto/records.proto. */
import {
  type CannedAclName,
  known,
  readAcl,
  readTag,
  type TagRecord,
  writeAcl,
  writeTags,
} from "#metadata/record-fields.ts";
import { RecordReader, RecordWriter, UnreadableRecord } from "#metadata/record-wire.ts";

/** Their places are the numbers on disk: append only. */
const OWNERSHIPS = ["BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"] as const;
const VERSIONINGS = ["unversioned", "enabled", "suspended"] as const;

export type OwnershipName = (typeof OWNERSHIPS)[number];
export type VersioningName = (typeof VERSIONINGS)[number];

export interface CorsRuleRecord {
  readonly id: string | undefined;
  readonly allowedOrigins: readonly string[];
  readonly allowedMethods: readonly string[];
  readonly allowedHeaders: readonly string[];
  readonly exposeHeaders: readonly string[];
  readonly maxAgeSeconds: number | undefined;
}

export interface BucketRecord {
  readonly id: string;
  readonly ownerId: string;
  readonly createdMs: number;
  readonly region: string;
  readonly ownership: OwnershipName | undefined;
  readonly acl: CannedAclName;
  readonly tags: readonly TagRecord[] | undefined;
  readonly cors: readonly CorsRuleRecord[] | undefined;
}

export interface BucketStateRecord {
  /** The same as the configuration's: which of all buckets that ever had this name. */
  readonly id: string;
  readonly isDeleting: boolean;
  readonly versioning: VersioningName;
}

const writer = new RecordWriter();

export function encodeBucket(bucket: BucketRecord): Buffer {
  writer.start();
  writer.hex(2, bucket.id);
  writer.string(3, bucket.ownerId);
  writer.uint(4, bucket.createdMs);
  writer.string(5, bucket.region);
  if (bucket.ownership !== undefined) writer.uint(6, OWNERSHIPS.indexOf(bucket.ownership) + 1);
  writeAcl(writer, 7, bucket.acl);
  if (bucket.tags !== undefined) {
    const begun = writer.begin(8);
    writeTags(writer, 1, bucket.tags);
    writer.end(begun);
  }
  if (bucket.cors !== undefined) {
    const begun = writer.begin(9);
    for (const rule of bucket.cors) writeCorsRule(rule);
    writer.end(begun);
  }
  return writer.finish();
}

export function decodeBucket(value: Uint8Array): BucketRecord {
  const reader = RecordReader.open("bucket", value);
  let id = "";
  let ownerId = "";
  let createdMs = 0;
  let region = "";
  let ownership: OwnershipName | undefined;
  let acl: CannedAclName = "private";
  let tags: readonly TagRecord[] | undefined;
  let cors: readonly CorsRuleRecord[] | undefined;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    switch (field) {
      case 2:
        id = reader.hex();
        break;
      case 3:
        ownerId = reader.string();
        break;
      case 4:
        createdMs = reader.uint();
        break;
      case 5:
        region = reader.string();
        break;
      case 6:
        ownership = readOwnership(reader);
        break;
      case 7:
        acl = readAcl(reader);
        break;
      case 8:
        tags = readList(reader.message(), readTag);
        break;
      case 9:
        cors = readList(reader.message(), readCorsRule);
        break;
      default:
        reader.skip();
    }
  }
  if (id === "") throw new UnreadableRecord("Cannot read a bucket record: no id in it");
  return { id, ownerId, createdMs, region, ownership, acl, tags, cors };
}

export function encodeBucketState(state: BucketStateRecord): Buffer {
  writer.start();
  writer.hex(2, state.id);
  writer.bool(3, state.isDeleting);
  writer.uint(4, VERSIONINGS.indexOf(state.versioning));
  return writer.finish();
}

export function decodeBucketState(value: Uint8Array): BucketStateRecord {
  const reader = RecordReader.open("bucket state", value);
  let id = "";
  let isDeleting = false;
  let versioning: VersioningName = "unversioned";
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    switch (field) {
      case 2:
        id = reader.hex();
        break;
      case 3:
        isDeleting = reader.bool();
        break;
      case 4:
        versioning = known(VERSIONINGS, reader.uint(), "state of versioning");
        break;
      default:
        reader.skip();
    }
  }
  if (id === "") throw new UnreadableRecord("Cannot read a bucket's state: no id in it");
  return { id, isDeleting, versioning };
}

function readOwnership(reader: RecordReader): OwnershipName | undefined {
  const number = reader.uint();
  return number === 0 ? undefined : known(OWNERSHIPS, number - 1, "ownership rule");
}

function writeCorsRule(rule: CorsRuleRecord): void {
  const begun = writer.begin(1);
  if (rule.id !== undefined) writer.present(1, rule.id);
  for (const origin of rule.allowedOrigins) writer.present(2, origin);
  for (const method of rule.allowedMethods) writer.present(3, method);
  for (const header of rule.allowedHeaders) writer.present(4, header);
  for (const header of rule.exposeHeaders) writer.present(5, header);
  if (rule.maxAgeSeconds !== undefined) writer.presentUint(6, rule.maxAgeSeconds);
  writer.end(begun);
}

function readCorsRule(reader: RecordReader): CorsRuleRecord {
  let id: string | undefined;
  const allowedOrigins: string[] = [];
  const allowedMethods: string[] = [];
  const allowedHeaders: string[] = [];
  const exposeHeaders: string[] = [];
  let maxAgeSeconds: number | undefined;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    switch (field) {
      case 1:
        id = reader.string();
        break;
      case 2:
        allowedOrigins.push(reader.string());
        break;
      case 3:
        allowedMethods.push(reader.string());
        break;
      case 4:
        allowedHeaders.push(reader.string());
        break;
      case 5:
        exposeHeaders.push(reader.string());
        break;
      case 6:
        maxAgeSeconds = reader.uint();
        break;
      default:
        reader.skip();
    }
  }
  return { id, allowedOrigins, allowedMethods, allowedHeaders, exposeHeaders, maxAgeSeconds };
}

function readList<T>(reader: RecordReader, read: (item: RecordReader) => T): readonly T[] {
  const items: T[] = [];
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) items.push(read(reader.message()));
    else reader.skip();
  }
  return items;
}
