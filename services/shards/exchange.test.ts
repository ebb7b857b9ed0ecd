import { setImmediate as turn } from "node:timers/promises";
import { pino } from "pino";
import { describe, expect, test } from "vitest";
import { type Answer, decodeAnswers, type Reply } from "#shards/answer-wire.ts";
import { ByteBudget } from "#shards/byte-budget.ts";
import { checksummedBlock } from "#shards/digest.ts";
import { Exchange } from "#shards/exchange.ts";
import { MemoryShardStore } from "#shards/memory-shard-store.ts";
import type { Refusal } from "#shards/peer.ts";
import { RareLog } from "#shards/rare-log.ts";
import { encodeRequest, type Question, type Request } from "#shards/request-wire.ts";
import { ROLES, type Role } from "#shards/roles.ts";
import { ScrubCounts } from "#shards/scrub-counts.ts";
import { type SampleShard, sample, written } from "#shards/shard-store.contract.ts";
import { type Block, CHUNK_BYTES, type ShardStore } from "#shards/shard-store.ts";
import { HeldStore } from "#shards/testing/held-store.ts";
import { ManualClock } from "#shards/testing/manual-clock.ts";

const MIB = 1024 * 1024;
const DISK = "disk-1";

describe("a stream's requests", () => {
  test("are answered as they end, not as they came", async () => {
    const { held, stream } = holding();
    stream.ask(1, { kind: "verify", id: sample([]).id });
    stream.ask(2, { kind: "health" });
    await stream.settle();
    expect(stream.answers).toMatchObject([{ id: 2 }]);
    held.letGo();
    await stream.settle();
    expect(stream.answers).toMatchObject([{ id: 2 }, { id: 1 }]);
  });

  test("that come at once go out in few messages", async () => {
    const stream = new FakeStream();
    const requests: Request[] = [];
    for (let id = 1; id <= 60; id++) {
      requests.push({ id, disk: DISK, question: { kind: "stat", id: sample([]).id } });
    }
    stream.receive(...requests);
    await stream.settle();
    expect(stream.answers).toHaveLength(60);
    expect(stream.messages).toBe(1);
  });

  test("replayed or out of order end the stream, and nothing of them is done", async () => {
    for (const ids of [[1, 1], [2, 1], [0]]) {
      const stream = new FakeStream();
      let last = sample([10]);
      for (const id of ids) {
        last = sample([10]);
        stream.ask(id, putOf(last));
      }
      await stream.settle();
      expect(stream.refusal?.details).toContain("came after");
      expect(stream.lines()).toMatchObject([{ msg: "peer cut off", peer: "tester" }]);
      expect(await stream.store.stat(last.id, signal)).toBeUndefined();
    }
  });

  test("that are no messages end the stream", async () => {
    for (const bytes of [Buffer.from("nonsense"), Buffer.alloc(2000, 0xff)]) {
      const stream = new FakeStream();
      stream.exchange.receive(bytes);
      await stream.settle();
      expect(stream.refusal?.details).toContain("Cannot read");
      stream.ask(1, { kind: "health" });
      await stream.settle();
      expect(stream.answers).toEqual([]);
    }
  });

  test("too many in one message end the stream", () => {
    const stream = new FakeStream();
    const many = Array.from({ length: 257 }, (_, at) => ({
      id: at + 1,
      disk: DISK,
      question: { kind: "health" } as const,
    }));
    stream.receive(...many);
    expect(stream.refusal?.details).toContain("Too many");
  });

  test("of a role that may not are denied, with a line that says who", async () => {
    const stream = new FakeStream({ roles: ["gateway"] });
    const shard = await written(stream.store, [10]);
    stream.ask(1, { kind: "verify", id: shard.id });
    stream.ask(2, { ...putOf(sample([10])), forRepair: true });
    stream.ask(3, { kind: "stat", id: shard.id });
    await stream.settle();
    const denied = { kind: "fault", fault: "denied" };
    expect(stream.answers).toMatchObject([
      { id: 1, reply: denied },
      { id: 2, reply: denied },
      { id: 3, reply: { kind: "found" } },
    ]);
    expect(stream.lines()).toMatchObject([{ peer: "tester", address: "1.2.3.4:5" }]);
  });

  test("for a disk that is not here say so, and not that the shard is missing", async () => {
    const stream = new FakeStream();
    const question = { kind: "stat", id: sample([]).id } as const;
    stream.receive({ id: 1, disk: "other", question });
    await stream.settle();
    expect(stream.answers).toMatchObject([{ reply: { kind: "fault", fault: "unavailable" } }]);
  });

  test("that are cancelled stop at the store", async () => {
    const { held, stream } = holding();
    stream.ask(1, { kind: "verify", id: sample([]).id });
    stream.ask(2, { kind: "cancel", request: 1 });
    expect(held.aborted).toEqual(["verify"]);
    held.letGo();
    await stream.settle();
    expect(stream.answers).toMatchObject([{ id: 1, reply: { kind: "fault" } }]);
    expect(stream.budget.used).toBe(0);
  });

  test("under way when the stream goes stop at the store, and hold no memory", async () => {
    const { held, stream } = holding();
    stream.ask(1, putOf(sample([100_000])));
    stream.ask(2, { kind: "read", id: sample([]).id, offset: 0, length: MIB });
    expect(stream.budget.used).toBeGreaterThan(MIB);
    await stream.exchange.close(new Error("gone"));
    expect(held.aborted).toEqual(["put", "read"]);
    expect(stream.budget.used).toBe(0);
    held.letGo();
    await stream.settle();
    expect(stream.budget.used).toBe(0);
    expect(stream.answers).toEqual([]);
  });
});

describe("blocks", () => {
  test("whose checksums do not hold are not acknowledged, and nothing is kept", async () => {
    const stream = new FakeStream();
    const shard = sample([3 * CHUNK_BYTES]);
    const put = putOf(shard);
    const { checksums } = put.block;
    stream.ask(1, { ...put, block: { ...put.block, checksums: checksums.map((one) => one ^ 1) } });
    stream.ask(2, { ...put, block: { ...put.block, checksums: checksums.slice(1) } });
    await stream.settle();
    expect(stream.answers).toMatchObject([
      { id: 1, reply: { fault: "unavailable", message: expect.stringContaining("damaged") } },
      { id: 2, reply: { fault: "range" } },
    ]);
    expect(await stream.store.stat(shard.id, signal)).toBeUndefined();
  });

  test("out of turn end their write, which leaves nothing", async () => {
    for (const numbers of [[1], [0, 0], [0, 2]]) {
      const stream = new FakeStream();
      const shard = sample([10, 10, 10]);
      stream.ask(1, { kind: "open", id: shard.id, forRepair: false });
      numbers.forEach((number, at) =>
        stream.ask(2 + at, { kind: "append", write: 1, number, block: shard.blocks[0] as Block }),
      );
      stream.ask(9, { kind: "seal", write: 1, blocks: numbers.length, seal: shard.seal });
      await stream.settle();
      expect(stream.replyTo(9)).toMatchObject({ fault: "out-of-turn" });
      expect(stream.lines()[0]).toMatchObject({ peer: "tester" });
      expect(await stream.store.stat(shard.id, signal)).toBeUndefined();
    }
  });

  test("that one is missing of cannot be sealed", async () => {
    const stream = new FakeStream();
    const shard = sample([10]);
    stream.ask(1, { kind: "open", id: shard.id, forRepair: false });
    stream.ask(2, { kind: "append", write: 1, number: 0, block: shard.blocks[0] as Block });
    stream.ask(3, { kind: "seal", write: 1, blocks: 2, seal: shard.seal });
    await stream.settle();
    expect(stream.replyTo(3)).toMatchObject({ fault: "out-of-turn" });
    expect(await stream.store.stat(shard.id, signal)).toBeUndefined();
  });

  test("of a write that failed at the disk are never sealed", async () => {
    const stream = new FakeStream({ store: new MemoryShardStore({ capacity: 15 }) });
    const shard = sample([10, 10]);
    stream.ask(1, { kind: "open", id: shard.id, forRepair: false });
    shard.blocks.forEach((block, number) =>
      stream.ask(2 + number, { kind: "append", write: 1, number, block }),
    );
    stream.ask(4, { kind: "seal", write: 1, blocks: 2, seal: shard.seal });
    await stream.settle();
    const full = { reply: { fault: "full" } };
    expect(stream.answers.slice(2)).toMatchObject([
      { id: 3, ...full },
      { id: 4, ...full },
    ]);
    expect(await stream.store.stat(shard.id, signal)).toBeUndefined();
  });

  test("of a writer that falls silent for 30 seconds are forgotten", async () => {
    const stream = new FakeStream();
    const shard = sample([10, 10]);
    const [first, second] = shard.blocks as [Block, Block];
    stream.ask(1, { kind: "open", id: shard.id, forRepair: false });
    stream.clock.pass(29_000);
    stream.ask(2, { kind: "append", write: 1, number: 0, block: first });
    await stream.settle();
    stream.clock.pass(29_000);
    await stream.exchange.tend();
    stream.ask(3, { kind: "append", write: 1, number: 1, block: second });
    await stream.settle();
    expect(stream.answers.at(-1)).toMatchObject({ id: 3, reply: { kind: "done" } });
    stream.clock.pass(30_001);
    await stream.exchange.tend();
    stream.ask(4, { kind: "seal", write: 1, blocks: 2, seal: shard.seal });
    await stream.settle();
    expect(stream.answers.at(-1)).toMatchObject({ id: 4, reply: { fault: "out-of-turn" } });
    expect(stream.lines()[0]).toMatchObject({ msg: expect.stringContaining("silent peer") });
    expect(await stream.store.stat(shard.id, signal)).toBeUndefined();
  });

  test("half written when the stream goes are forgotten", async () => {
    const { held, stream } = holding();
    const shard = sample([10]);
    stream.ask(1, { kind: "open", id: shard.id, forRepair: false });
    stream.ask(2, { kind: "append", write: 1, number: 0, block: shard.blocks[0] as Block });
    const closing = stream.exchange.close(new Error("gone"));
    held.letGo();
    await closing;
    expect(held.aborted).toEqual(["append", "writer"]);
  });
});

describe("memory", () => {
  test("of answers that a slow peer does not take stays bounded, and others are served", async () => {
    const budget = new ByteBudget(24 * MIB);
    const store = new MemoryShardStore({ diskId: DISK });
    const shard = await written(store, [4 * MIB]);
    const slow = new FakeStream({ store, budget, isSlow: true });
    const read = { kind: "read", id: shard.id, offset: 0, length: 4 * MIB } as const;
    for (let id = 1; id <= 50; id++) slow.ask(id, read);
    await slow.settle();
    expect(budget.used).toBeLessThanOrEqual(17 * MIB);
    expect(slow.isPaused).toBe(true);

    const other = new FakeStream({ store, budget });
    for (let id = 1; id <= 10; id++) other.ask(id, read);
    await other.settle();
    expect(other.answers).toHaveLength(10);
    expect(other.isPaused).toBe(false);

    // As it takes them, the rest comes.
    while (slow.answers.length < 50) {
      slow.takeOne();
      await turn();
      expect(budget.used).toBeLessThanOrEqual(17 * MIB);
    }
    expect(slow.isPaused).toBe(false);
    slow.takeOne();
    expect(budget.used).toBe(0);
  });

  test("a peer that takes no answer for 30 seconds loses the stream", async () => {
    const stream = new FakeStream({ isSlow: true });
    stream.ask(1, { kind: "health" });
    await stream.settle();
    stream.clock.pass(29_000);
    await stream.exchange.tend();
    expect(stream.refusal).toBeUndefined();
    stream.clock.pass(2000);
    await stream.exchange.tend();
    expect(stream.refusal?.details).toContain("No answer was taken");
  });

  test("of blocks that wait for the disk stops the stream until there is room", async () => {
    const { held, stream } = holding();
    const block = checksummedBlock([Buffer.alloc(4 * MIB)]);
    for (let id = 1; !stream.isPaused; id++) {
      stream.ask(id, { ...putOf(sample([])), block });
      expect(id).toBeLessThan(6);
    }
    expect(stream.budget.used).toBeGreaterThan(16 * MIB);
    held.letGo();
    await stream.settle();
    expect(stream.isPaused).toBe(false);
    expect(stream.budget.used).toBe(0);
  });

  test("when all streams together are full each still gets on, one request at a time", async () => {
    const budget = new ByteBudget(8 * MIB);
    const store = new MemoryShardStore({ diskId: DISK });
    const shard = await written(store, [4 * MIB]);
    const read = { kind: "read", id: shard.id, offset: 0, length: 4 * MIB } as const;
    const streams = [1, 2, 3, 4].map(() => new FakeStream({ store, budget, isSlow: true }));
    for (let id = 1; id <= 5; id++) for (const stream of streams) stream.ask(id, read);
    for (const stream of streams) await stream.settle();
    expect(streams.map(({ answers }) => answers.length)).toEqual([1, 1, 1, 1]);
    while (streams.some(({ answers }) => answers.length < 5)) {
      for (const stream of streams) stream.takeOne();
      await turn();
      expect(budget.used).toBeLessThanOrEqual(streams.length * 5 * MIB);
    }
    for (const stream of streams) stream.takeOne();
    expect(budget.used).toBe(0);
  });
});

const { signal } = new AbortController();

function holding(): { held: HeldStore; stream: FakeStream } {
  const held = new HeldStore(new MemoryShardStore({ diskId: DISK }));
  return { held, stream: new FakeStream({ store: held.store }) };
}

function putOf({ id, seal, blocks }: SampleShard) {
  const block = blocks[0] as Block;
  return { kind: "put", id, seal, forRepair: false, block } as const satisfies Question;
}

interface FakeOptions {
  readonly store?: ShardStore;
  readonly budget?: ByteBudget;
  readonly roles?: readonly Role[];
  /** Messages are taken only by `takeOne`. */
  readonly isSlow?: boolean;
}

/** A node's stream without the network. */
class FakeStream {
  readonly clock = new ManualClock();
  readonly budget: ByteBudget;
  readonly store: ShardStore;
  readonly exchange: Exchange;
  readonly answers: Answer[] = [];
  refusal: Refusal | undefined;
  messages = 0;
  isPaused = false;
  readonly #lines: string[] = [];
  readonly #isSlow: boolean;
  #done: (() => void) | undefined;

  constructor(options: FakeOptions = {}) {
    const { budget = new ByteBudget(128 * MIB), roles = ROLES, isSlow = false } = options;
    this.budget = budget;
    this.store = options.store ?? new MemoryShardStore({ diskId: DISK });
    this.#isSlow = isSlow;
    const log = pino({ base: null }, { write: (line: string) => void this.#lines.push(line) });
    this.exchange = new Exchange(
      {
        stores: new Map([[DISK, this.store]]),
        scrubs: new ScrubCounts(this.clock),
        nodeId: "node-1",
        clock: this.clock,
        log: new RareLog(log, this.clock),
        peer: { name: "tester", address: "1.2.3.4:5", roles },
        budget,
        end: (refusal) => {
          this.refusal ??= refusal;
          void this.exchange.close(new Error(refusal.details));
        },
      },
      {
        write: (message, done) => this.#written(message as Sent, done),
        pause: () => {
          this.isPaused = true;
        },
        resume: () => {
          this.isPaused = false;
        },
      },
    );
  }

  ask(id: number, question: Question): void {
    this.receive({ id, disk: DISK, question });
  }

  receive(...requests: readonly Request[]): void {
    const items = requests.map((request) => encodeRequest(request));
    const bytes = items.flatMap(({ head, payload }) => [head, ...payload]);
    this.exchange.receive(Buffer.concat(bytes));
  }

  replyTo(id: number): Reply | undefined {
    return this.answers.find((answer) => answer.id === id)?.reply;
  }

  takeOne(): void {
    const done = this.#done;
    this.#done = undefined;
    done?.();
  }

  async settle(): Promise<void> {
    for (let turns = 0; turns < 50; turns++) await turn();
  }

  lines(): unknown[] {
    return this.#lines.map((line) => JSON.parse(line) as unknown);
  }

  #written(message: Sent, done: () => void): void {
    const bytes = Buffer.alloc(message.length);
    message.copy(bytes, 0);
    this.messages += 1;
    this.answers.push(...decodeAnswers(bytes));
    this.#done = done;
    if (!this.#isSlow) setImmediate(() => this.takeOne());
  }
}

interface Sent {
  readonly length: number;
  copy(target: Buffer, start: number): number;
}
