/** Requests of proto/shard.proto, to bytes and back. */
import type { Block, ShardId, ShardSeal } from "#shards/shard-store.ts";
import { readSeal, readShardId, required, writeSeal, writeShardId } from "#shards/shard-wire.ts";
import { type Item, Malformed, WireReader, WireWriter } from "#shards/wire.ts";

/** Of a block that was received, in one piece. */
export interface Payload {
  readonly bytes: Buffer;
  readonly checksums: readonly number[];
}

export type Question =
  | {
      readonly kind: "put";
      readonly id: ShardId;
      readonly seal: ShardSeal;
      readonly forRepair: boolean;
      readonly block: Block | undefined;
    }
  | { readonly kind: "open"; readonly id: ShardId; readonly forRepair: boolean }
  | {
      readonly kind: "append";
      readonly write: number;
      readonly number: number;
      readonly block: Block;
    }
  | {
      readonly kind: "seal";
      readonly write: number;
      readonly blocks: number;
      readonly seal: ShardSeal;
    }
  | { readonly kind: "abort"; readonly write: number }
  | {
      readonly kind: "read";
      readonly id: ShardId;
      readonly offset: number;
      readonly length: number;
    }
  | { readonly kind: "stat"; readonly id: ShardId }
  | { readonly kind: "verify"; readonly id: ShardId }
  | {
      readonly kind: "link";
      readonly source: ShardId;
      readonly target: ShardId;
      readonly seal: ShardSeal;
    }
  | {
      readonly kind: "remove";
      readonly ids: readonly ShardId[];
      readonly term: number | undefined;
    }
  | {
      readonly kind: "list";
      readonly after: ShardId | undefined;
      readonly group: number | undefined;
      readonly limit: number;
    }
  | { readonly kind: "health" }
  | { readonly kind: "cancel"; readonly request: number };

export type RequestKind = Question["kind"];

export interface Request {
  readonly id: number;
  readonly disk: string;
  readonly question: Question;
}

/** Requests of one message: what a sender gathers is far fewer. */
const REQUESTS_MAX = 256;

const FIELDS: Readonly<Record<RequestKind, number>> = {
  put: 3,
  append: 4,
  seal: 5,
  abort: 6,
  read: 7,
  stat: 8,
  verify: 9,
  link: 10,
  remove: 11,
  list: 12,
  health: 13,
  cancel: 14,
  open: 16,
};

const writer = new WireWriter();

export function encodeRequest({ id, disk, question }: Request): Item {
  writer.start();
  writer.uint(1, id);
  writer.string(2, disk);
  if (question.kind === "stat" || question.kind === "verify") {
    writeShardId(writer, FIELDS[question.kind], question.id);
    return writer.finishItem();
  }
  const begun = writer.begin(FIELDS[question.kind]);
  writeQuestion(question);
  writer.end(begun);
  const block = question.kind === "put" || question.kind === "append" ? question.block : undefined;
  return writer.finishItem(block?.pieces, block?.length);
}

function writeQuestion(question: Exclude<Question, { kind: "stat" | "verify" }>): void {
  switch (question.kind) {
    case "put":
      writeShardId(writer, 1, question.id);
      writeSeal(writer, 2, question.seal);
      writer.uint(3, question.forRepair ? 1 : 0);
      if (question.block) writer.fixed32s(4, question.block.checksums);
      return;
    case "open":
      writeShardId(writer, 1, question.id);
      writer.uint(2, question.forRepair ? 1 : 0);
      return;
    case "append":
      writer.uint(1, question.write);
      writer.uint(2, question.number);
      writer.fixed32s(3, question.block.checksums);
      return;
    case "seal":
      writer.uint(1, question.write);
      writer.uint(2, question.blocks);
      writeSeal(writer, 3, question.seal);
      return;
    case "abort":
      writer.uint(1, question.write);
      return;
    case "read":
      writeShardId(writer, 1, question.id);
      writer.uint(2, question.offset);
      writer.uint(3, question.length);
      return;
    case "link":
      writeShardId(writer, 1, question.source);
      writeShardId(writer, 2, question.target);
      writeSeal(writer, 3, question.seal);
      return;
    case "remove":
      for (const id of question.ids) writeShardId(writer, 1, id);
      if (question.term !== undefined) writer.presentUint(2, question.term);
      return;
    case "list":
      if (question.after) writeShardId(writer, 1, question.after);
      if (question.group !== undefined) writer.presentUint(2, question.group);
      writer.uint(3, question.limit);
      return;
    case "cancel":
      writer.uint(1, question.request);
      return;
    case "health":
      return;
  }
}

/** Throws Malformed. */
export function decodeRequests(message: Buffer): readonly Request[] {
  const requests: Request[] = [];
  const reader = new WireReader(message);
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field !== 1) reader.skip();
    else if (requests.length === REQUESTS_MAX) throw new Malformed("Too many requests at once");
    else requests.push(readRequest(reader.message()));
  }
  return requests;
}

function readRequest(reader: WireReader): Request {
  let id = 0;
  let disk = "";
  let kind: RequestKind | undefined;
  let body: WireReader | undefined;
  let payload: Buffer | undefined;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    const named = KINDS[field];
    if (field === 1) id = reader.uint();
    else if (field === 2) disk = reader.string();
    else if (field === 15) payload = reader.bytes();
    else if (named === undefined) reader.skip();
    else {
      kind = named;
      body = reader.message();
    }
  }
  if (kind === undefined || body === undefined) {
    throw new Malformed("Cannot read a request: it asks for nothing that is known here");
  }
  return { id, disk, question: readQuestion(kind, body, payload) };
}

const KINDS = namesByField();

function namesByField(): readonly (RequestKind | undefined)[] {
  const names: (RequestKind | undefined)[] = [];
  for (const [name, field] of Object.entries(FIELDS)) names[field] = name as RequestKind;
  return names;
}

/** Every message of a kind has its fields in few forms; one walk gathers them all. */
function readQuestion(
  kind: RequestKind,
  reader: WireReader,
  payload: Buffer | undefined,
): Question {
  switch (kind) {
    case "stat":
    case "verify":
      return { kind, id: readShardId(reader) };
    case "put":
      return readPut(reader, payload);
    case "append":
      return readAppend(reader, payload);
    case "open": {
      const { id, numbers } = readNamed(reader);
      return { kind, id, forRepair: numbers[2] === 1 };
    }
    case "read": {
      const { id, numbers } = readNamed(reader);
      return { kind, id, offset: numbers[2] ?? 0, length: numbers[3] ?? 0 };
    }
    case "seal":
      return readSealing(reader);
    case "abort":
      return { kind, write: readNumbers(reader)[1] ?? 0 };
    case "cancel":
      return { kind, request: readNumbers(reader)[1] ?? 0 };
    case "health":
      readNumbers(reader);
      return { kind };
    case "link":
      return readLink(reader);
    case "remove":
      return readRemove(reader);
    case "list":
      return readList(reader);
  }
}

function readPut(reader: WireReader, payload: Buffer | undefined): Question {
  let id: ShardId | undefined;
  let seal: ShardSeal | undefined;
  let forRepair = false;
  let checksums: number[] = [];
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) id = readShardId(reader.message());
    else if (field === 2) seal = readSeal(reader.message());
    else if (field === 3) forRepair = reader.bool();
    else if (field === 4) checksums = reader.fixed32s();
    else reader.skip();
  }
  const block = payload && blockOf(payload, checksums);
  return { kind: "put", id: required(id, "name"), seal: required(seal, "seal"), forRepair, block };
}

function readAppend(reader: WireReader, payload: Buffer | undefined): Question {
  let write = 0;
  let number = 0;
  let checksums: number[] = [];
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) write = reader.uint();
    else if (field === 2) number = reader.uint();
    else if (field === 3) checksums = reader.fixed32s();
    else reader.skip();
  }
  return { kind: "append", write, number, block: blockOf(required(payload, "block"), checksums) };
}

function readSealing(reader: WireReader): Question {
  let write = 0;
  let blocks = 0;
  let seal: ShardSeal | undefined;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) write = reader.uint();
    else if (field === 2) blocks = reader.uint();
    else if (field === 3) seal = readSeal(reader.message());
    else reader.skip();
  }
  return { kind: "seal", write, blocks, seal: required(seal, "seal") };
}

function readLink(reader: WireReader): Question {
  let source: ShardId | undefined;
  let target: ShardId | undefined;
  let seal: ShardSeal | undefined;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) source = readShardId(reader.message());
    else if (field === 2) target = readShardId(reader.message());
    else if (field === 3) seal = readSeal(reader.message());
    else reader.skip();
  }
  return {
    kind: "link",
    source: required(source, "source"),
    target: required(target, "target"),
    seal: required(seal, "seal"),
  };
}

function readRemove(reader: WireReader): Question {
  const ids: ShardId[] = [];
  let term: number | undefined;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) ids.push(readShardId(reader.message()));
    else if (field === 2) term = reader.uint();
    else reader.skip();
  }
  return { kind: "remove", ids, term };
}

function readList(reader: WireReader): Question {
  let after: ShardId | undefined;
  let group: number | undefined;
  let limit = 0;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) after = readShardId(reader.message());
    else if (field === 2) group = reader.uint32();
    else if (field === 3) limit = reader.uint32();
    else reader.skip();
  }
  return { kind: "list", after, group, limit };
}

/** A shard's name in field 1, and numbers. */
function readNamed(reader: WireReader): { id: ShardId; numbers: readonly number[] } {
  let id: ShardId | undefined;
  const numbers: number[] = [];
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) id = readShardId(reader.message());
    else if (field <= 3) numbers[field] = reader.uint();
    else reader.skip();
  }
  return { id: required(id, "name"), numbers };
}

function readNumbers(reader: WireReader): readonly number[] {
  const numbers: number[] = [];
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) numbers[field] = reader.uint();
    else reader.skip();
  }
  return numbers;
}

function blockOf(bytes: Buffer, checksums: readonly number[]): Block {
  return { pieces: [bytes], length: bytes.length, checksums: Uint32Array.from(checksums) };
}
