/** A worker process on a disk of its parent's: writes shards until it is told to stop, and says which it has. */
import { systemDisk } from "#lib/system-disk.ts";
import { checksummedBlock, ShardDigest } from "#shards/digest.ts";
import type { ShardId } from "#shards/shard-store.ts";
import { openStore, SMALL } from "#storage/testing/stores.ts";

const [root = "", seed = "0"] = process.argv.slice(2);
const { signal } = new AbortController();
const store = await openStore(systemDisk(root), SMALL);
tell({ kind: "open" });
const stop = new AbortController();
process.on("message", () => stop.abort());

for (let count = 0; !stop.signal.aborted; count++) {
  await Promise.all([0, 1, 2, 3].map((index) => writeOne(count * 4 + index)));
}
await store[Symbol.asyncDispose]();
process.disconnect?.();

function tell(message: object): void {
  process.send?.(message);
}

async function writeOne(count: number): Promise<void> {
  const bytes = Buffer.alloc(500 + (count % 7) * 900, `${seed}-${count}`);
  const id: ShardId = {
    group: count % 5,
    writeId: Buffer.alloc(16, `${seed}:${count}/`),
    index: 0,
  };
  const block = checksummedBlock([bytes]);
  const digest = new ShardDigest();
  digest.add(block);
  const seal = {
    session: "worker",
    sequence: count,
    siblings: [digest.value],
    about: Buffer.from("a"),
  };
  await store.put(id, { block, seal }, { signal });
  const name = Buffer.from(id.writeId).toString("hex");
  tell({
    kind: "written",
    group: id.group,
    name,
    length: bytes.length,
    fill: `${seed}-${count}`,
  });
}
