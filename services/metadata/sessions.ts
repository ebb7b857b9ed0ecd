/**
 * Sessions as keys. Who ends a dead process's session is said at each driver: on etcd a lease does.
 *
 *     session/<id>             exists as long as the process may have commits under way; its revision is compared by them
 *     session-settled/<id>     the low-water mark: sequence numbers below it are settled (R9 b)
 *
 * The mark has a key of its own, because publishing it must not change the revision that commits on their way
 * compare: it is published often, and each time would fail them all. Both keys are made and removed in one commit.
 */
import { type Random, systemRandom } from "#lib/random.ts";
import { afterKey, afterPrefix, asBuffer } from "#metadata/keys.ts";
import {
  COMMIT_OPERATIONS_MAX,
  type CommitOutcome,
  type Expectation,
  type MetadataStore,
  type Put,
  type Session,
} from "#metadata/metadata-store.ts";

/** The session's key is gone: this process was taken for dead, and nothing it still has under way can be committed. */
export class SessionEnded extends Error {
  override readonly name = "SessionEnded";
}

/** A session as garbage collection sees it. */
export interface SessionState {
  readonly id: string;
  /** Every sequence number below is settled. */
  readonly lowWater: number;
}

const SESSION_PREFIX = Buffer.from("session/");
const SETTLED_PREFIX = Buffer.from("session-settled/");
const ID_BYTES = 16;
const MARK_BYTES = 8;
const SESSIONS_PAGE = 100;

/** What a session needs of the store; a driver may keep the session's keys in a way of its own. */
export type SessionKeys = Pick<MetadataStore, "get" | "commit">;

export async function openSession(
  store: SessionKeys,
  signal?: AbortSignal,
  random: Random = systemRandom,
): Promise<Session> {
  const id = random.bytes(ID_BYTES).toString("hex");
  const outcome = await store.commit(
    {
      expect: [{ key: sessionKey(id), revision: 0 }],
      put: [
        { key: sessionKey(id), value: Buffer.alloc(0) },
        { key: settledKey(id), value: markOf(0) },
      ],
      remove: [],
      isEssential: true,
    },
    signal,
  );
  if (outcome.kind === "conflict") throw new Error(`Cannot open session ${id}: it exists`);
  return new StoredSession(store, id, outcome.revision);
}

/**
 * Every session whose key exists, with its mark. Whoever decides by absence from this list lists the shards first:
 * a session that opens after this read may own shards written after it, but none that were listed before.
 */
export async function listSessions(
  store: MetadataStore,
  signal?: AbortSignal,
): Promise<readonly SessionState[]> {
  const sessions: SessionState[] = [];
  // Marks first: one that is read before its session's key can only be too low, never too high.
  const marks = new Map<string, number>();
  for await (const { key, value } of entriesUnder(store, SETTLED_PREFIX, signal)) {
    marks.set(idOf(key, SETTLED_PREFIX), asBuffer(value).readUIntBE(2, 6));
  }
  for await (const { key } of entriesUnder(store, SESSION_PREFIX, signal)) {
    const id = idOf(key, SESSION_PREFIX);
    sessions.push({ id, lowWater: marks.get(id) ?? 0 });
  }
  return sessions;
}

/** Removes the session of a process that is known to be dead: reaped by its parent, or of an earlier boot. */
export async function endSession(store: SessionKeys, id: string): Promise<void> {
  await store.commit({ expect: [], put: [], remove: [sessionKey(id), settledKey(id)] });
}

/** On a new boot, before any process of it has a session. */
export async function endAllSessions(store: MetadataStore): Promise<void> {
  for (const prefix of [SESSION_PREFIX, SETTLED_PREFIX]) {
    const keys: Uint8Array[] = [];
    for await (const { key } of entriesUnder(store, prefix)) keys.push(key);
    for (let start = 0; start < keys.length; start += COMMIT_OPERATIONS_MAX) {
      const remove = keys.slice(start, start + COMMIT_OPERATIONS_MAX);
      await store.commit({ expect: [], put: [], remove });
    }
  }
}

class StoredSession implements Session {
  readonly id: string;
  readonly #store: SessionKeys;
  readonly #key: Uint8Array;
  readonly #lost = new AbortController();
  #expectation: Expectation;
  /** Renewals and marks one after another: a mark must compare the newest revision. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(store: SessionKeys, id: string, revision: number) {
    this.#store = store;
    this.id = id;
    this.#key = sessionKey(id);
    this.#expectation = { key: this.#key, revision };
  }

  expectation(): Expectation {
    return this.#expectation;
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  renew(signal?: AbortSignal): Promise<void> {
    return this.#inTurn(async () => {
      for (;;) {
        // Read, not remembered: an earlier renewal whose outcome could not be learnt may have landed.
        const current = await this.#store.get(this.#key, signal);
        if (current === undefined) throw this.#ended("renew", true);
        const put = [{ key: this.#key, value: Buffer.alloc(0) }];
        const outcome = await this.#commitAt(current.revision, put, signal);
        if (outcome.kind === "committed") {
          this.#expectation = { key: this.#key, revision: outcome.revision };
          return;
        }
      }
    });
  }

  publishLowWater(sequence: number, signal?: AbortSignal): Promise<void> {
    return this.#inTurn(async () => {
      for (;;) {
        const outcome = await this.#publishOnce(sequence, signal);
        if (outcome.kind === "committed") return;
        const [session] = outcome.current;
        if (session?.revision === this.#expectation.revision) continue;
        throw this.#ended("publish the low-water mark of", session === undefined);
      }
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#inTurn(() => endSession(this.#store, this.id));
  }

  /** Compares the mark as well: an earlier one whose commit arrives late would stand for good, as nothing publishes the same twice. */
  async #publishOnce(sequence: number, signal: AbortSignal | undefined): Promise<CommitOutcome> {
    const key = settledKey(this.id);
    const before = await this.#store.get(key, signal);
    const put = [{ key, value: markOf(sequence) }];
    const mark = { key, revision: before?.revision ?? 0 };
    return this.#commitAt(this.#expectation.revision, put, signal, [mark]);
  }

  #commitAt(
    revision: number,
    put: readonly Put[],
    signal: AbortSignal | undefined,
    more: readonly Expectation[] = [],
  ): Promise<CommitOutcome> {
    const expect = [{ key: this.#key, revision }, ...more];
    return this.#store.commit({ expect, put, remove: [], isEssential: true }, signal);
  }

  /** Not gone but changed: a renewal of ours landed unheard, and the next one will find it. */
  #ended(intent: string, isGone: boolean): SessionEnded {
    const ended = new SessionEnded(
      `Cannot ${intent} session ${this.id}: its key is gone or fenced`,
    );
    if (isGone) this.#lost.abort(ended);
    return ended;
  }

  async #inTurn<Result>(step: () => Promise<Result>): Promise<Result> {
    const turn = this.#last.then(step, step);
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}

export function sessionKey(id: string): Buffer {
  return Buffer.concat([SESSION_PREFIX, Buffer.from(id)]);
}

function settledKey(id: string): Buffer {
  return Buffer.concat([SETTLED_PREFIX, Buffer.from(id)]);
}

function idOf(key: Uint8Array, prefix: Uint8Array): string {
  return asBuffer(key).toString("utf8", prefix.length);
}

function markOf(sequence: number): Buffer {
  const mark = Buffer.alloc(MARK_BYTES);
  mark.writeUIntBE(sequence, 2, 6);
  return mark;
}

async function* entriesUnder(store: MetadataStore, prefix: Buffer, signal?: AbortSignal) {
  const to = afterPrefix(prefix);
  let from = prefix;
  for (;;) {
    const page = await store.range({ from, to, limit: SESSIONS_PAGE }, signal);
    yield* page.entries;
    const last = page.entries.at(-1);
    if (!page.more || last === undefined) return;
    from = afterKey(last.key);
  }
}
