/**
 * Sessions on etcd: their keys hang on a lease, which this process keeps alive. When it stops doing so etcd removes the
 * keys, and with them every commit of the process that is still on its way. The lease only decides when; that nothing
 * is committed afterwards rests on the compare in every commit (R13).
 */
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { Random } from "#lib/random.ts";
import { callGenerated, keepLease } from "#metadata/etcd-calls.ts";
import { EtcdFailure } from "#metadata/etcd-failure.ts";
import type { Members } from "#metadata/etcd-members.ts";
import {
  type Expectation,
  MetadataFull,
  MetadataUnavailable,
  type Session,
} from "#metadata/metadata-store.ts";
import { openSession, SessionEnded, type SessionKeys } from "#metadata/sessions.ts";

export interface SessionParts {
  readonly members: Members;
  /** The store's own, with the lease on every put. */
  readonly keysUnder: (lease: number) => SessionKeys;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Aborts when the store is closed, which leaves a session that was not to its lease. */
  readonly closing: AbortSignal;
}

/** A process that is paused for longer is taken for dead; a new leader gives all leases their full time again. */
const TTL_S = 15;
const BEAT_MS = (TTL_S * 1000) / 3;
const RETRY_MS = 500;
const LIMITS = { answerMs: 2_000, totalMs: 4_000, isRepeatable: true } as const;
const GRANT_LIMITS = { answerMs: 3_000, totalMs: 10_000, isRepeatable: false } as const;
/** Room for 2^48 leases, and exact as a number. */
const LEASE_BYTES = 6;

export async function openLeasedSession(
  parts: SessionParts,
  signal: AbortSignal | undefined,
): Promise<Session> {
  const lease = await grant(parts);
  const stored = await openSession(parts.keysUnder(lease), signal, parts.random);
  return new LeasedSession(parts, stored, lease);
}

/** One that was granted unheard ends by itself. */
async function grant({ members, random }: SessionParts): Promise<number> {
  const lease = random.bytes(LEASE_BYTES).readUIntBE(0, LEASE_BYTES) + 1;
  try {
    await members.ask({
      ...GRANT_LIMITS,
      service: "Lease",
      send: (connection, options) =>
        callGenerated(connection, options, ["leaseGrant", { TTL: TTL_S, ID: lease }]),
    });
    return lease;
  } catch (error) {
    const found = `Cannot open a session: ${(error as Error).message}`;
    if (error instanceof EtcdFailure && error.kind === "full") {
      throw new MetadataFull(found, { cause: error });
    }
    throw new MetadataUnavailable(found, { cause: error });
  }
}

class LeasedSession implements Session {
  readonly #parts: SessionParts;
  readonly #stored: Session;
  readonly #lease: number;
  readonly #gone = new AbortController();
  readonly #stop = new AbortController();
  readonly #beating: Promise<void>;
  readonly lost: AbortSignal;

  constructor(parts: SessionParts, stored: Session, lease: number) {
    this.#parts = parts;
    this.#stored = stored;
    this.#lease = lease;
    this.lost = AbortSignal.any([stored.lost, this.#gone.signal]);
    this.lost.addEventListener("abort", () => {
      this.#stop.abort();
      parts.log.error({ err: this.lost.reason, session: this.id }, "the session has ended");
    });
    this.#beating = this.#beat();
  }

  get id(): string {
    return this.#stored.id;
  }

  expectation(): Expectation {
    return this.#stored.expectation();
  }

  renew(signal?: AbortSignal): Promise<void> {
    return this.#stored.renew(signal);
  }

  publishLowWater(sequence: number, signal?: AbortSignal): Promise<void> {
    return this.#stored.publishLowWater(sequence, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#beating;
    await this.#stored[Symbol.asyncDispose]();
    await this.#revoke();
  }

  /**
   * Only etcd says that the lease has ended, never our clock: while it has no leader nobody can keep a lease, and none ends.
   */
  async #beat(): Promise<void> {
    const { members, clock, log, closing } = this.#parts;
    const stop = AbortSignal.any([this.#stop.signal, closing]);
    let wait = BEAT_MS;
    while (await slept(clock, wait, stop)) {
      try {
        const left = await members.ask({
          ...LIMITS,
          service: "Lease",
          send: (connection, options) => keepLease(connection, options, this.#lease),
        });
        if (left <= 0) {
          this.#gone.abort(
            new SessionEnded(`Session ${this.id} has ended: it was not kept alive for ${TTL_S} s`),
          );
          return;
        }
        wait = BEAT_MS;
      } catch (error) {
        if (stop.aborted) return;
        log.warn({ err: error, session: this.id }, "the session's lease could not be kept alive");
        wait = RETRY_MS;
      }
    }
  }

  /** Its keys are gone already; what fails here ends by itself. */
  async #revoke(): Promise<void> {
    const { members, log } = this.#parts;
    try {
      await members.ask({
        ...LIMITS,
        isRepeatable: false,
        service: "Lease",
        send: (connection, options) =>
          callGenerated(connection, options, ["leaseRevoke", { ID: String(this.#lease) }]),
      });
    } catch (error) {
      log.debug({ err: error, session: this.id }, "the session's lease was left to expire");
    }
  }
}

/** False once the signal has aborted. */
async function slept(clock: Clock, ms: number, signal: AbortSignal): Promise<boolean> {
  try {
    await clock.sleep(ms, signal);
    return true;
  } catch {
    return false;
  }
}
