/** Messages of proto/node.proto, to bytes and back. */
import type { DiskStatus, NodeStatus, ScrubProgress } from "#shards/node-control.ts";
import type { StoreHealth } from "#shards/shard-store.ts";
import { readHealth, required, writeHealth } from "#shards/shard-wire.ts";
import { WireReader, WireWriter } from "#shards/wire.ts";

const STATES = ["starting", "ready", "draining"] as const;

const writer = new WireWriter();

/** A message without fields. grpc-js takes `undefined` for no message at all. */
export type Nothing = Readonly<Record<string, never>>;

export const NOTHING: Nothing = {};

export function encodeNothing(): Buffer {
  return Buffer.alloc(0);
}

/** Fields of a later program mean nothing here. */
export function decodeNothing(): Nothing {
  return NOTHING;
}

/** A message of its own, as grpc-js takes whatever is false for none. */
export interface Draining {
  readonly isDraining: boolean;
}

export function encodeDraining({ isDraining }: Draining): Buffer {
  writer.start();
  writer.uint(1, isDraining ? 1 : 0);
  return writer.finish();
}

export function decodeDraining(message: Buffer): Draining {
  const reader = new WireReader(message);
  let isDraining = false;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) isDraining = reader.bool();
    else reader.skip();
  }
  return { isDraining };
}

export function encodeStatus(status: NodeStatus): Buffer {
  writer.start();
  writer.string(1, status.clusterId);
  writer.string(2, status.nodeId);
  writer.string(3, status.version);
  writer.uint(4, STATES.indexOf(status.state));
  writer.uint(5, status.startedMs);
  for (const disk of status.disks) writeDisk(disk);
  return writer.finish();
}

function writeDisk({ diskId, label, health, scrub }: DiskStatus): void {
  const begun = writer.begin(6);
  writer.string(1, diskId);
  writer.string(2, label);
  writeHealth(writer, 3, health);
  if (scrub) {
    const inner = writer.begin(4);
    writer.uint(1, scrub.verified);
    writer.uint(2, scrub.bad);
    writer.uint(3, scrub.lastMs);
    writer.end(inner);
  }
  writer.end(begun);
}

/** Throws Malformed. */
export function decodeStatus(message: Buffer): NodeStatus {
  const reader = new WireReader(message);
  const texts = { clusterId: "", nodeId: "", version: "" };
  let state = 0;
  let startedMs = 0;
  const disks: DiskStatus[] = [];
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) texts.clusterId = reader.string();
    else if (field === 2) texts.nodeId = reader.string();
    else if (field === 3) texts.version = reader.string();
    else if (field === 4) state = reader.uint();
    else if (field === 5) startedMs = reader.uint();
    else if (field === 6) disks.push(readDisk(reader.message()));
    else reader.skip();
  }
  // A state of a later program is none in which to send it work.
  return { ...texts, state: STATES[state] ?? "draining", startedMs, disks };
}

function readDisk(reader: WireReader): DiskStatus {
  let diskId = "";
  let label = "";
  let health: StoreHealth | undefined;
  let scrub: ScrubProgress | undefined;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) diskId = reader.string();
    else if (field === 2) label = reader.string();
    else if (field === 3) health = readHealth(reader.message());
    else if (field === 4) scrub = readScrub(reader.message());
    else reader.skip();
  }
  return { diskId, label, health: required(health, "health"), ...(scrub && { scrub }) };
}

function readScrub(reader: WireReader): ScrubProgress {
  const figures = { verified: 0, bad: 0, lastMs: 0 };
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) figures.verified = reader.uint();
    else if (field === 2) figures.bad = reader.uint();
    else if (field === 3) figures.lastMs = reader.uint();
    else reader.skip();
  }
  return figures;
}
