/**
 * A body → shards that would survive a power cut on W disks or more, named by nothing yet.
 *
 * At most two stripes of a body are in memory: one on its way to the disks while the next is gathered; the body is
 * not read further meanwhile (R18). A body of one stripe takes one message per disk, sent after its last byte, so
 * whatever is wrong with it, nothing has been written then. Before the body's iteration has ended well no shard is
 * sealed. Whatever fails: the shards of this write are taken away again, and what cannot be reached is left to
 * garbage collection, which knows it by session and number (R9).
 */
import type { Codec, EncodedStripe, StripeEncoder } from "#codec/codec.ts";
import type { Logger } from "#lib/log.ts";
import type { Random } from "#lib/random.ts";
import { Unavailable } from "#lib/unavailable.ts";
import type { Session } from "#metadata/metadata-store.ts";
import { encodeAbout } from "#objects/about.ts";
import type { ExtentOwner, WrittenExtents } from "#objects/data-plane.ts";
import type { DiskStandings } from "#objects/disk-standings.ts";
import type { ObjectBody } from "#objects/model.ts";
import { type Outcome, type QuorumWaits, type Waited, writeQuorum } from "#objects/quorum.ts";
import type { Sequences } from "#objects/sequences.ts";
import { ShardFan } from "#objects/shard-fan.ts";
import type { StorageClasses } from "#objects/storage-classes.ts";
import { stripeBlocks } from "#objects/stripe-blocks.ts";
import type { Undo } from "#objects/undo.ts";
import { planWrite, type ShardPlace, type WritePlan } from "#objects/write-plan.ts";
import { Written } from "#objects/written.ts";
import type { CurrentMap } from "#placement/current-map.ts";
import { ShardDigest } from "#shards/digest.ts";
import type { Block, ShardSeal, ShardStore } from "#shards/shard-store.ts";

export interface WriterParts {
  readonly stores: ReadonlyMap<string, ShardStore>;
  readonly map: CurrentMap;
  readonly session: Session;
  readonly clusterId: string;
  readonly classes: StorageClasses;
  readonly random: Random;
  readonly log: Logger;
  readonly standings: DiskStandings;
  readonly waits: QuorumWaits;
  readonly sequences: Sequences;
  readonly undo: Undo;
}

export interface WriteRequest {
  readonly body: ObjectBody;
  readonly owner: ExtentOwner;
  readonly storageClass: string;
  readonly describe: () => Uint8Array;
  readonly signal: AbortSignal;
}

/** A small write that a disk refused goes to other groups: where each disk is a group of its own, one bad disk must fail none. */
const PLANS_MAX = 3;

export async function writeBody(
  parts: WriterParts,
  request: WriteRequest,
): Promise<WrittenExtents> {
  const { body, storageClass, signal } = request;
  const sequence = parts.sequences.begin();
  let run: WriteRun | undefined;
  try {
    const pieces = body[Symbol.asyncIterator]();
    try {
      const { head, size } = await beginning(body, pieces, parts.classes.smallBytes);
      const codec = parts.classes.forSize(storageClass, size ?? body.size);
      const encoder = await codec.encoder(signal, size ?? body.size);
      run = new WriteRun(parts, request, { sequence, codec, encoder });
      for (const bytes of head) await run.take(bytes);
      for (let next = await pieces.next(); next.done !== true; next = await pieces.next()) {
        const taking = run.take(next.value);
        if (taking) await taking;
      }
    } catch (error) {
      // The body may hold a socket: it learns that nobody reads on. Its own complaint would hide the cause.
      await pieces.return?.().catch(() => undefined);
      throw error;
    }
    return await run.finish();
  } catch (error) {
    parts.sequences.settle(sequence);
    await run?.abort();
    throw error;
  } finally {
    run?.discard();
  }
}

/** Of a body of unknown size as much as tells whether it is small; `size` only when it has ended within that. */
async function beginning(
  body: ObjectBody,
  pieces: AsyncIterator<Uint8Array>,
  smallBytes: number,
): Promise<{ head: readonly Uint8Array[]; size: number | undefined }> {
  if (body.size !== undefined) return { head: [], size: undefined };
  const head: Uint8Array[] = [];
  let gathered = 0;
  while (gathered < smallBytes) {
    const next = await pieces.next();
    if (next.done === true) return { head, size: gathered };
    // A piece is ours only until the next one is asked for.
    head.push(Buffer.from(next.value));
    gathered += next.value.length;
  }
  return { head, size: undefined };
}

class WriteRun {
  readonly #parts: WriterParts;
  readonly #request: WriteRequest;
  readonly #sequence: number;
  readonly #codec: Codec;
  readonly #needed: number;
  #encoder: StripeEncoder;
  #received = 0;
  #gathered = 0;
  /** Once there is more than one stripe. */
  #streaming: { readonly plan: WritePlan; readonly fan: ShardFan } | undefined;
  /** The stripe before the one being gathered. */
  #sending: Promise<void> | undefined;
  /** Of the encoder's stripes those that a disk may still read. */
  #held = { stripes: 0 };

  constructor(
    parts: WriterParts,
    request: WriteRequest,
    { sequence, codec, encoder }: { sequence: number; codec: Codec; encoder: StripeEncoder },
  ) {
    this.#parts = parts;
    this.#request = request;
    this.#sequence = sequence;
    this.#codec = codec;
    this.#needed = writeQuorum(codec);
    this.#encoder = encoder;
  }

  /** undefined: taken already. A full stripe is sent when more follows, so a body of one stripe is never streamed. */
  take(bytes: Uint8Array): Promise<void> | undefined {
    this.#received += bytes.length;
    const taken = this.#encoder.isFull ? 0 : this.#push(bytes);
    return taken === bytes.length ? undefined : this.#takeRest(bytes.subarray(taken));
  }

  async finish(): Promise<WrittenExtents> {
    if (this.#received === 0) return this.#written(undefined, new Set());
    const about = this.#about();
    if (!this.#streaming) return this.#putWhole(this.#encoder.finish(), about);
    if (this.#encoder.gathered > 0) await this.#sendStripe();
    await this.#sending;
    const { plan, fan } = this.#streaming;
    return this.#written(plan, await fan.seal((siblings) => this.#seal(siblings, about)));
  }

  /** Takes away what was written, as far as it can be reached. */
  async abort(): Promise<void> {
    await this.#sending?.catch(() => undefined);
    if (!this.#streaming) return;
    const { plan, fan } = this.#streaming;
    await fan.abort();
    await this.#parts.undo.remove(plan.places);
    this.#parts.undo.removeLater(plan.places, fan.quiet());
  }

  discard(): void {
    this.#encoder.discard();
  }

  #push(bytes: Uint8Array): number {
    const taken = this.#encoder.push(bytes);
    this.#gathered += taken;
    return taken;
  }

  async #takeRest(bytes: Uint8Array): Promise<void> {
    for (let rest = bytes; rest.length > 0; ) {
      if (this.#encoder.isFull) await this.#sendStripe();
      rest = rest.subarray(this.#push(rest));
    }
  }

  async #sendStripe(): Promise<void> {
    await this.#sending;
    this.#streaming ??= this.#open();
    const isEarlierHeld = this.#held.stripes > 0;
    this.#sending = this.#streaming.fan.send(this.#counted(this.#encoder.finish()));
    // Awaited before the next stripe is sent, or at the end; until then a failure must not count as unhandled.
    this.#sending.catch(() => undefined);
    if (isEarlierHeld) await this.#replaceEncoder();
  }

  #open(): { plan: WritePlan; fan: ShardFan } {
    const needed = this.#needed;
    const plan = this.#planned();
    return { plan, fan: new ShardFan(this.#parts, { plan, needed, signal: this.#request.signal }) };
  }

  #planned(): WritePlan {
    const { k, m } = this.#codec;
    return planWrite(this.#parts, { shards: k + m, needed: this.#needed });
  }

  #counted(stripe: EncodedStripe): EncodedStripe {
    const held = this.#held;
    held.stripes += 1;
    const release = () => {
      held.stripes -= 1;
      stripe.release();
    };
    return { ...stripe, release };
  }

  /** A disk left behind still reads an earlier stripe: its memory may not be used again, so the write goes on in other. */
  async #replaceEncoder(): Promise<void> {
    const { body, signal } = this.#request;
    const rest = body.size === undefined ? undefined : body.size - this.#gathered;
    if (rest === 0) return;
    this.#encoder.discard();
    this.#held = { stripes: 0 };
    this.#encoder = await this.#codec.encoder(signal, rest);
  }

  /** One message a disk. What a disk refused goes to other disks, where there are others. */
  async #putWhole(stripe: EncodedStripe, about: Uint8Array): Promise<WrittenExtents> {
    const blocks = stripeBlocks(stripe);
    const seal = this.#seal(blocks.map(digestOf), about);
    const left: Promise<void>[] = [];
    try {
      for (let turn = 1; ; turn++) {
        const plan = this.#planned();
        const present = plan.places.filter(({ store }) => store !== undefined);
        const tries = present.map((place) => this.#put(place, blocks[place.index], seal));
        const [first] = tries;
        const waited =
          first && tries.length === 1
            ? await alone(first)
            : await this.#parts.waits.wait(tries, this.#needed);
        const sealed = new Set<number>();
        present.forEach(({ index, diskId = "" }, place) => {
          const outcome = waited.outcomes[place];
          if (outcome === "done") {
            sealed.add(index);
            this.#parts.standings.worked(diskId);
            return;
          }
          this.#leaveOut(diskId, outcome, waited.cause);
          if (outcome === "slow") left.push(tries[place] as Promise<void>);
        });
        if (waited.done >= this.#needed) return this.#written(plan, sealed);
        await this.#parts.undo.remove(present.filter(({ index }) => sealed.has(index)));
        this.#parts.undo.removeLater(present, Promise.allSettled(left));
        this.#request.signal.throwIfAborted();
        if (turn === PLANS_MAX || this.#parts.stores.size <= plan.places.length) {
          const found = `${waited.done} of ${this.#needed} disks needed took it`;
          throw new Unavailable(`Cannot write: ${found}`, { cause: waited.cause });
        }
      }
    } finally {
      if (left.length === 0) stripe.release();
      else void Promise.allSettled(left).then(() => stripe.release());
    }
  }

  #put({ id, store }: ShardPlace, block: Block | undefined, seal: ShardSeal): Promise<void> {
    if (!store) throw new Error("Cannot put a shard: its disk is away");
    return store.put(id, { block, seal }, { signal: this.#request.signal });
  }

  #leaveOut(diskId: string, outcome: Outcome | undefined, cause: unknown): void {
    if (this.#request.signal.aborted) return;
    this.#parts.standings.failed(diskId);
    this.#parts.log.warn({ disk: diskId, outcome, err: cause }, "disk left out of a write");
  }

  #about(): Uint8Array {
    const { owner, describe } = this.#request;
    const { name: codec, unit } = this.#codec;
    const size = this.#received;
    const { clusterId } = this.#parts;
    return encodeAbout({ clusterId, owner, codec, unit, size, described: describe() });
  }

  #seal(siblings: readonly number[], about: Uint8Array): ShardSeal {
    return { session: this.#parts.session.id, sequence: this.#sequence, siblings, about };
  }

  #written(plan: WritePlan | undefined, sealed: ReadonlySet<number>): WrittenExtents {
    const { name: codec, unit } = this.#codec;
    const write = plan && { plan, sealed, codec, unit, size: this.#received };
    return new Written(this.#parts, { sequence: this.#sequence, writes: write ? [write] : [] });
  }
}

function digestOf(block: Block): number {
  const digest = new ShardDigest();
  digest.add(block);
  return digest.value;
}

async function alone(one: Promise<void>): Promise<Waited> {
  try {
    await one;
    return ALONE_DONE;
  } catch (cause) {
    return { outcomes: ["failed"], done: 0, cause };
  }
}

const ALONE_DONE: Waited = { outcomes: ["done"], done: 1, cause: undefined };
