import { shardStoreContract } from "#shards/shard-store.contract.ts";
import type { ShardStore } from "#shards/shard-store.ts";
import { openFarNode } from "#shards/testing/far-node.ts";

shardStoreContract("far, in memory", async () => {
  const node = await openFarNode();
  return owning(node.far, node);
});

/** A store whose end is that of its whole node. */
function owning(store: ShardStore, node: AsyncDisposable): ShardStore {
  return Object.assign(store, { [Symbol.asyncDispose]: () => node[Symbol.asyncDispose]() });
}
