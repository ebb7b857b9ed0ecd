/** A storage node as the index knows it, how its record is spelled and stored. Schema: proto/placement.proto. */
import { afterPrefix, asBuffer, type KeyRange } from "#metadata/keys.ts";
import { RecordReader, RecordWriter, UnreadableRecord } from "#metadata/record-wire.ts";

/**
 * New: registered, and holds nothing before the operator adds it. Active: takes its share. Draining: to be emptied, as
 * the operator wants. Out: to be emptied because it has been away for long; active again once it is back. Removed: lost for
 * good, or empty; its record goes when nothing names its disks any more.
 */
export const NODE_STATES = ["new", "active", "draining", "out", "removed"] as const;
export type NodeState = (typeof NODE_STATES)[number];

/** A disk as its node finds it. */
export interface MountedDisk {
  /** From its `disk.json`; 32 hex digits. */
  readonly id: string;
  /** What the operator knows it by: its path on the node. */
  readonly label: string;
  readonly capacity: number;
}

export interface NodeDisk extends MountedDisk {
  /** To be emptied, as it has long been of no use while its node was there; until it is again. */
  readonly isOut: boolean;
}

export interface NodeRecord {
  readonly id: string;
  readonly zone: string;
  /** `host:port` of its shards. */
  readonly address: string;
  /** Of each of its disks. */
  readonly weight: number;
  readonly state: NodeState;
  readonly disks: readonly NodeDisk[];
  /** What the last change of state was to move, and when it began; undefined: nothing. */
  readonly move: NodeMove | undefined;
}

export interface NodeMove {
  readonly bytes: number;
  readonly begunMs: number;
}

const NODE_PREFIX = Buffer.from("nodes/");

export const NODES_PREFIX: Uint8Array = NODE_PREFIX;
export const NODES: KeyRange = { from: NODE_PREFIX, to: afterPrefix(NODE_PREFIX) };
/** Rewritten with every change of a record, so that one comparison covers all of them. */
export const NODE_CHANGES_KEY = Buffer.from("node-changes");
/** Beside the nodes, as it is read with them. */
export const CLUSTER_KEY = Buffer.from("cluster");

export function nodeKey(id: string): Buffer {
  return Buffer.concat([NODE_PREFIX, Buffer.from(id)]);
}

const writer = new RecordWriter();

export const NODE_CHANGE: Uint8Array = writer.start().finish();

export function encodeCluster(clusterId: string): Buffer {
  writer.start();
  writer.hex(2, clusterId);
  return writer.finish();
}

export function decodeCluster(value: Uint8Array): string {
  const reader = RecordReader.open("cluster", value);
  let clusterId = "";
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 2) clusterId = reader.hex();
    else reader.skip();
  }
  if (clusterId.length !== 32) throw new UnreadableRecord("Cannot read the cluster's id");
  return clusterId;
}

export function encodeNode(node: NodeRecord): Buffer {
  writer.start();
  writer.string(2, node.id);
  writer.string(3, node.zone);
  writer.string(4, node.address);
  writer.uint(5, node.weight);
  writer.uint(6, NODE_STATES.indexOf(node.state));
  for (const disk of node.disks) {
    const begun = writer.begin(7);
    writer.hex(1, disk.id);
    writer.string(2, disk.label);
    writer.uint(3, disk.capacity);
    writer.uint(4, disk.isOut ? 1 : 0);
    writer.end(begun);
  }
  writer.uint(8, node.move?.bytes ?? 0);
  writer.uint(9, node.move?.begunMs ?? 0);
  return writer.finish();
}

export function decodeNode(value: Uint8Array): NodeRecord {
  const reader = RecordReader.open("node", asBuffer(value));
  const node = { id: "", zone: "", address: "", weight: 0 };
  let state: NodeState = "new";
  const disks: NodeDisk[] = [];
  const move = { bytes: 0, begunMs: 0 };
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    switch (field) {
      case 2:
        node.id = reader.string();
        break;
      case 3:
        node.zone = reader.string();
        break;
      case 4:
        node.address = reader.string();
        break;
      case 5:
        node.weight = reader.uint();
        break;
      case 6:
        state = stateOf(reader.uint());
        break;
      case 7:
        disks.push(decodeDisk(reader.message()));
        break;
      case 8:
        move.bytes = reader.uint();
        break;
      case 9:
        move.begunMs = reader.uint();
        break;
      default:
        reader.skip();
    }
  }
  return { ...node, state, disks, move: move.begunMs === 0 ? undefined : move };
}

function decodeDisk(reader: RecordReader): NodeDisk {
  const disk = { id: "", label: "", capacity: 0, isOut: false };
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    switch (field) {
      case 1:
        disk.id = reader.hex();
        break;
      case 2:
        disk.label = reader.string();
        break;
      case 3:
        disk.capacity = reader.uint();
        break;
      case 4:
        disk.isOut = reader.bool();
        break;
      default:
        reader.skip();
    }
  }
  return disk;
}

function stateOf(number: number): NodeState {
  const state = NODE_STATES[number];
  if (!state) throw new UnreadableRecord(`Cannot read a node record: ${number} is no state`);
  return state;
}
