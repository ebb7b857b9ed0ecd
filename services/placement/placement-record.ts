/** How the placement map and the small keys beside it are spelled and stored. Schema: proto/placement.proto. */
import { afterPrefix, type KeyRange } from "#metadata/keys.ts";
import { RecordReader, RecordWriter, UnreadableRecord } from "#metadata/record-wire.ts";
import {
  DISK_STATES,
  type EarlierMember,
  type PlacedDisk,
  type PlacementGroup,
  type PlacementMap,
} from "#placement/placement-map.ts";

export const PLACEMENT_PREFIX = Buffer.from("placement/");
export const MAP_KEY = Buffer.from("placement/map");

const FENCE_PREFIX = Buffer.from("placement/group/");
const DIRTY_PREFIX = Buffer.from("dirty/");
const DISK_ID_CHARACTERS = 32;
const EARLIER_BYTES = 3;

export const FENCES: KeyRange = { from: FENCE_PREFIX, to: afterPrefix(FENCE_PREFIX) };
export const DIRTY_MARKS: KeyRange = { from: DIRTY_PREFIX, to: afterPrefix(DIRTY_PREFIX) };

/** The small key that commits of a group's writes compare. */
export function fenceKey(group: number): Buffer {
  return numbered(FENCE_PREFIX, group, 0);
}

export function fencedGroup(key: Uint8Array): number {
  return Buffer.from(key).readUInt16BE(FENCE_PREFIX.length);
}

/** Says that shards of the group may be missing on the disk. Written blindly: whoever clears it compares the revision it saw before looking. */
export function dirtyKey({ group, diskId }: { group: number; diskId: string }): Buffer {
  const key = numbered(DIRTY_PREFIX, group, DISK_ID_CHARACTERS);
  key.write(diskId, DIRTY_PREFIX.length + 2, "latin1");
  return key;
}

export function dirtyMarkOf(key: Uint8Array): { group: number; diskId: string } {
  const bytes = Buffer.from(key);
  return {
    group: bytes.readUInt16BE(DIRTY_PREFIX.length),
    diskId: bytes.toString("latin1", DIRTY_PREFIX.length + 2),
  };
}

const writer = new RecordWriter();

export const DIRTY_MARK: Uint8Array = writer.start().finish();

export function encodeFence(epoch: number): Buffer {
  writer.start();
  writer.uint(2, epoch);
  return writer.finish();
}

export function decodeFence(value: Uint8Array): number {
  const reader = RecordReader.open("group fence", value);
  let epoch = 0;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 2) epoch = reader.uint();
    else reader.skip();
  }
  return epoch;
}

export function encodeMap(map: PlacementMap): Buffer {
  const places = new Map(map.disks.map((disk, place) => [disk.id, place]));
  writer.start();
  writer.uint(2, map.epoch);
  writer.string(3, map.clusterId);
  writer.uint(4, map.width);
  for (const disk of map.disks) {
    const begun = writer.begin(5);
    writer.string(1, disk.id);
    writer.string(2, disk.node);
    writer.string(3, disk.zone);
    writer.uint(4, disk.weight);
    writer.uint(5, DISK_STATES.indexOf(disk.state));
    writer.string(6, disk.label);
    writer.end(begun);
  }
  for (const group of map.groups) {
    const begun = writer.begin(6);
    writer.bytes(1, encodeMembers(group.members, places));
    writer.bytes(2, encodeEarlier(group.earlier, places));
    writer.uint(3, group.movedEpoch);
    writer.end(begun);
  }
  return writer.finish();
}

export function decodeMap(value: Uint8Array): PlacementMap {
  const reader = RecordReader.open("placement map", value);
  let epoch = 0;
  let clusterId = "";
  let width = 0;
  const disks: PlacedDisk[] = [];
  const groups: PlacementGroup[] = [];
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    switch (field) {
      case 2:
        epoch = reader.uint();
        break;
      case 3:
        clusterId = reader.string();
        break;
      case 4:
        width = reader.uint();
        break;
      case 5:
        disks.push(decodeDisk(reader.message()));
        break;
      case 6:
        groups.push(decodeGroup(reader.message(), disks));
        break;
      default:
        reader.skip();
    }
  }
  if (groups.length === 0)
    throw new UnreadableRecord("Cannot read a placement map: no group in it");
  return { epoch, clusterId, width, disks, groups };
}

function decodeDisk(reader: RecordReader): PlacedDisk {
  const disk = { id: "", node: "", zone: "", weight: 0, label: "" };
  let state: PlacedDisk["state"] = "active";
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    switch (field) {
      case 1:
        disk.id = reader.string();
        break;
      case 2:
        disk.node = reader.string();
        break;
      case 3:
        disk.zone = reader.string();
        break;
      case 4:
        disk.weight = reader.uint();
        break;
      case 5:
        state = stateOf(reader.uint());
        break;
      case 6:
        disk.label = reader.string();
        break;
      default:
        reader.skip();
    }
  }
  return { ...disk, state };
}

function decodeGroup(reader: RecordReader, disks: readonly PlacedDisk[]): PlacementGroup {
  let members: readonly string[] = [];
  let earlier: readonly EarlierMember[] = [];
  let movedEpoch = 0;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    switch (field) {
      case 1:
        members = decodeMembers(reader.bytes(), disks);
        break;
      case 2:
        earlier = decodeEarlier(reader.bytes(), disks);
        break;
      case 3:
        movedEpoch = reader.uint();
        break;
      default:
        reader.skip();
    }
  }
  return { members, earlier, movedEpoch };
}

function encodeMembers(
  members: readonly string[],
  places: ReadonlyMap<string, number>,
): Uint8Array {
  const bytes = Buffer.alloc(members.length * 2);
  members.forEach((diskId, index) => bytes.writeUInt16BE(placeIn(places, diskId), index * 2));
  return bytes;
}

function decodeMembers(bytes: Buffer, disks: readonly PlacedDisk[]): readonly string[] {
  const members: string[] = [];
  for (let offset = 0; offset < bytes.length; offset += 2) {
    members.push(diskAt(disks, bytes.readUInt16BE(offset)));
  }
  return members;
}

function encodeEarlier(
  earlier: readonly EarlierMember[],
  places: ReadonlyMap<string, number>,
): Uint8Array {
  const bytes = Buffer.alloc(earlier.length * EARLIER_BYTES);
  earlier.forEach(({ index, diskId }, place) => {
    bytes.writeUInt8(index, place * EARLIER_BYTES);
    bytes.writeUInt16BE(placeIn(places, diskId), place * EARLIER_BYTES + 1);
  });
  return bytes;
}

function decodeEarlier(bytes: Buffer, disks: readonly PlacedDisk[]): readonly EarlierMember[] {
  const earlier: EarlierMember[] = [];
  for (let offset = 0; offset < bytes.length; offset += EARLIER_BYTES) {
    const diskId = diskAt(disks, bytes.readUInt16BE(offset + 1));
    earlier.push({ index: bytes.readUInt8(offset), diskId });
  }
  return earlier;
}

function placeIn(places: ReadonlyMap<string, number>, diskId: string): number {
  const place = places.get(diskId);
  if (place === undefined) {
    throw new Error(`Cannot store the placement map: disk ${diskId} has shards and is not in it`);
  }
  return place;
}

function diskAt(disks: readonly PlacedDisk[], place: number): string {
  const disk = disks[place];
  if (!disk) throw new UnreadableRecord(`Cannot read a placement map: no disk ${place} in it`);
  return disk.id;
}

function stateOf(number: number): PlacedDisk["state"] {
  const state = DISK_STATES[number];
  if (!state) throw new UnreadableRecord(`Cannot read a placement map: ${number} is no disk state`);
  return state;
}

function numbered(prefix: Buffer, group: number, extra: number): Buffer {
  const key = Buffer.alloc(prefix.length + 2 + extra);
  prefix.copy(key);
  key.writeUInt16BE(group, prefix.length);
  return key;
}
