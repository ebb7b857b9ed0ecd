/**
 * Metadata of a cluster, in etcd. Commits that arrive together travel as transactions nested in one, reads as one read-only
 * transaction, both without a wait when nothing is under way. All keys stand behind one prefix, so that clusters can share
 * an etcd. README.md has the argument why batches keep every promise, and what is known when no answer comes.
 */
import { isIP } from "node:net";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { Random } from "#lib/random.ts";
import { checkCommit, isPureDelete } from "#metadata/commit-rules.ts";
import { callGenerated } from "#metadata/etcd-calls.ts";
import { CommitLanes } from "#metadata/etcd-commits.ts";
import { EtcdFailure } from "#metadata/etcd-failure.ts";
import type { EtcdAccess } from "#metadata/etcd-member.ts";
import { Members } from "#metadata/etcd-members.ts";
import { Pages } from "#metadata/etcd-pages.ts";
import { Reads } from "#metadata/etcd-reads.ts";
import { openLeasedSession } from "#metadata/etcd-session.ts";
import { decodeStatus, type MemberSize, STATUS_PATH } from "#metadata/etcd-size.ts";
import { watchEtcd } from "#metadata/etcd-watch.ts";
import { TxnEncoder } from "#metadata/etcd-wire.ts";
import {
  type Commit,
  type CommitOutcome,
  type Entry,
  MetadataFull,
  type MetadataStore,
  type RangePage,
  type RangeRequest,
  type Session,
  type WatchEvent,
} from "#metadata/metadata-store.ts";

export interface EtcdOptions extends EtcdAccess {
  /** `http://host:port` or `https://host:port` of each member. */
  readonly endpoints: readonly string[];
  /** What stands before every key in etcd; one for each cluster that shares it. */
  readonly namespace?: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

const NAMESPACE = "anybucket/";
/** It is repeated with every key, and must leave room for the longest. */
const NAMESPACE_BYTES_MAX = 64;
/** How often a full etcd is asked whether it still is. */
const FULL_CHECK_MS = 2_000;
const STATUS_MS_MAX = 2_500;
const NOTHING = Buffer.alloc(0);
const LIMITS = { answerMs: 2_500, totalMs: 10_000, isRepeatable: true } as const;

/** Throws when no member answers, or the user is not known. */
export async function openEtcd(options: EtcdOptions): Promise<EtcdMetadata> {
  const prefix = prefixOf(options.namespace ?? NAMESPACE);
  const isEncrypted = checkEndpoints(options.endpoints);
  if (options.tls !== undefined && !isEncrypted) {
    throw new Error("Cannot use etcd: there are certificates for it, but its URLs are not https");
  }
  const members = new Members(options.endpoints, options, options);
  const store = new EtcdMetadata(options, members, prefix);
  try {
    await store.get(Buffer.from("any"));
  } catch (error) {
    await store[Symbol.asyncDispose]();
    throw new Error(`Cannot use etcd at ${options.endpoints.join(", ")}`, { cause: error });
  }
  return store;
}

export class EtcdMetadata implements MetadataStore {
  readonly #options: EtcdOptions;
  readonly #members: Members;
  readonly #prefix: Buffer;
  readonly #reads: Reads;
  readonly #pages: Pages;
  readonly #commits: CommitLanes;
  readonly #closing = new AbortController();
  #revision = 0;
  #isFull = false;

  constructor(options: EtcdOptions, members: Members, prefix: Buffer) {
    const { clock } = options;
    this.#options = options;
    this.#members = members;
    this.#prefix = prefix;
    const encoder = new TxnEncoder(prefix);
    const note = (revision: number) => {
      this.#revision = Math.max(this.#revision, revision);
    };
    const reading = { members, encoder, prefixLength: prefix.length, clock, note };
    this.#reads = new Reads(reading);
    this.#pages = new Pages(reading);
    this.#commits = new CommitLanes({ members, encoder, clock, note, onFull: this.#onFull });
  }

  async get(key: Uint8Array, signal?: AbortSignal): Promise<Entry | undefined> {
    const [entry] = await this.getMany([key], signal);
    return entry;
  }

  async getMany(
    keys: readonly Uint8Array[],
    signal?: AbortSignal,
  ): Promise<readonly (Entry | undefined)[]> {
    this.#assertUsable(signal);
    const entries = await this.#reads.keys(keys);
    signal?.throwIfAborted();
    return entries;
  }

  async range(request: RangeRequest, signal?: AbortSignal): Promise<RangePage> {
    this.#assertUsable(signal);
    const page = await this.#pages.read(request);
    signal?.throwIfAborted();
    return page;
  }

  /** The signal counts until it is sent: what became of it must be learnt then. */
  async commit(commit: Commit, signal?: AbortSignal): Promise<CommitOutcome> {
    this.#assertUsable(signal);
    checkCommit(commit);
    if (commit.put.length + commit.remove.length === 0) return this.#compare(commit);
    if (this.#isFull && !isPureDelete(commit) && commit.isEssential !== true) {
      throw new MetadataFull("Cannot commit: etcd has no space for new records");
    }
    return this.#commits.commit(commit);
  }

  watch(prefix: Uint8Array, signal: AbortSignal): AsyncIterable<WatchEvent> {
    this.#assertUsable(undefined);
    return watchEtcd(
      {
        members: this.#members,
        clock: this.#options.clock,
        prefix: this.#prefix,
        revision: () => this.#revision,
      },
      prefix,
      AbortSignal.any([signal, this.#closing.signal]),
    );
  }

  async session(signal?: AbortSignal): Promise<Session> {
    this.#assertUsable(signal);
    const { clock, random, log } = this.#options;
    return openLeasedSession(
      {
        members: this.#members,
        keysUnder: (lease) => ({
          get: (key) => this.get(key),
          commit: (commit) => {
            checkCommit(commit);
            return this.#commits.commit(commit, lease);
          },
        }),
        clock,
        random,
        log,
        closing: this.#closing.signal,
      },
      signal,
    );
  }

  /** Forgets what values were before the revision; reads of older pages begin anew. Another process may have done so already. */
  async compact(revision: number): Promise<void> {
    try {
      await this.#members.ask({
        ...LIMITS,
        service: "KV",
        send: (connection, options) =>
          callGenerated(connection, options, ["compact", { revision: String(revision) }]),
      });
    } catch (error) {
      if (!(error instanceof EtcdFailure && error.kind === "compacted")) throw error;
    }
  }

  /** The newest revision there is, which is less than before when etcd was restored from a copy. */
  async currentRevision(): Promise<number> {
    this.#assertUsable(undefined);
    return this.#reads.revision();
  }

  /** How full its members are, those that answer; throws when none does. */
  async sizes(): Promise<readonly MemberSize[]> {
    this.#assertUsable(undefined);
    const request = { path: STATUS_PATH, request: NOTHING, answerMs: STATUS_MS_MAX };
    const answers = await this.#members.askEach(request);
    const sizes = answers.flatMap(({ member, answer }) =>
      answer instanceof EtcdFailure ? [] : [decodeStatus(member, answer)],
    );
    if (sizes.length > 0) return sizes;
    const reasons = answers.map(({ answer }) => (answer as EtcdFailure).message);
    throw new Error(`Cannot learn how full etcd is: ${reasons.join("; ")}`);
  }

  /** Waits for the commits under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(new Error("Cannot use etcd: the store is closed"));
    await Promise.all([this.#commits.drain(), this.#reads.drain()]);
    this.#members.close();
  }

  /** A commit that only compares is a read: it needs no agreement of the members. */
  async #compare({ expect }: Commit): Promise<CommitOutcome> {
    const current = await this.#reads.keys(expect.map(({ key }) => key));
    const holds = expect.every(
      ({ revision }, place) => (current[place]?.revision ?? 0) === revision,
    );
    return holds ? { kind: "committed", revision: this.#revision } : { kind: "conflict", current };
  }

  readonly #onFull = (): void => {
    if (this.#isFull) return;
    this.#isFull = true;
    this.#options.log.error("etcd has no space left: it takes removals only");
    void this.#waitForSpace();
  };

  async #waitForSpace(): Promise<void> {
    const { clock, log } = this.#options;
    while (!this.#closing.signal.aborted) {
      try {
        await clock.sleep(FULL_CHECK_MS, this.#closing.signal);
        const { alarms } = await this.#members.ask({
          ...LIMITS,
          service: "Maintenance",
          send: (connection, options) =>
            callGenerated(connection, options, ["alarm", { action: "Get" }]),
        });
        if (alarms.some(({ alarm }) => alarm.toUpperCase() === "NOSPACE")) continue;
        this.#isFull = false;
        log.info("etcd has space again");
        return;
      } catch (error) {
        log.debug({ err: error }, "etcd could not be asked for its space");
      }
    }
  }

  #assertUsable(signal: AbortSignal | undefined): void {
    signal?.throwIfAborted();
    if (this.#closing.signal.aborted) throw new Error("Cannot use etcd: the store is closed");
  }
}

function prefixOf(namespace: string): Buffer {
  const prefix = Buffer.from(namespace);
  if (prefix.length === 0 || prefix.length > NAMESPACE_BYTES_MAX) {
    throw new Error(
      `Cannot use etcd: its namespace has ${prefix.length} bytes, it must have 1 to ${NAMESPACE_BYTES_MAX}`,
    );
  }
  return prefix;
}

/** Answers whether they are encrypted, which they must all be or none. */
function checkEndpoints(endpoints: readonly string[]): boolean {
  const schemes = new Set(
    endpoints.map((endpoint) => {
      const scheme = /^(https?):\/\/[^/]+:\d+$/.exec(endpoint)?.[1];
      if (scheme === undefined) {
        throw new Error(`Cannot use etcd at ${endpoint}: a URL is needed, as http://etcd:2379`);
      }
      // gRPC gives the host as TLS's server name, which Node refuses for an address.
      if (scheme === "https" && isIP(new URL(endpoint).hostname.replace(/^\[|\]$/g, "")) !== 0) {
        throw new Error(`Cannot use etcd at ${endpoint}: https needs a host name, not an address`);
      }
      return scheme;
    }),
  );
  if (schemes.size !== 1) {
    throw new Error("Cannot use etcd: its URLs must be all http or all https, and at least one");
  }
  return schemes.has("https");
}
