/** The latest term of removals that a disk was told, in a small file beside its volumes. */
import type { Disk } from "#lib/disk.ts";
import type { Logger } from "#lib/log.ts";
import { RemovalFence } from "#shards/removal-fence.ts";

const PATH = "removal-term";

export async function openRemovalFence(disk: Disk, log: Logger): Promise<RemovalFence> {
  const text = (await disk.readFile(PATH))?.toString() ?? "0\n";
  const isWhole = /^\d{1,16}\n$/.test(text);
  // The other disks were told as well, and whoever removes asks all of them.
  if (!isWhole) log.error({ path: PATH }, "the disk has forgotten who removed from it last");
  return new RemovalFence(isWhole ? Number(text) : 0, async (term) => {
    await disk.writeFile(PATH, Buffer.from(`${term}\n`));
  });
}
