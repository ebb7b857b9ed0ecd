/** The messages that requests and answers share: names of shards, seals, what a shard is. */
import type { ShardId, ShardInfo, ShardSeal, StoreHealth } from "#shards/shard-store.ts";
import { Malformed, type WireReader, type WireWriter } from "#shards/wire.ts";

const WRITE_ID_BYTES = 16;
/** Limits of the interface: placement groups, and shards of a stripe. */
const GROUP_MAX = 65_535;
const INDEX_MAX = 255;

export function writeShardId(writer: WireWriter, field: number, id: ShardId): void {
  const begun = writer.begin(field);
  writer.uint(1, id.group);
  writer.bytes(2, id.writeId);
  writer.uint(3, id.index);
  writer.end(begun);
}

export function readShardId(reader: WireReader): ShardId {
  let group = 0;
  let index = 0;
  let writeId: Buffer | undefined;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) group = reader.uint();
    // Its own memory: an id may be kept, and must not keep a whole message with it.
    else if (field === 2) writeId = Buffer.from(reader.bytes());
    else if (field === 3) index = reader.uint();
    else reader.skip();
  }
  if (writeId?.length !== WRITE_ID_BYTES || group > GROUP_MAX || index > INDEX_MAX) {
    throw new Malformed("Cannot read the name of a shard: no shard can have it");
  }
  return { group, writeId, index };
}

export function writeSeal(writer: WireWriter, field: number, seal: ShardSeal): void {
  const begun = writer.begin(field);
  writer.string(1, seal.session);
  writer.uint(2, seal.sequence);
  writer.fixed32s(3, seal.siblings);
  writer.bytes(4, seal.about);
  writer.end(begun);
}

export function readSeal(reader: WireReader): ShardSeal {
  let session = "";
  let sequence = 0;
  let siblings: number[] = [];
  let about: Buffer = NO_BYTES;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) session = reader.string();
    else if (field === 2) sequence = reader.uint();
    else if (field === 3) siblings = reader.fixed32s();
    else if (field === 4) about = Buffer.from(reader.bytes());
    else reader.skip();
  }
  return { session, sequence, siblings, about };
}

const NO_BYTES = Buffer.alloc(0);

export function writeInfo(writer: WireWriter, field: number, info: ShardInfo): void {
  const begun = writer.begin(field);
  writeShardId(writer, 1, info.id);
  writeSeal(writer, 2, info);
  writer.uint(3, info.length);
  writer.uint(4, info.blocks);
  writer.fixed32(5, info.digest);
  writer.end(begun);
}

export function readInfo(reader: WireReader): ShardInfo {
  let id: ShardId | undefined;
  let seal: ShardSeal | undefined;
  let length = 0;
  let blocks = 0;
  let digest = 0;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) id = readShardId(reader.message());
    else if (field === 2) seal = readSeal(reader.message());
    else if (field === 3) length = reader.uint();
    else if (field === 4) blocks = reader.uint();
    else if (field === 5) digest = reader.fixed32();
    else reader.skip();
  }
  return { ...required(seal, "seal"), id: required(id, "name"), length, blocks, digest };
}

const STATES = ["failed", "writable", "full", "read-only"] as const;

export function writeHealth(writer: WireWriter, field: number, health: StoreHealth): void {
  const begun = writer.begin(field);
  writer.uint(1, STATES.indexOf(health.state));
  writer.uint(2, health.capacity);
  writer.uint(3, health.free);
  writer.uint(4, health.live);
  writer.uint(5, health.used);
  writer.string(6, health.reason ?? "");
  writer.end(begun);
}

export function readHealth(reader: WireReader): StoreHealth {
  let state = 0;
  let reason = "";
  const figures = { capacity: 0, free: 0, live: 0, used: 0 };
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) state = reader.uint();
    else if (field === 2) figures.capacity = reader.uint();
    else if (field === 3) figures.free = reader.uint();
    else if (field === 4) figures.live = reader.uint();
    else if (field === 5) figures.used = reader.uint();
    else if (field === 6) reason = reader.string();
    else reader.skip();
  }
  // A state of a later program: whatever it means, no shard should go there.
  const known = { state: STATES[state] ?? "failed", ...figures };
  return reason === "" ? known : { ...known, reason };
}

export function required<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new Malformed(`Cannot read a message: it has no ${what}`);
  return value;
}
