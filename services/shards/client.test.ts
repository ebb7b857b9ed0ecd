import { setTimeout as pause } from "node:timers/promises";
import { Client, compressionAlgorithms, credentials, status as Status } from "@grpc/grpc-js";
import { pino } from "pino";
import { describe, expect, test, vi } from "vitest";
import type { Reply } from "#shards/answer-wire.ts";
import { checksummedBlock } from "#shards/digest.ts";
import { FarShardStore } from "#shards/far-store.ts";
import { MemoryShardStore } from "#shards/memory-shard-store.ts";
import { helloTo } from "#shards/peer.ts";
import { encodeRequest } from "#shards/request-wire.ts";
import { MESSAGE_BYTES_MAX, SHARDS_SERVICE } from "#shards/service.ts";
import { sample, shardStoreContract, written } from "#shards/shard-store.contract.ts";
import {
  type Block,
  CHUNK_BYTES,
  ShardCorrupt,
  type ShardId,
  ShardMissing,
  type ShardStore,
  ShardStoreFull,
  ShardStoreUnavailable,
} from "#shards/shard-store.ts";
import { connectTo, IDENTITY, openFarNode, serveStore } from "#shards/testing/far-node.ts";
import { HeldStore } from "#shards/testing/held-store.ts";
import { TcpProxy } from "#shards/testing/tcp-proxy.ts";
import { openStore, temporaryDisk } from "#storage/testing/stores.ts";

const MIB = 1024 * 1024;
const asIs = (message: Buffer) => message;
const { signal } = new AbortController();

shardStoreContract("far, in memory", async () => {
  const node = await openFarNode();
  return owning(node.far, node);
});

shardStoreContract("far, on a disk", async () => {
  const end = new AsyncDisposableStack();
  const { disk } = end.use(await temporaryDisk());
  const store = end.use(await openStore(disk));
  const node = end.use(await openFarNode({ store }));
  return owning(node.far, { [Symbol.asyncDispose]: () => end.disposeAsync() });
});

describe("a far disk", () => {
  test("fails with the errors of the disk itself", async () => {
    await using node = await openFarNode({ store: new MemoryShardStore({ capacity: 200_000 }) });
    const { far, near } = node;
    const shard = await written(near, [100_000]);
    near.corrupt(shard.id, 70_000);
    const range = { offset: 70_000, length: 1 };
    await expect(far.read(shard.id, range, { signal })).rejects.toThrow(ShardCorrupt);
    expect(await far.verify(shard.id, signal)).toBe("bad");
    const other = sample([100_001]);
    const put = far.put(other.id, { block: other.blocks[0], seal: other.seal }, { signal });
    await expect(put).rejects.toThrow(ShardStoreFull);
    const options = { signal, forRepair: true };
    await far.put(other.id, { block: other.blocks[0], seal: other.seal }, options);
    near.fault = new Error("unplugged");
    const error = await far.stat(shard.id, signal).catch((caught: Error) => caught);
    expect(error).toBeInstanceOf(ShardStoreUnavailable);
    expect(error).not.toBeInstanceOf(ShardStoreFull);
    expect(await far.health()).toMatchObject({ state: "failed", reason: "unplugged" });
  });

  test("that is full says so from append or seal, and leaves nothing", async () => {
    await using node = await openFarNode({ store: new MemoryShardStore({ capacity: 250_000 }) });
    const shard = sample([100_000, 100_000, 100_000, 100_000]);
    const writer = node.far.write(shard.id, { signal });
    const all = async () => {
      for (const block of shard.blocks) await writer.append(block);
      await writer.seal(shard.seal);
    };
    await expect(all()).rejects.toThrow(ShardStoreFull);
    await writer.abort();
    expect(await node.near.stat(shard.id, signal)).toBeUndefined();
  });

  test("counts what was scrubbed, and takes orders", async () => {
    const orders: boolean[] = [];
    const control = { setDraining: async (isDraining: boolean) => void orders.push(isDraining) };
    await using node = await openFarNode({ control });
    const [good, bad] = [await written(node.near, [10]), await written(node.near, [10])];
    node.near.corrupt(bad.id);
    for (const { id } of [good, bad, sample([])]) await node.far.verify(id, signal);
    const { disks, ...said } = await node.node.control.status(signal);
    expect(said).toEqual({ ...IDENTITY, version: "1.2.3", state: "ready", startedMs: 5 });
    expect(disks).toMatchObject([
      { diskId: node.near.diskId, health: { state: "writable" }, scrub: { verified: 2, bad: 1 } },
    ]);
    await node.node.control.setDraining(true, signal);
    await node.node.control.setDraining(false, signal);
    expect(orders).toEqual([true, false]);
  });

  test("lists more than one answer holds, page by page", async () => {
    await using node = await openFarNode();
    for (let at = 0; at < 5; at++) {
      const shard = sample([1]);
      const seal = { ...shard.seal, about: Buffer.alloc(900_000, "a") };
      await node.near.put(shard.id, { block: shard.blocks[0], seal }, { signal });
    }
    const sizes: number[] = [];
    let page = await node.far.list({ limit: 10 }, signal);
    for (;;) {
      sizes.push(page.shards.length);
      if (!page.next) break;
      page = await node.far.list({ limit: 10, after: page.next }, signal);
    }
    expect(sizes).toEqual([2, 2, 1]);
  });

  test("reads what was written through the memory given, while the writer's pieces are used again", async () => {
    await using node = await openFarNode();
    const shard = sample([MIB, MIB, MIB, 5]);
    const writer = node.far.write(shard.id, { signal });
    const memory = Buffer.alloc(MIB);
    for (const block of shard.blocks) {
      const bytes = Buffer.concat(block.pieces);
      bytes.copy(memory);
      await writer.append({ ...block, pieces: [memory.subarray(0, bytes.length)] });
      memory.fill(0);
    }
    await writer.seal(shard.seal);
    const into = Buffer.alloc(2 * MIB);
    const range = { offset: MIB, length: 2 * MIB };
    const got = await node.far.read(shard.id, range, { signal, into });
    expect(got.buffer).toBe(into.buffer);
    expect(shard.bytes.subarray(MIB, 3 * MIB).equals(got)).toBe(true);
  });

  test("whose answer is not what it was asked for is not believed, and not taken for corrupt", async () => {
    const right = checksummedBlock([Buffer.alloc(CHUNK_BYTES + 1, 7)]);
    const bytes = Buffer.concat(right.pieces);
    const damaged = Buffer.from(bytes);
    damaged[CHUNK_BYTES] = 8;
    const answers: Reply[] = [
      { kind: "content", bytes: damaged, checksums: right.checksums },
      { kind: "content", bytes: bytes.subarray(1), checksums: right.checksums },
      { kind: "content", bytes, checksums: right.checksums.subarray(1) },
      { kind: "done" },
      { kind: "found", info: undefined },
    ];
    for (const reply of answers) {
      const wrong: string[] = [];
      const store = new FarShardStore({
        diskId: "disk",
        nodeId: "node-1",
        stream: () => ({ ask: () => ({ id: 1, reply: Promise.resolve(reply) }) }) as never,
        onWrongAnswer: (what) => wrong.push(what),
      });
      const read = store.read(sample([]).id, { offset: 0, length: bytes.length }, { signal });
      await expect(read).rejects.toThrow(ShardStoreUnavailable);
      expect(wrong).toHaveLength(1);
    }
  });
});

describe("a connection", () => {
  test("is made when it is needed, and says since when it is up", async () => {
    await using node = await openFarNode();
    expect(node.node.state.kind).toBe("idle");
    expect(node.server.load.streams).toBe(0);
    await node.far.health();
    expect(node.node.state.kind).toBe("up");
    expect(node.server.load.streams).toBe(1);
  });

  test("to nobody fails at once, time after time, and is up again once the node is", async () => {
    const store = new MemoryShardStore();
    const first = await serveStore(store);
    const { port } = first;
    await first[Symbol.asyncDispose]();
    await using node = connectTo(port);
    const far = node.store(store.diskId);
    for (let attempt = 0; attempt < 3; attempt++) {
      const started = performance.now();
      await expect(far.stat(sample([]).id, signal)).rejects.toThrow(ShardStoreUnavailable);
      expect(performance.now() - started).toBeLessThan(1900);
    }
    const { kind, sinceMs } = node.state;
    expect(kind).toBe("down");
    await using second = await serveStore(store, { port });
    await vi.waitFor(() => expect(node.state.kind).toBe("up"), { timeout: 10_000 });
    expect(node.state.sinceMs).toBeGreaterThan(sinceMs);
    expect(second.load.streams).toBeGreaterThan(0);
    expect(await far.stat(sample([]).id, signal)).toBeUndefined();
  });

  test("cut in the middle of a write leaves nothing, and the writer hears of it", async () => {
    await using node = await openFarNode();
    await using wire = await TcpProxy.open(node.server.port);
    await using connection = connectTo(wire.port);
    const far = connection.store(node.near.diskId);
    const shard = sample([MIB, MIB, MIB]);
    const [first, second, third] = shard.blocks as [Block, Block, Block];
    const writer = far.write(shard.id, { signal });
    await writer.append(first);
    await writer.append(second);
    expect(node.server.load.streams).toBeGreaterThan(0);
    wire.cut();
    const rest = async () => {
      await writer.append(third);
      await writer.seal(shard.seal);
    };
    await expect(rest()).rejects.toThrow(ShardStoreUnavailable);
    await writer.abort();
    // On the connection that came instead it is not gone on with by mistake.
    await vi.waitFor(async () => expect(await far.stat(shard.id, signal)).toBeUndefined());
    await expect(writer.append(third)).rejects.toThrow(/^The shard is (sealed|aborted)/);
    expect(await node.near.stat(shard.id, signal)).toBeUndefined();
    await vi.waitFor(() => expect(node.server.load.bytes).toBe(0));
  });

  test("to a node that is killed ends reads within a moment, and never as missing", async () => {
    const store = new MemoryShardStore();
    const held = new HeldStore(store);
    await using node = await openFarNode({ store: held.store });
    await using wire = await TcpProxy.open(node.server.port);
    await using connection = connectTo(wire.port);
    const far = connection.store(store.diskId);
    const reads = [10, MIB].map(async (length) => {
      const shard = sample([]);
      return far.read(shard.id, { offset: 0, length }, { signal }).catch((error: Error) => error);
    });
    await vi.waitFor(() => expect(held.started).toEqual(["read", "read"]));
    wire.cut();
    for (const error of await Promise.all(reads)) {
      expect(error).toBeInstanceOf(ShardStoreUnavailable);
      expect(error).not.toBeInstanceOf(ShardMissing);
    }
    await vi.waitFor(() => expect(held.aborted).toEqual(["read", "read"]));
    held.letGo();
  });

  test("on which nothing passes any more is given up within seconds", async () => {
    await using node = await openFarNode();
    await using wire = await TcpProxy.open(node.server.port);
    await using connection = connectTo(wire.port);
    const far = connection.store(node.near.diskId);
    await far.health();
    wire.hold();
    const started = performance.now();
    await expect(far.stat(sample([]).id, signal)).rejects.toThrow(ShardStoreUnavailable);
    expect(performance.now() - started).toBeLessThan(8000);
    expect(connection.state.kind).toBe("down");
  });

  test("closed while requests are on their way fails them", async () => {
    const held = new HeldStore(new MemoryShardStore());
    await using node = await openFarNode({ store: held.store });
    const verify = node.far.verify(sample([]).id, signal).catch((error: Error) => error);
    await vi.waitFor(() => expect(held.started).toEqual(["verify"]));
    await node.node[Symbol.asyncDispose]();
    expect(await verify).toBeInstanceOf(ShardStoreUnavailable);
    await expect(node.far.health()).rejects.toThrow("closed");
    held.letGo();
  });

  test("of a node that stops ends after what was asked is answered", async () => {
    const held = new HeldStore(new MemoryShardStore());
    await using node = await openFarNode({ store: held.store });
    const shard = sample([10]);
    const put = node.far.put(shard.id, { block: shard.blocks[0], seal: shard.seal }, { signal });
    await vi.waitFor(() => expect(held.started).toEqual(["put"]));
    const stopping = node.server[Symbol.asyncDispose]();
    held.letGo();
    await put;
    await stopping;
    await vi.waitFor(() => expect(node.node.state.kind).toBe("down"));
  });
});

describe("a request that its caller gives up", () => {
  test("ends at once when it changes nothing, and stops at the node", async () => {
    const held = new HeldStore(new MemoryShardStore());
    await using node = await openFarNode({ store: held.store });
    const aborter = new AbortController();
    const requests = [
      node.far.read(sample([]).id, { offset: 0, length: 4 * MIB }, { signal: aborter.signal }),
      node.far.verify(sample([]).id, aborter.signal),
    ];
    await vi.waitFor(() => expect(held.started).toHaveLength(2));
    expect(node.server.load.bytes).toBeGreaterThan(4 * MIB);
    aborter.abort(new Error("client is gone"));
    for (const request of requests) await expect(request).rejects.toThrow("client is gone");
    await vi.waitFor(() => expect(held.aborted.toSorted()).toEqual(["read", "verify"]));
    held.letGo();
    await vi.waitFor(() => expect(node.server.load.bytes).toBe(0));
    // The late answers to them are no breach of the protocol.
    expect(await node.far.health()).toMatchObject({ state: "writable" });
    expect(node.node.state.kind).toBe("up");
  });

  test("is waited for when it changes the disk, so that nothing of it comes later", async () => {
    const held = new HeldStore(new MemoryShardStore());
    await using node = await openFarNode({ store: held.store });
    const aborter = new AbortController();
    const shard = sample([10]);
    const content = { block: shard.blocks[0], seal: shard.seal };
    let isSettled = false;
    const put = node.far
      .put(shard.id, content, { signal: aborter.signal })
      .finally(() => (isSettled = true));
    await vi.waitFor(() => expect(held.started).toEqual(["put"]));
    aborter.abort(new Error("client is gone"));
    await pause(100);
    expect(isSettled).toBe(false);
    held.letGo();
    await expect(put).rejects.toThrow("client is gone");
    expect(held.aborted).toEqual(["put"]);
  });

  test("is not waited for longer than a moment at a disk that hangs", async () => {
    const held = new HeldStore(new MemoryShardStore());
    await using node = await openFarNode({ store: held.store });
    const aborter = new AbortController();
    const { id, blocks, seal } = sample([10]);
    const put = node.far.put(id, { block: blocks[0], seal }, { signal: aborter.signal });
    await vi.waitFor(() => expect(held.started).toEqual(["put"]));
    const started = performance.now();
    aborter.abort(new Error("client is gone"));
    await expect(put).rejects.toThrow("client is gone");
    expect(performance.now() - started).toBeLessThan(5000);
    held.letGo();
  });

  test("never began when the signal had aborted before", async () => {
    await using node = await openFarNode();
    const aborted = AbortSignal.abort(new Error("client is gone"));
    await expect(node.far.stat(sample([]).id, aborted)).rejects.toThrow("client is gone");
    expect(node.node.state.kind).toBe("idle");
  });
});

describe("a hostile caller", () => {
  test("that sends what is too long, or no message, or too much compressed is cut off, and others are served", async () => {
    const lines: string[] = [];
    const log = pino({}, { write: (line: string) => void lines.push(line) });
    await using node = await openFarNode({ log });
    const attempts = [
      {
        bytes: Buffer.alloc(MESSAGE_BYTES_MAX + 1),
        compression: compressionAlgorithms.identity,
        code: Status.RESOURCE_EXHAUSTED,
      },
      {
        bytes: Buffer.alloc(200 * MIB),
        compression: compressionAlgorithms.gzip,
        code: Status.RESOURCE_EXHAUSTED,
      },
      {
        bytes: Buffer.from("what is this"),
        compression: compressionAlgorithms.identity,
        code: Status.INVALID_ARGUMENT,
      },
    ];
    for (const { bytes, compression, code } of attempts) {
      expect(await endOf(node.server.port, bytes, compression)).toBe(code);
    }
    expect(await node.far.health()).toMatchObject({ state: "writable" });
    await vi.waitFor(() => expect(node.server.load).toEqual({ streams: 1, bytes: 0 }));
    expect(lines.map((line) => JSON.parse(line) as object)).toContainEqual(
      expect.objectContaining({ msg: "peer cut off", peer: "a stranger" }),
    );
  });

  test("that does not read holds no more memory than a stream may", async () => {
    await using node = await openFarNode();
    const shard = await written(node.near, [4 * MIB]);
    const client = new Client(`127.0.0.1:${node.server.port}`, credentials.createInsecure(), {
      "grpc.max_receive_message_length": -1,
    });
    const { path } = SHARDS_SERVICE.exchange;
    const call = client.makeBidiStreamRequest(path, asIs, asIs, helloTo(IDENTITY, "a stranger"));
    call.on("error", () => undefined);
    call.pause();
    for (let id = 1; id <= 100; id++) call.write(readRequest(node.near, shard.id, id));
    await vi.waitFor(() => expect(node.server.load.bytes).toBeGreaterThan(8 * MIB));
    await pause(300);
    expect(node.server.load.bytes).toBeLessThan(21 * MIB);
    call.cancel();
    await vi.waitFor(() => expect(node.server.load.bytes).toBe(0));
    client.close();
  });
});

/** A store whose end is that of its whole node. */
function owning(store: ShardStore, node: AsyncDisposable): ShardStore {
  return Object.assign(store, { [Symbol.asyncDispose]: () => node[Symbol.asyncDispose]() });
}

function readRequest({ diskId }: ShardStore, id: ShardId, request: number): Buffer {
  const question = { kind: "read", id, offset: 0, length: 4 * MIB } as const;
  return encodeRequest({ id: request, disk: diskId, question }).head;
}

/** How a stream of one message ends. */
async function endOf(
  port: number,
  bytes: Buffer,
  compression: compressionAlgorithms,
): Promise<Status> {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
    "grpc.max_send_message_length": -1,
    "grpc.default_compression_algorithm": compression,
  });
  const { path } = SHARDS_SERVICE.exchange;
  const call = client.makeBidiStreamRequest(path, asIs, asIs, helloTo(IDENTITY, "a stranger"));
  const ended = Promise.withResolvers<Status>();
  call.on("error", () => undefined);
  call.on("data", () => undefined);
  call.on("status", ({ code }: { code: Status }) => ended.resolve(code));
  call.write(bytes);
  const code = await ended.promise;
  client.close();
  return code;
}
