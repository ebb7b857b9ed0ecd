/** How background work takes shards away: never after what it was decided on may have changed. */
import type { Expectation } from "#metadata/metadata-store.ts";
import type { ShardId, ShardStore } from "#shards/shard-store.ts";

export type Stores = ReadonlyMap<string, ShardStore>;

export interface RemovalRequest {
  readonly store: ShardStore;
  readonly ids: readonly ShardId[];
  /** Asked again before each attempt. */
  readonly mayStill: () => Promise<boolean>;
  readonly signal: AbortSignal;
}

export interface Removals {
  /** From here on no removal that was decided before reaches the disks that are answered. */
  begin(
    stores: Stores,
    context: { readonly signal: AbortSignal; readonly fence: readonly Expectation[] },
  ): Promise<Stores>;
  /** Answers false when it may not any more. */
  remove(request: RemovalRequest): Promise<boolean>;
}

/** On one machine, where whoever decides and the disk end together. */
export const PLAIN_REMOVALS: Removals = {
  begin: async (stores) => stores,
  remove: async ({ store, ids, mayStill, signal }) => {
    if (!(await mayStill())) return false;
    await store.remove(ids, signal);
    return true;
  },
};
