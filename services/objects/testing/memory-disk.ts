/** A disk in memory whose every step a test can let fail, wait or hang, and whose bytes it can flip, lose and count. */
import { MemoryShardStore } from "#shards/memory-shard-store.ts";
import type {
  Block,
  ShardId,
  ShardInfo,
  ShardPage,
  ShardSeal,
  ShardWriter,
  StoreHealth,
} from "#shards/shard-store.ts";

export type DiskStep =
  | "append"
  | "seal"
  | "put"
  | "read"
  | "stat"
  | "verify"
  | "link"
  | "remove"
  | "list";

export class MemoryDisk extends MemoryShardStore {
  /** Before each step; may throw, or wait. */
  before: ((step: DiskStep) => Promise<void> | void) | undefined;
  /** Share of the file system. */
  free = 0.5;
  bytesRead = 0;
  /** Writers that are neither sealed nor aborted. */
  openWriters = 0;
  readonly #ids = new Map<string, ShardId>();

  constructor(diskId: string) {
    super({ diskId });
  }

  get size(): number {
    return this.#ids.size;
  }

  ids(): readonly ShardId[] {
    return [...this.#ids.values()];
  }

  override write(id: ShardId, options: { signal: AbortSignal; forRepair?: boolean }): ShardWriter {
    const writer = super.write(id, options);
    let isOpen = true;
    this.openWriters += 1;
    const end = () => {
      if (isOpen) this.openWriters -= 1;
      isOpen = false;
    };
    return {
      append: async (block) => {
        await this.before?.("append");
        await writer.append(block);
      },
      seal: async (seal) => {
        await this.before?.("seal");
        await writer.seal(seal);
        this.#ids.set(nameOf(id), id);
        end();
      },
      abort: async () => {
        end();
        await writer.abort();
      },
    };
  }

  override async put(
    id: ShardId,
    content: { block: Block | undefined; seal: ShardSeal },
    options: { signal: AbortSignal; forRepair?: boolean },
  ): Promise<void> {
    await this.before?.("put");
    const writer = super.write(id, options);
    if (content.block) await writer.append(content.block);
    await writer.seal(content.seal);
    this.#ids.set(nameOf(id), id);
  }

  override async read(
    id: ShardId,
    range: { offset: number; length: number },
    options: { signal: AbortSignal; into?: Uint8Array },
  ): Promise<Uint8Array> {
    await this.before?.("read");
    this.bytesRead += range.length;
    return super.read(id, range, options);
  }

  override async stat(id: ShardId, signal: AbortSignal): Promise<ShardInfo | undefined> {
    await this.before?.("stat");
    return super.stat(id, signal);
  }

  override async verify(id: ShardId, signal: AbortSignal): Promise<"good" | "bad" | "missing"> {
    await this.before?.("verify");
    return super.verify(id, signal);
  }

  override async link(
    ids: { source: ShardId; target: ShardId },
    seal: ShardSeal,
    signal: AbortSignal,
  ): Promise<void> {
    await this.before?.("link");
    await super.link(ids, seal, signal);
    this.#ids.set(nameOf(ids.target), ids.target);
  }

  override async remove(
    ids: readonly ShardId[],
    signal: AbortSignal,
    term?: number,
  ): Promise<void> {
    await this.before?.("remove");
    await super.remove(ids, signal, term);
    for (const id of ids) this.#ids.delete(nameOf(id));
  }

  override async list(
    request: { after?: ShardId; group?: number; limit: number },
    signal: AbortSignal,
  ): Promise<ShardPage> {
    await this.before?.("list");
    return super.list(request, signal);
  }

  override async health(): Promise<StoreHealth> {
    const health = await super.health();
    return { ...health, free: health.capacity * this.free };
  }
}

function nameOf({ group, writeId, index }: ShardId): string {
  return `${group}/${Buffer.from(writeId).toString("hex")}/${index}`;
}
