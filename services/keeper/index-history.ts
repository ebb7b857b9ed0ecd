/**
 * Notices that the index was put back to an older copy under a running keeper: its revisions go back. Shards newer than the copy are
 * then named by nothing. One that begins after that, or a copy whose revisions were raised, shows nothing: then the operator says it.
 */
import { disarmGarbage } from "#keeper/identity.ts";
import type { Logger } from "#lib/log.ts";
import type { MetadataStore } from "#metadata/metadata-store.ts";

export interface IndexHistoryParts {
  readonly metadata: MetadataStore;
  /** Linearizable: of one index no answer is less than an earlier one. */
  readonly currentRevision: () => Promise<number>;
  readonly log: Logger;
}

/** Of the process, not of its session, which may be lost with the index. */
export class IndexHistory {
  readonly #parts: IndexHistoryParts;
  #latest = 0;

  constructor(parts: IndexHistoryParts) {
    this.#parts = parts;
  }

  /** Disarms garbage collection when the index has gone back since the last look. */
  async look(signal: AbortSignal): Promise<void> {
    const { metadata, currentRevision, log } = this.#parts;
    const revision = await currentRevision();
    const before = this.#latest;
    if (revision < before) {
      const reason = `the index went back from revision ${before} to ${revision}: it was restored from a copy`;
      await disarmGarbage(metadata, reason, signal);
      log.error({ before, revision }, `garbage collection is disarmed: ${reason}`);
    }
    this.#latest = revision;
  }
}
