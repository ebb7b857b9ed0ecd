import { fileURLToPath } from "node:url";
import {
  type ChannelCredentials,
  type ClientDuplexStream,
  type ClientUnaryCall,
  credentials,
  loadPackageDefinition,
  type Metadata,
} from "@grpc/grpc-js";
import { loadSync, type PackageDefinition } from "@grpc/proto-loader";
import * as fc from "fast-check";
import protobuf from "protobufjs";
import { describe, expect, test } from "vitest";
import { type Answer, decodeAnswers, encodeAnswer, FAULTS } from "#shards/answer-wire.ts";
import { NODE_SERVICE } from "#shards/control.ts";
import {
  decodeDraining,
  decodeStatus,
  encodeDraining,
  encodeStatus,
} from "#shards/control-wire.ts";
import { freeMessage } from "#shards/message-memory.ts";
import { helloTo } from "#shards/peer.ts";
import { decodeRequests, encodeRequest, type Request } from "#shards/request-wire.ts";
import { SHARDS_SERVICE } from "#shards/service.ts";
import { sample } from "#shards/shard-store.contract.ts";
import { IDENTITY, openFarNode } from "#shards/testing/far-node.ts";
import { type Item, Malformed, WireReader } from "#shards/wire.ts";

const folder = fileURLToPath(new URL("../../proto/", import.meta.url));
const shardSchema = protobuf.loadSync(`${folder}shard.proto`);
const nodeSchema = protobuf.loadSync(`${folder}node.proto`);
const REQUESTS = shardSchema.lookupType("anybucket.shards.Requests");
const ANSWERS = shardSchema.lookupType("anybucket.shards.Answers");
const STATUS = nodeSchema.lookupType("anybucket.node.NodeStatus");
const DRAINING = nodeSchema.lookupType("anybucket.node.Draining");

const uint32 = fc.nat({ max: 2 ** 32 - 1 });
const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const someBytes = fc
  .uint8Array({ minLength: 1, maxLength: 300 })
  .map((array) => Buffer.from(array));
const shardId = fc.record({
  group: fc.nat({ max: 65_535 }),
  writeId: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((array) => Buffer.from(array)),
  index: fc.nat({ max: 23 }),
});
const seal = fc.record({
  session: fc.string(),
  sequence: fc.maxSafeNat(),
  siblings: fc.array(uint32, { maxLength: 24 }),
  about: bytes,
});
const block = fc.record({ content: someBytes, checksums: fc.array(uint32, { maxLength: 64 }) });
const blockOf = ({ content, checksums }: { content: Buffer; checksums: number[] }) => ({
  pieces: [content],
  length: content.length,
  checksums: Uint32Array.from(checksums),
});
const question = fc.oneof(
  fc.record({
    kind: fc.constant("put" as const),
    id: shardId,
    seal,
    forRepair: fc.boolean(),
    block: fc.option(block.map(blockOf), { nil: undefined }),
  }),
  fc.record({ kind: fc.constant("open" as const), id: shardId, forRepair: fc.boolean() }),
  fc.record({
    kind: fc.constant("append" as const),
    write: fc.maxSafeNat(),
    number: uint32,
    block: block.map(blockOf),
  }),
  fc.record({ kind: fc.constant("seal" as const), write: fc.nat(), blocks: uint32, seal }),
  fc.record({ kind: fc.constant("abort" as const), write: fc.nat() }),
  fc.record({
    kind: fc.constant("read" as const),
    id: shardId,
    offset: fc.maxSafeNat(),
    length: uint32,
  }),
  fc.record({ kind: fc.constantFrom("stat" as const, "verify" as const), id: shardId }),
  fc.record({ kind: fc.constant("link" as const), source: shardId, target: shardId, seal }),
  fc.record({
    kind: fc.constant("remove" as const),
    ids: fc.array(shardId, { maxLength: 5 }),
    term: fc.option(fc.maxSafeNat(), { nil: undefined }),
  }),
  fc.record({
    kind: fc.constant("list" as const),
    after: fc.option(shardId, { nil: undefined }),
    group: fc.option(fc.nat({ max: 65_535 }), { nil: undefined }),
    limit: uint32,
  }),
  fc.constant({ kind: "health" as const }),
  fc.record({ kind: fc.constant("cancel" as const), request: fc.nat() }),
);
const request = fc.record({ id: fc.maxSafeNat(), disk: fc.string(), question });

const info = fc
  .tuple(seal, shardId, fc.maxSafeNat(), uint32, uint32)
  .map(([said, id, length, blocks, digest]) => ({ ...said, id, length, blocks, digest }));
const health = fc
  .tuple(
    fc.constantFrom("writable", "full", "read-only", "failed"),
    fc.maxSafeNat(),
    fc.maxSafeNat(),
    fc.string(),
  )
  .map(([state, capacity, live, reason]) => {
    const figures = { state: state as "full", capacity, free: 1, live, used: live };
    return reason === "" ? figures : { ...figures, reason };
  });
const reply = fc.oneof(
  fc.constant({ kind: "done" as const }),
  fc.record({
    kind: fc.constant("fault" as const),
    fault: fc.constantFrom(...FAULTS.filter((fault) => fault !== "fenced")),
    message: fc.string(),
  }),
  fc.record({
    kind: fc.constant("fault" as const),
    fault: fc.constant("fenced" as const),
    message: fc.string(),
    term: fc.maxSafeNat(),
  }),
  fc.record({
    kind: fc.constant("content" as const),
    bytes,
    checksums: fc.array(uint32, { maxLength: 64 }),
  }),
  fc.record({ kind: fc.constant("found" as const), info: fc.option(info, { nil: undefined }) }),
  fc.record({
    kind: fc.constant("verdict" as const),
    verdict: fc.constantFrom("good" as const, "bad" as const, "missing" as const),
  }),
  fc.record({
    kind: fc.constant("page" as const),
    page: fc.record({
      shards: fc.array(info, { maxLength: 3 }),
      next: fc.option(shardId, { nil: undefined }),
    }),
  }),
  fc.record({ kind: fc.constant("health" as const), health }),
);

describe("the wire", () => {
  test("has requests as the schema says, and reads them back", () => {
    fc.assert(
      fc.property(fc.array(request, { maxLength: 4 }), (given: readonly Request[]) => {
        const message = Buffer.concat(given.map((one) => bytesOf(encodeRequest(one))));
        expect(decodeRequests(message)).toEqual(given);
        expect(again(REQUESTS, message)).toEqual(message);
      }),
    );
  });

  test("has answers as the schema says, and reads them back", () => {
    fc.assert(
      fc.property(fc.array(fc.record({ id: fc.nat(), reply })), (given: readonly Answer[]) => {
        const message = Buffer.concat(given.map((one) => bytesOf(encodeAnswer(one))));
        expect(decodeAnswers(message).map(plain)).toEqual(given);
        expect(again(ANSWERS, message)).toEqual(message);
      }),
    );
  });

  test("gives an answer's memory away only where no other answer has a part of it", () => {
    const content = { kind: "content", bytes: Buffer.alloc(300_000), checksums: [] } as const;
    const item = bytesOf(encodeAnswer({ id: 1, reply: content }));
    expect(aloneOf(item)).toEqual([true]);
    expect(aloneOf(Buffer.concat([item, item]))).toEqual([undefined, undefined]);
    const [whole, small] = [Buffer.alloc(300_000), Buffer.alloc(100)];
    const part = Buffer.alloc(900_000).subarray(0, 300_000);
    for (const each of [whole, small, part]) freeMessage(each);
    expect([whole.length, small.length, part.length]).toEqual([0, 100, 300_000]);
  });

  test("has the control plane's messages as the schema says, and reads them back", () => {
    const scrub = fc.record({ verified: fc.nat(), bad: fc.nat(), lastMs: fc.maxSafeNat() });
    const status = fc.record({
      clusterId: fc.string(),
      nodeId: fc.string(),
      version: fc.string(),
      state: fc.constantFrom("starting", "ready", "draining"),
      startedMs: fc.maxSafeNat(),
      disks: fc.array(fc.record({ diskId: fc.string(), label: fc.string(), health, scrub })),
    });
    fc.assert(
      fc.property(status, (given) => {
        const message = encodeStatus(given);
        expect(decodeStatus(message)).toEqual(given);
        expect(again(STATUS, message)).toEqual(message);
      }),
    );
    for (const isDraining of [true, false]) {
      const message = encodeDraining({ isDraining });
      expect(decodeDraining(message)).toEqual({ isDraining });
      expect(again(DRAINING, message)).toEqual(message);
    }
  });

  test("passes over what a later program adds", () => {
    const { head } = encodeRequest({ id: 5, disk: "d", question: { kind: "abort", write: 3 } });
    const inner = new WireReader(head);
    inner.field();
    const fields = inner.bytes();
    // Field 30, as a number, as bytes, and as fixed widths.
    const later = Buffer.from("f0010af20102aabbf1010102030405060708f50101020304", "hex");
    const longer = Buffer.concat([Buffer.from([10, fields.length + later.length]), fields, later]);
    expect(decodeRequests(longer)).toEqual(decodeRequests(head));
  });

  test("takes no damaged message for another", () => {
    const { head } = encodeRequest({
      id: 77,
      disk: "0123456789abcdef",
      question: { kind: "read", id: sample([]).id, offset: 70_000, length: 5 },
    });
    for (let end = 1; end < head.length; end++) {
      expect(() => decodeRequests(head.subarray(0, end)), `cut at ${end}`).toThrow(Malformed);
    }
    fc.assert(fc.property(bytes, expectMessageOrMalformed));
    const flips = fc.record({ at: fc.nat({ max: head.length - 1 }), to: fc.nat({ max: 255 }) });
    fc.assert(
      fc.property(flips, ({ at, to }) => {
        const message = Buffer.from(head);
        message[at] = to;
        expectMessageOrMalformed(message);
      }),
    );
  });
});

interface ServiceClient {
  Exchange(metadata: Metadata): ClientDuplexStream<unknown, { answers: unknown[] }>;
  Status(
    request: object,
    metadata: Metadata,
    answered: (error: Error | null, answer: object) => void,
  ): ClientUnaryCall;
  close(): void;
}

type Service = new (address: string, creds: ChannelCredentials) => ServiceClient;

describe("any client of the schema", () => {
  const definition: PackageDefinition = loadSync(["shard.proto", "node.proto"], {
    includeDirs: [folder],
    longs: Number,
    enums: String,
    oneofs: true,
    keepCase: true,
  });
  const services = loadPackageDefinition(definition)["anybucket"] as never as {
    readonly shards: { readonly Shards: Service };
    readonly node: { readonly Node: Service };
  };

  test("finds the methods where the schema says that they are", () => {
    const named = [
      ["anybucket.shards.Shards", "Exchange", SHARDS_SERVICE.exchange],
      ["anybucket.node.Node", "Status", NODE_SERVICE.status],
      ["anybucket.node.Node", "SetDraining", NODE_SERVICE.setDraining],
    ] as const;
    for (const [service, method, ours] of named) {
      const { path, requestStream, responseStream } = (
        definition[service] as Record<string, typeof ours>
      )[method] as typeof ours;
      expect({ path, requestStream, responseStream }).toEqual({
        path: ours.path,
        requestStream: ours.requestStream,
        responseStream: ours.responseStream,
      });
    }
  });

  test("puts and reads a shard, and asks how the node is", async () => {
    await using node = await openFarNode();
    const address = `127.0.0.1:${node.server.port}`;
    const client = new services.shards.Shards(address, credentials.createInsecure());
    const hello = helloTo(IDENTITY, "a test");
    const shard = sample([70_000]);
    const stream = client.Exchange(hello);
    const { group, writeId: write_id, index } = shard.id;
    const id = { group, write_id, index };
    const checksums = [...(shard.blocks[0]?.checksums ?? [])];
    const disk = node.near.diskId;
    stream.write({
      requests: [
        {
          id: 1,
          disk,
          put: { id, seal: shard.seal, checksums },
          payload: shard.bytes,
        },
      ],
    });
    expect(await nextOf(stream)).toMatchObject({ id: 1, kind: "done" });
    stream.write({ requests: [{ id: 2, disk, read: { id, offset: 1, length: 69_999 } }] });
    const answer = await nextOf(stream);
    expect(answer).toMatchObject({ id: 2, kind: "content" });
    expect(shard.bytes.subarray(1).equals(answer["payload"] as Buffer)).toBe(true);
    stream.end();
    client.close();

    const control = new services.node.Node(address, credentials.createInsecure());
    const { promise, resolve, reject } = Promise.withResolvers<object>();
    control.Status({}, hello, (error, found) => (error ? reject(error) : resolve(found)));
    expect(await promise).toMatchObject({
      cluster_id: IDENTITY.clusterId,
      state: "READY",
      disks: [{ id: disk, health: { state: "WRITABLE" } }],
    });
    control.close();
  });
});

function expectMessageOrMalformed(message: Buffer): void {
  expect([undefined, Malformed]).toContain(faultOf(message));
}

/** What reading it throws. */
function faultOf(message: Buffer): unknown {
  try {
    decodeRequests(message);
    decodeAnswers(message);
    return undefined;
  } catch (error) {
    return (error as Error).constructor;
  }
}

async function nextOf(
  stream: ClientDuplexStream<unknown, { answers: unknown[] }>,
): Promise<Record<string, unknown>> {
  const { promise, resolve, reject } = Promise.withResolvers<{ answers: unknown[] }>();
  stream.once("data", resolve);
  stream.once("error", reject);
  return (await promise).answers[0] as Record<string, unknown>;
}

function aloneOf(message: Buffer): unknown[] {
  return decodeAnswers(message).map((one) => one.reply.kind === "content" && one.reply.isAlone);
}

function plain({ id, reply: { ...rest } }: Answer): Answer {
  if (rest.kind === "content") delete (rest as { isAlone?: boolean }).isAlone;
  return { id, reply: rest };
}

function bytesOf({ head, payload }: Item): Buffer {
  return Buffer.concat([head, ...payload]);
}

function again(type: protobuf.Type, message: Buffer): Buffer {
  return Buffer.from(type.encode(type.decode(message)).finish());
}
