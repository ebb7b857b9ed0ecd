/**
 * The truth about names: ordered byte keys → byte values, changed by conditional transactions.
 *
 * Drivers: memory (tests, simulation), lmdb (one machine), etcd (cluster). Callers never know which;
 * `metadata-store.contract.ts` holds what all of them promise.
 */

import { Unavailable } from "#lib/unavailable.ts";

/** A key's value and the revision of the commit that wrote it. Both byte arrays are the caller's to keep, not to change. */
export interface Entry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly revision: number;
}

/** The key must still be as it was read: `revision` of its entry, or 0 when it was absent. */
export interface Expectation {
  readonly key: Uint8Array;
  readonly revision: number;
}

export interface Put {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** One transaction: all expectations hold and all changes happen, or nothing does. No key is named twice in put and remove. */
export interface Commit {
  readonly expect: readonly Expectation[];
  readonly put: readonly Put[];
  readonly remove: readonly Uint8Array[];
  /** Taken also when there is no room left for new records: few bytes, without which nothing could be removed either. */
  readonly isEssential?: true;
}

export type CommitOutcome =
  /** Durable: it survives a power cut. Commits that were batched together may share a revision. */
  | { readonly kind: "committed"; readonly revision: number }
  /** At least one expectation failed; nothing was written. `current` has one place for each expectation, in order. */
  | { readonly kind: "conflict"; readonly current: readonly (Entry | undefined)[] };

export interface RangeRequest {
  /** First key, inclusive. */
  readonly from: Uint8Array;
  /** End, exclusive. */
  readonly to: Uint8Array;
  readonly limit: number;
  /** Largest keys first: starts just below `to`. */
  readonly reverse?: boolean;
}

export interface RangePage {
  readonly entries: readonly Entry[];
  /** True when the range holds more than `limit` entries. */
  readonly more: boolean;
}

/** What changed under a watched prefix. A hint only: events may be lost, merged or late; `reset` means "read it all again". */
export type WatchEvent =
  | { readonly kind: "put"; readonly key: Uint8Array; readonly revision: number }
  | { readonly kind: "remove"; readonly key: Uint8Array; readonly revision: number }
  | { readonly kind: "reset" };

/**
 * The right of this process to commit. Its key exists as long as the process may have commits under
 * way, so comparing the key's revision in every commit fences a dead or paused process for good.
 */
export interface Session extends AsyncDisposable {
  /** Random, never reused; at most 32 characters. */
  readonly id: string;
  /** To be added to `expect` of every commit that makes shards reachable. */
  expectation(): Expectation;
  /**
   * Aborts once the key is known to be gone. Nothing of this session can be committed any more; and since garbage collection may
   * take what it has written, no other session may commit that either: whoever used this one must begin anew.
   */
  readonly lost: AbortSignal;
  /** Rewrites the key: every transaction of this session still on its way then fails. */
  renew(signal?: AbortSignal): Promise<void>;
  /** Publishes beside the session key, whose revision stays, that every sequence number below this one is settled (R9 b). */
  publishLowWater(sequence: number, signal?: AbortSignal): Promise<void>;
}

/** Limits of one commit; etcd's defaults (128 operations, 1.5 MiB) with room for its own framing. Larger commits are refused by every driver. */
export const COMMIT_OPERATIONS_MAX = 100;
export const COMMIT_BYTES_MAX = 1024 * 1024;
/** LMDB's longest key, less the byte by which the driver tells its own keys from its users'. */
export const KEY_BYTES_MAX = 1977;

/** The commit's outcome could not be learnt: it may or may not have taken effect, now or later. See DESIGN §4. */
export class IndeterminateCommit extends Error {
  override readonly name = "IndeterminateCommit";
}

/** The store does not answer, or is asked too much: nothing was written. A retry may go through. */
export class MetadataUnavailable extends Unavailable {
  override readonly name = "MetadataUnavailable";
}

/** No room for new records: reads and pure-delete commits still work (R20). */
export class MetadataFull extends Error {
  override readonly name = "MetadataFull";
}

export interface MetadataStore extends AsyncDisposable {
  /** Linearizable: sees every commit acknowledged before the call, by any process, and nothing that could still be lost. */
  get(key: Uint8Array, signal?: AbortSignal): Promise<Entry | undefined>;
  /** As `get`, all at one revision; one place for each key, in order. */
  getMany(
    keys: readonly Uint8Array[],
    signal?: AbortSignal,
  ): Promise<readonly (Entry | undefined)[]>;
  /** One page at one revision, in byte order of keys. */
  range(request: RangeRequest, signal?: AbortSignal): Promise<RangePage>;
  /** Throws IndeterminateCommit or MetadataFull; any other error means that nothing was written. */
  commit(commit: Commit, signal?: AbortSignal): Promise<CommitOutcome>;
  watch(prefix: Uint8Array, signal: AbortSignal): AsyncIterable<WatchEvent>;
  session(signal?: AbortSignal): Promise<Session>;
}
