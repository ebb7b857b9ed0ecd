/** Answers of proto/shard.proto, to bytes and back. */
import type { ShardId, ShardInfo, ShardPage, StoreHealth } from "#shards/shard-store.ts";
import {
  readHealth,
  readInfo,
  readShardId,
  required,
  writeHealth,
  writeInfo,
  writeShardId,
} from "#shards/shard-wire.ts";
import { type Item, Malformed, WireReader, WireWriter } from "#shards/wire.ts";

export const FAULTS = [
  "unknown",
  "unavailable",
  "full",
  "corrupt",
  "conflict",
  "missing",
  "range",
  "denied",
  "out-of-turn",
  "fenced",
] as const;

export type FaultKind = (typeof FAULTS)[number];

const VERDICTS = ["missing", "good", "bad"] as const;

export type ShardVerdict = (typeof VERDICTS)[number];

export type Reply =
  | { readonly kind: "done" }
  | {
      readonly kind: "fault";
      readonly fault: FaultKind;
      readonly message: string;
      /** Of fenced. */
      readonly term?: number;
    }
  | {
      readonly kind: "content";
      readonly bytes: Uint8Array;
      readonly checksums: ArrayLike<number>;
      /** Its message holds no other answer. */
      readonly isAlone?: boolean;
      /** The bytes are not looked at any more. */
      readonly release?: () => void;
    }
  | { readonly kind: "found"; readonly info: ShardInfo | undefined }
  | { readonly kind: "verdict"; readonly verdict: ShardVerdict }
  | { readonly kind: "page"; readonly page: ShardPage }
  | { readonly kind: "health"; readonly health: StoreHealth };

export interface Answer {
  readonly id: number;
  readonly reply: Reply;
}

const FIELDS = { done: 2, fault: 3, content: 4, found: 5, verdict: 6, page: 7, health: 8 } as const;
const PAYLOAD = 15;

const DONE: Reply = { kind: "done" };
const writer = new WireWriter();

export function encodeAnswer({ id, reply }: Answer): Item {
  writer.start();
  writer.uint(1, id);
  if (reply.kind === "health") {
    writeHealth(writer, FIELDS.health, reply.health);
    return writer.finishItem();
  }
  const begun = writer.begin(FIELDS[reply.kind]);
  writeReply(reply);
  writer.end(begun);
  if (reply.kind !== "content") return writer.finishItem();
  return writer.finishItem([reply.bytes], reply.bytes.length);
}

function writeReply(reply: Exclude<Reply, { kind: "health" }>): void {
  switch (reply.kind) {
    case "done":
      return;
    case "fault":
      writer.uint(1, FAULTS.indexOf(reply.fault));
      writer.string(2, reply.message);
      if (reply.term !== undefined) writer.uint(3, reply.term);
      return;
    case "content":
      writer.fixed32s(1, reply.checksums);
      return;
    case "found":
      if (reply.info) writeInfo(writer, 1, reply.info);
      return;
    case "verdict":
      writer.uint(1, VERDICTS.indexOf(reply.verdict));
      return;
    case "page":
      for (const info of reply.page.shards) writeInfo(writer, 1, info);
      if (reply.page.next) writeShardId(writer, 2, reply.page.next);
      return;
  }
}

/** Throws Malformed. */
export function decodeAnswers(message: Buffer): readonly Answer[] {
  const answers: Answer[] = [];
  const reader = new WireReader(message);
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) answers.push(readAnswer(reader.message()));
    else reader.skip();
  }
  const [first] = answers;
  if (answers.length === 1 && first?.reply.kind === "content") {
    return [{ ...first, reply: { ...first.reply, isAlone: true } }];
  }
  return answers;
}

function readAnswer(reader: WireReader): Answer {
  let id = 0;
  let reply: Reply | undefined;
  let payload: Buffer = NO_BYTES;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) id = reader.uint();
    else if (field === PAYLOAD) payload = reader.bytes();
    else if (field >= FIELDS.done && field <= FIELDS.health) {
      reply = readReply(field, reader.message());
    } else reader.skip();
  }
  if (reply === undefined) throw new Malformed("Cannot read an answer: it says nothing");
  return { id, reply: reply.kind === "content" ? { ...reply, bytes: payload } : reply };
}

const NO_BYTES = Buffer.alloc(0);

function readReply(kind: number, reader: WireReader): Reply {
  switch (kind) {
    case FIELDS.done:
      return DONE;
    case FIELDS.fault:
      return readFault(reader);
    case FIELDS.content:
      return readContent(reader);
    case FIELDS.found:
      return readFound(reader);
    case FIELDS.verdict:
      return readVerdict(reader);
    case FIELDS.page:
      return readPage(reader);
    default:
      return { kind: "health", health: readHealth(reader) };
  }
}

function readFault(reader: WireReader): Reply {
  let fault = 0;
  let message = "";
  let term = 0;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) fault = reader.uint();
    else if (field === 2) message = reader.string();
    else if (field === 3) term = reader.uint();
    else reader.skip();
  }
  const told = { kind: "fault" as const, fault: FAULTS[fault] ?? ("unknown" as const), message };
  return told.fault === "fenced" ? { ...told, term } : told;
}

function readContent(reader: WireReader): Reply {
  let checksums: number[] = [];
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) checksums = reader.fixed32s();
    else reader.skip();
  }
  return { kind: "content", bytes: NO_BYTES, checksums };
}

function readFound(reader: WireReader): Reply {
  let info: ShardInfo | undefined;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) info = readInfo(reader.message());
    else reader.skip();
  }
  return { kind: "found", info };
}

function readVerdict(reader: WireReader): Reply {
  let verdict = 0;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) verdict = reader.uint();
    else reader.skip();
  }
  return { kind: "verdict", verdict: required(VERDICTS[verdict], "known verdict") };
}

function readPage(reader: WireReader): Reply {
  const shards: ShardInfo[] = [];
  let next: ShardId | undefined;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) shards.push(readInfo(reader.message()));
    else if (field === 2) next = readShardId(reader.message());
    else reader.skip();
  }
  return { kind: "page", page: { shards, next } };
}
