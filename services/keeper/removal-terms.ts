/**
 * Terms: a number in the index that goes up, and that every disk is told of. Each removal carries the one that was in force before it
 * was last asked whether it may be, and a disk refuses what comes with a lower one than it knows. Two things follow:
 *
 *  - A keeper that was paused between its last look and the removal does no harm (R13): whoever goes on begins with a new term, and
 *    counts as there only what it lists on a disk that has heard of it.
 *  - An index that was put back to a copy is noticed, whoever runs when (R11): the disks know a later term than it has. Then nothing
 *    is removed before the operator says so (`anybucket garbage arm`), which makes a term later than any that was met.
 */
import { DISARMED_KEY } from "#keeper/identity.ts";
import type { RemovalRequest, Removals, Stores } from "#keeper/removals.ts";
import {
  decodeTerm,
  encodeTerm,
  TERM_KEY,
  TERM_MET_KEY,
  type Term,
  termOf,
} from "#keeper/term-record.ts";
import type { Logger } from "#lib/log.ts";
import type { Expectation, MetadataStore } from "#metadata/metadata-store.ts";
import { ShardFenced, type ShardStore } from "#shards/shard-store.ts";

/** Other jobs begin terms, too; so often in a row means trouble. */
const ATTEMPTS_MAX = 10;

/** The index knows less than the disks: it was restored from a copy. */
export class IndexWentBack extends Error {
  override readonly name = "IndexWentBack";
}

export interface RemovalTermsParts {
  readonly metadata: MetadataStore;
  readonly log: Logger;
}

interface Context {
  readonly signal: AbortSignal;
  readonly fence: readonly Expectation[];
}

export class RemovalTerms implements Removals {
  readonly #parts: RemovalTermsParts;

  constructor(parts: RemovalTermsParts) {
    this.#parts = parts;
  }

  async begin(stores: Stores, { signal, fence }: Context): Promise<Stores> {
    const { metadata } = this.#parts;
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const { term, revision } = await this.#current(signal);
      // First what is in force: a disk that knows a later one would else come to agree with an index that has lost it.
      await this.#tellAll(stores, term, signal);
      const next = term + 1;
      const expect = [{ key: TERM_KEY, revision }, ...fence];
      const put = [{ key: TERM_KEY, value: encodeTerm(next) }];
      const outcome = await metadata.commit({ expect, put, remove: [] }, signal);
      if (outcome.kind === "committed") return this.#tellAll(stores, next, signal);
    }
    throw new Error("Cannot begin a term: others do, or this process no longer does the job");
  }

  async remove({ store, ids, mayStill, signal }: RemovalRequest): Promise<boolean> {
    for (let attempt = 1; ; attempt++) {
      const { term } = await this.#current(signal);
      if (!(await mayStill())) return false;
      try {
        await store.remove(ids, signal, term);
        return true;
      } catch (error) {
        if (!(error instanceof ShardFenced) || attempt >= ATTEMPTS_MAX) throw error;
        await this.#explain(error, store.diskId, signal);
      }
    }
  }

  /** Answers the disks that have heard. */
  async #tellAll(stores: Stores, term: number, signal: AbortSignal): Promise<Stores> {
    const told = new Map<string, ShardStore>();
    const telling = [...stores].map(async ([diskId, store]) => {
      try {
        await store.remove([], signal, term);
        told.set(diskId, store);
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof ShardFenced)) return;
        await this.#explain(error, diskId, signal);
        told.set(diskId, store);
      }
    });
    await Promise.all(telling);
    return told;
  }

  async #current(signal: AbortSignal): Promise<Term> {
    const [term, met] = await this.#parts.metadata.getMany([TERM_KEY, TERM_MET_KEY], signal);
    const current = termOf(term);
    if (met && decodeTerm(met.value) > current.term) throw wentBack(decodeTerm(met.value), current);
    return current;
  }

  /** Another job has begun a term meanwhile; or nobody has, then the index lost one. */
  async #explain({ seen }: ShardFenced, diskId: string, signal: AbortSignal): Promise<void> {
    const { metadata, log } = this.#parts;
    for (;;) {
      const current = await this.#current(signal);
      if (current.term >= seen) return;
      const error = wentBack(seen, current);
      const expect = [{ key: TERM_KEY, revision: current.revision }];
      const put = [
        { key: TERM_MET_KEY, value: encodeTerm(seen) },
        { key: DISARMED_KEY, value: Buffer.from(error.message) },
      ];
      const outcome = await metadata.commit({ expect, put, remove: [] }, signal);
      if (outcome.kind === "conflict") continue;
      log.error({ disk: diskId }, `Nothing is removed any more: ${error.message}`);
      throw error;
    }
  }
}

function wentBack(seen: number, { term }: Term): IndexWentBack {
  return new IndexWentBack(
    `the index was restored from a copy: the disks know of term ${seen}, it knows of ${term}`,
  );
}
