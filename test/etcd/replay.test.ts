/** The memory driver against the real one: the same ten thousand random steps must have the same outcomes on both. */
import { isDeepStrictEqual } from "node:util";
import { expect, test } from "vitest";
import { SeededRandom } from "#lib/random.ts";
import type { EtcdMetadata } from "#metadata/etcd.ts";
import { MemoryMetadata } from "#metadata/memory.ts";
import type {
  Commit,
  CommitOutcome,
  Entry,
  MetadataStore,
  Session,
} from "#metadata/metadata-store.ts";
import { endSession, listSessions } from "#metadata/sessions.ts";
import { EtcdProcesses, hasEtcd } from "#metadata/testing/etcd-process.ts";
import { key } from "./support.ts";

const STEPS = 13_000;
const SEED = 20_261_127;
const KEYS = 12;

test.skipIf(!hasEtcd)(
  `${STEPS} random transactions, sessions, reads and compactions have the same outcomes in memory and on etcd`,
  async () => {
    await using etcd = await EtcdProcesses.start();
    await using far = await etcd.open();
    await using near = new MemoryMetadata();
    const replay = new Replay(near, far, new SeededRandom(SEED));
    for (let step = 0; step < STEPS; step++) await replay.step();
    await replay.compareAll();
    const { commits, conflicts, sessions, compactions } = replay;
    expect(commits + conflicts).toBeGreaterThan(10_000);
    expect(conflicts).toBeGreaterThan(1_000);
    expect(sessions).toBeGreaterThan(100);
    expect(compactions).toBeGreaterThan(20);
    process.stdout.write(
      `replayed: ${commits} committed, ${conflicts} conflicts, ${sessions} sessions, ${compactions} compactions\n`,
    );
  },
);

/** What one thing is in each of the stores. */
type Twin<T> = readonly [near: T, far: T];

class Replay {
  readonly #stores: Twin<MetadataStore>;
  readonly #far: EtcdMetadata;
  readonly #random: SeededRandom;
  /** Which revision on etcd is which in memory. */
  readonly #farRevisions = new Map<number, number>([[0, 0]]);
  #open: Twin<Session>[] = [];
  /** Ended ones, which commits still compare. */
  readonly #ended: Twin<Session>[] = [];
  commits = 0;
  conflicts = 0;
  sessions = 0;
  compactions = 0;

  constructor(near: MemoryMetadata, far: EtcdMetadata, random: SeededRandom) {
    this.#stores = [near, far];
    this.#far = far;
    this.#random = random;
  }

  async step(): Promise<void> {
    const dice = this.#random.fraction();
    if (dice < 0.8) await this.#commit();
    else if (dice < 0.88) await this.#range();
    else if (dice < 0.96) await this.#readMany();
    else if (dice < 0.997) await this.#session();
    else await this.#compact();
  }

  async compareAll(): Promise<void> {
    const all = { from: Buffer.of(0), to: key("s"), limit: 100 };
    const [near, far] = await this.#both((store) => store.range(all));
    this.#compare(near.entries, far.entries);
    const [some, same] = await this.#both(async (store) => (await listSessions(store)).length);
    mustEqual(some, same);
  }

  async #commit(): Promise<void> {
    const names = Array.from({ length: KEYS }, (_, number) => `k${number}`);
    const changed = names.filter(() => this.#random.fraction() < 0.15);
    const expected = names.filter(() => this.#random.fraction() < 0.15);
    const removed = changed.filter(() => this.#random.fraction() < 0.3);
    const put = changed.filter((name) => !removed.includes(name));
    const current = await this.#stores[0].getMany(expected.map(key));
    const isStale = this.#random.fraction() < 0.2;
    const value = this.#random.bytes(Math.floor(this.#random.fraction() * 40));
    const session = this.#pick(this.#random.fraction() < 0.9 ? this.#open : this.#ended);
    const commitOn = (side: 0 | 1): Commit => {
      const compared = expected.map((name, place) => {
        const revision = isStale ? 0 : (current[place]?.revision ?? 0);
        return { key: key(name), revision: side === 0 ? revision : this.#farOf(revision) };
      });
      const own = session === undefined ? [] : [session[side].expectation()];
      return {
        expect: [...compared, ...own],
        put: put.map((name) => ({ key: key(name), value })),
        remove: removed.map(key),
      };
    };
    const [near, far] = await Promise.all([
      this.#stores[0].commit(commitOn(0)),
      this.#stores[1].commit(commitOn(1)),
    ]);
    mustEqual(near.kind, far.kind);
    this.#note(near, far, put.length > 0);
  }

  #note(near: CommitOutcome, far: CommitOutcome, hasPut: boolean): void {
    if (near.kind === "conflict" && far.kind === "conflict") {
      this.conflicts += 1;
      this.#compare(near.current.filter(isShared), far.current.filter(isShared));
      return;
    }
    if (near.kind !== "committed" || far.kind !== "committed") return;
    this.commits += 1;
    if (hasPut) this.#farRevisions.set(near.revision, far.revision);
  }

  async #range(): Promise<void> {
    const [one, other] = [this.#random.fraction(), this.#random.fraction()].map(
      (fraction) => `k${Math.floor(fraction * KEYS)}`,
    );
    const request = {
      from: key(one ?? ""),
      to: key(other ?? ""),
      limit: Math.floor(this.#random.fraction() * 6),
      reverse: this.#random.fraction() < 0.5,
    };
    const [near, far] = await this.#both((store) => store.range(request));
    mustEqual(near.more, far.more);
    this.#compare(near.entries, far.entries);
  }

  async #readMany(): Promise<void> {
    const names = Array.from({ length: 5 }, () =>
      key(`k${Math.floor(this.#random.fraction() * KEYS)}`),
    );
    const [near, far] = await this.#both((store) => store.getMany(names));
    this.#compare(near, far);
  }

  /** Opens one, renews one, publishes for one, closes one, or lets one be taken for dead. */
  async #session(): Promise<void> {
    const session = this.#pick(this.#open);
    const dice = this.#random.fraction();
    if (session === undefined || dice < 0.3) {
      this.sessions += 1;
      this.#open.push(await this.#both((store) => store.session()));
      return;
    }
    if (dice < 0.55) {
      await Promise.all(session.map((side) => side.renew()));
      return;
    }
    if (dice < 0.75) {
      await Promise.all(session.map((side) => side.publishLowWater(this.commits)));
      return;
    }
    this.#open = this.#open.filter((other) => other !== session);
    if (this.#ended.push(session) > 20) this.#ended.shift();
    if (dice < 0.85) {
      await Promise.all(session.map((side) => side[Symbol.asyncDispose]()));
      return;
    }
    await Promise.all(
      session.map((side, place) => endSession(this.#stores[place === 0 ? 0 : 1], side.id)),
    );
    const renewals = await Promise.allSettled(session.map((side) => side.renew()));
    mustEqual(
      renewals.map(({ status }) => status),
      ["rejected", "rejected"],
    );
    mustEqual(
      session.map(({ lost }) => lost.aborted),
      [true, true],
    );
  }

  async #compact(): Promise<void> {
    this.compactions += 1;
    await this.#far.compact(await this.#far.currentRevision());
  }

  #pick<T>(from: readonly T[]): T | undefined {
    return from[Math.floor(this.#random.fraction() * from.length)];
  }

  #both<T>(ask: (store: MetadataStore) => Promise<T>): Promise<[T, T]> {
    return Promise.all([ask(this.#stores[0]), ask(this.#stores[1])]);
  }

  #farOf(revision: number): number {
    return this.#farRevisions.get(revision) ?? -1;
  }

  #compare(near: readonly (Entry | undefined)[], far: readonly (Entry | undefined)[]): void {
    const nearly = near.map(
      (entry) => entry && [text(entry.key), text(entry.value), this.#farOf(entry.revision)],
    );
    mustEqual(
      nearly,
      far.map((entry) => entry && [text(entry.key), text(entry.value), entry.revision]),
    );
  }
}

function mustEqual(near: unknown, far: unknown): void {
  if (isDeepStrictEqual(near, far)) return;
  throw new Error(`In memory ${JSON.stringify(near)}, on etcd ${JSON.stringify(far)}`);
}

/** Sessions have keys of their own in each store. */
function isShared(entry: Entry | undefined): boolean {
  return entry?.key[0] !== 0x73;
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1");
}
