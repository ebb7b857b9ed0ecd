/** The n blocks of a stripe with their checksums, computed once where the bytes were made (R7). */
import type { EncodedStripe } from "#codec/codec.ts";
import { checksummedBlock } from "#shards/digest.ts";
import type { Block } from "#shards/shard-store.ts";

/** Copies share one block. */
export function stripeBlocks(stripe: EncodedStripe): readonly Block[] {
  const blocks: Block[] = [];
  for (const [index, pieces] of stripe.blocks.entries()) {
    const isCopy = index > 0 && pieces === stripe.blocks[index - 1];
    blocks.push(isCopy ? (blocks[index - 1] as Block) : checksummedBlock(pieces));
  }
  return blocks;
}
