/**
 * All members of an etcd cluster. A process stays with one of them until it fails; every call has a deadline, and
 * says whether it may be sent more than once.
 */
import type { CallOptions } from "@grpc/grpc-js";
import type { Clock } from "#lib/clock.ts";
import type { Random } from "#lib/random.ts";
import type { EtcdFailure } from "#metadata/etcd-failure.ts";
import {
  type CallRaw,
  type Connection,
  type EtcdAccess,
  Member,
  type ServiceName,
} from "#metadata/etcd-member.ts";

export interface CallLimits {
  /** How long one member's answer is waited for. */
  readonly answerMs: number;
  /** How long a member is looked for that answers, or at least takes the request. */
  readonly totalMs: number;
  /** Whether it may be sent again when its fate is not known. */
  readonly isRepeatable: boolean;
}

export interface Call<Reply> extends CallLimits {
  readonly service: ServiceName;
  send(connection: Connection, options: CallOptions): Promise<Reply>;
}

/** Of the hot path: bytes in our own encoding. */
export interface RawCall extends CallLimits {
  readonly path: string;
  readonly request: Buffer;
}

/** A connection on one machine or in one data centre takes far less. */
const CONNECT_MS = 1_500;
/** Between two rounds over all members. */
const PAUSE_MS = 100;
/** Less is too little to try once more. */
const ATTEMPT_MS_MIN = 50;

export class Members {
  readonly #members: readonly Member[];
  readonly #clock: Clock;
  readonly #closing = new AbortController();
  #preferred: number;

  constructor(
    endpoints: readonly string[],
    access: EtcdAccess,
    { clock, random }: { clock: Clock; random: Random },
  ) {
    this.#members = endpoints.map((endpoint) => new Member(endpoint, access, clock));
    this.#clock = clock;
    // Gateways that start together spread over the members.
    this.#preferred = Math.floor(random.fraction() * endpoints.length);
  }

  /** Throws EtcdFailure. */
  ask<Reply>(call: Call<Reply>): Promise<Reply> {
    return this.#ask(call, async (member, waitMs) => {
      const connection = await member.connect(call.service, waitMs);
      return await call.send(connection, { deadline: Date.now() + call.answerMs });
    });
  }

  /** Throws EtcdFailure. */
  askRaw(call: RawCall): Promise<Buffer> {
    return this.#ask(call, async (member, waitMs) => {
      const send: CallRaw = await member.connectRaw(waitMs);
      return await send(call);
    });
  }

  async #ask<Reply>(
    call: CallLimits,
    askOne: (member: Member, waitMs: number) => Promise<Reply>,
  ): Promise<Reply> {
    const end = this.#clock.monotonic() + call.totalMs;
    let failed: EtcdFailure | undefined;
    for (let attempt = 1; ; attempt += 1) {
      const leftMs = Math.max(1, end - this.#clock.monotonic());
      // That there was no time says less than why there is none left.
      if (failed && leftMs < ATTEMPT_MS_MIN) throw failed;
      const member = this.#pick();
      try {
        return await askOne(member, Math.min(CONNECT_MS, leftMs));
      } catch (error) {
        const failure = member.learnFrom(error);
        const mayRepeat =
          failure.kind === "unsent" || (failure.kind === "unknown" && call.isRepeatable);
        if (!mayRepeat || this.#clock.monotonic() >= end) throw failure;
        failed = failure;
        if (attempt % this.#members.length === 0) await this.#pause(failure);
      }
    }
  }

  /** Asks all of them at once, and each only once: the answer, or why there is none. */
  askEach(
    call: Omit<RawCall, "totalMs" | "isRepeatable">,
  ): Promise<readonly { member: string; answer: Buffer | EtcdFailure }[]> {
    const asking = this.#members.map(async (member) => {
      try {
        const send = await member.connectRaw(CONNECT_MS);
        return { member: member.endpoint, answer: await send(call) };
      } catch (error) {
        return { member: member.endpoint, answer: member.learnFrom(error) };
      }
    });
    return Promise.all(asking);
  }

  /** A connection for a stream, whose end the caller notices. */
  async connect(service: ServiceName): Promise<Connection & { readonly member: Member }> {
    const member = this.#pick();
    return { ...(await member.connect(service, CONNECT_MS)), member };
  }

  close(): void {
    this.#closing.abort(new Error("the store is closed"));
    for (const member of this.#members) member.close();
  }

  /** The preferred one, or the next that has not failed lately; when all have, each in turn. */
  #pick(): Member {
    const count = this.#members.length;
    for (let step = 0; step < count; step += 1) {
      const place = (this.#preferred + step) % count;
      const member = this.#members[place];
      if (member === undefined || member.isSuspect) continue;
      this.#preferred = place;
      return member;
    }
    this.#preferred = (this.#preferred + 1) % count;
    return this.#members[this.#preferred] as Member;
  }

  async #pause(failure: EtcdFailure): Promise<void> {
    try {
      await this.#clock.sleep(PAUSE_MS, this.#closing.signal);
    } catch {
      throw failure;
    }
  }
}
