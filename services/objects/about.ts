/** What every shard says of its write. Schema: proto/about.proto. */
import { RecordReader, RecordWriter, UnreadableRecord } from "#metadata/record-wire.ts";
import type { ExtentOwner } from "#objects/data-plane.ts";

export interface About {
  readonly clusterId: string;
  readonly owner: ExtentOwner;
  readonly codec: string;
  /** Bytes of a block of a full stripe. */
  readonly unit: number;
  /** Bytes of the write before they were cut into shards. */
  readonly size: number;
  /** Opaque here. */
  readonly described: Uint8Array;
}

const writer = new RecordWriter();

export function encodeAbout(about: About): Buffer {
  const { owner } = about;
  writer.start();
  writer.string(2, about.clusterId);
  writer.bytes(3, Buffer.from(owner.bucketId, "hex"));
  writer.string(4, owner.bucketName);
  writer.string(5, owner.key);
  if (owner.uploadId !== undefined) writer.string(6, owner.uploadId);
  if (owner.partNumber !== undefined) writer.uint(7, owner.partNumber);
  writer.string(8, about.codec);
  writer.uint(9, about.unit);
  writer.uint(10, about.size);
  writer.bytes(11, about.described);
  return writer.finish();
}

/** Throws UnreadableRecord: a shard whose owner cannot be told is kept. */
export function decodeAbout(value: Uint8Array): About {
  const reader = RecordReader.open("shard's about", value);
  let clusterId = "";
  let bucketId = "";
  let bucketName = "";
  let key = "";
  let uploadId: string | undefined;
  let partNumber: number | undefined;
  let codec = "";
  let unit = 0;
  let size = 0;
  let described: Uint8Array = Buffer.alloc(0);
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    switch (field) {
      case 2:
        clusterId = reader.string();
        break;
      case 3:
        bucketId = reader.hex();
        break;
      case 4:
        bucketName = reader.string();
        break;
      case 5:
        key = reader.string();
        break;
      case 6:
        uploadId = reader.string();
        break;
      case 7:
        partNumber = reader.uint();
        break;
      case 8:
        codec = reader.string();
        break;
      case 9:
        unit = reader.uint();
        break;
      case 10:
        size = reader.uint();
        break;
      case 11:
        described = reader.bytes();
        break;
      default:
        reader.skip();
    }
  }
  if (bucketId.length !== 32 || codec === "" || unit === 0) {
    throw new UnreadableRecord(
      "Cannot read what a shard says of itself: owner or codec is missing",
    );
  }
  const upload = uploadId === undefined ? undefined : { uploadId };
  const part = partNumber === undefined ? undefined : { partNumber };
  const owner = { bucketId, bucketName, key, ...upload, ...part };
  return { clusterId, owner, codec, unit, size, described };
}
