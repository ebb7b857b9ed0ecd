/** Where scrub is on a disk. Schema: proto/keeper.proto. */
import { RecordReader, RecordWriter } from "#metadata/record-wire.ts";
import type { ShardId } from "#shards/shard-store.ts";

export interface ScrubState {
  readonly begunMs: number;
  /** 0 while the first round is under way. */
  readonly endedMs: number;
  /** The last shard looked at; undefined between rounds. */
  readonly after: ShardId | undefined;
}

export function scrubKey(diskId: string): Buffer {
  return Buffer.from(`keeper/scrub/${diskId}`);
}

const writer = new RecordWriter();

export function encodeScrubState({ begunMs, endedMs, after }: ScrubState): Buffer {
  writer.start();
  writer.uint(2, endedMs);
  if (after) {
    writer.uint(3, after.group);
    writer.bytes(4, after.writeId);
    writer.uint(5, after.index);
  }
  writer.uint(6, begunMs);
  return writer.finish();
}

export function decodeScrubState(value: Uint8Array): ScrubState {
  const reader = RecordReader.open("scrub state", value);
  let begunMs = 0;
  let endedMs = 0;
  let group = 0;
  let index = 0;
  let writeId: Uint8Array | undefined;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    switch (field) {
      case 2:
        endedMs = reader.uint();
        break;
      case 3:
        group = reader.uint();
        break;
      case 4:
        writeId = reader.bytes();
        break;
      case 5:
        index = reader.uint();
        break;
      case 6:
        begunMs = reader.uint();
        break;
      default:
        reader.skip();
    }
  }
  return { begunMs, endedMs, after: writeId && { group, writeId, index } };
}
