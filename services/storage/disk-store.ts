/** The ShardStore over one disk. Several processes may have one each over the same disk. */
import type { Clock } from "#lib/clock.ts";
import type { Disk, DiskLock } from "#lib/disk.ts";
import type { Logger } from "#lib/log.ts";
import { type Random, systemRandom } from "#lib/random.ts";
import type { RemovalFence } from "#shards/removal-fence.ts";
import {
  BLOCK_BYTES_MAX,
  type Block,
  ShardConflict,
  ShardCorrupt,
  type ShardId,
  type ShardInfo,
  ShardMissing,
  type ShardPage,
  type ShardReadOptions,
  type ShardSeal,
  type ShardStore,
  type ShardWriter,
  type StoreHealth,
} from "#shards/shard-store.ts";
import { ActiveVolumes } from "#storage/active-volumes.ts";
import { type Compaction, compactVolume, volumeToCompact } from "#storage/compaction.ts";
import { requireIdentity } from "#storage/disk-identity.ts";
import {
  decodeEntry,
  decodeVolumeRow,
  pinKey,
  type ShardEntry,
  shardKey,
  shardOfKey,
  shardRange,
  VOLUME_RANGE,
  volumeOfKey,
} from "#storage/index-rows.ts";
import type { IndexStore } from "#storage/index-store.ts";
import { type IndexParts, openIndex, recoverIndex } from "#storage/open-index.ts";
import { DEFAULT_STORAGE_OPTIONS, type StorageOptions } from "#storage/options.ts";
import { type RemoveRecord, recordBytes, type SealRecord } from "#storage/record.ts";
import type { RecoveryReport } from "#storage/recovery.ts";
import { openRemovalFence } from "#storage/removal-term.ts";
import { Reserve } from "#storage/reserve.ts";
import { type ScrubPage, scrubPage } from "#storage/scrub.ts";
import { applyRemoval, applySeal, findShard } from "#storage/shard-index.ts";
import { ShardReader, VolumeGone } from "#storage/shard-reader.ts";
import { DiskShardWriter, tagsOf, type WriterParts } from "#storage/shard-writer.ts";
import { VolumeFiles } from "#storage/volume-files.ts";

export interface DiskStoreParts {
  readonly disk: Disk;
  readonly clusterId: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly random?: Random;
  readonly options?: Partial<StorageOptions>;
  /** For disks in memory that several stores share. */
  readonly index?: IndexStore;
}

/** Tombstones of one append. */
const REMOVALS_MAX = 1000;
/** Seals read at a time for a page of a listing: hides one seek behind another. */
const SEAL_READS_MAX = 16;

/** The disk must have been prepared (`prepareDisk`). Throws DiskRefused when it is not the cluster's, or not mounted. */
export async function openDiskStore(parts: DiskStoreParts): Promise<DiskStore> {
  const { disk, clock, random = systemRandom } = parts;
  const identity = await requireIdentity(disk, parts.clusterId);
  const log = parts.log.child({ disk: identity.diskId });
  await disk.makeFolder("volumes");
  await disk.makeFolder("locks");
  const owner = random.bytes(16).toString("hex");
  const indexParts: IndexParts = { disk, identity, owner, clock, log };
  const { index, report, alive } = await openIndex(indexParts, parts.index);
  const options = { ...DEFAULT_STORAGE_OPTIONS, ...parts.options };
  const fence = await openRemovalFence(disk, log);
  return new DiskStore({ ...indexParts, index, alive, options, random, opened: report, fence });
}

interface Opened extends IndexParts {
  readonly index: IndexStore;
  readonly alive: DiskLock;
  readonly options: StorageOptions;
  readonly random: Random;
  readonly opened: RecoveryReport;
  readonly fence: RemovalFence;
}

export class DiskStore implements ShardStore {
  readonly diskId: string;
  /** What was found, and cut, when the store was opened. */
  readonly opened: RecoveryReport;
  readonly #parts: Opened;
  readonly #index: IndexStore;
  readonly #volumes: ActiveVolumes;
  readonly #files: VolumeFiles;
  readonly #reader: ShardReader;
  readonly #reserve: Reserve;
  readonly #writerParts: WriterParts;
  /** Where compaction copies to: apart from new shards, which may die sooner. */
  readonly #compacted: ActiveVolumes;
  /** Volumes that compaction could not take away this time round. */
  readonly #uncompactable = new Set<number>();

  constructor(parts: Opened) {
    const { disk, identity, options, index, clock } = parts;
    this.#parts = parts;
    this.diskId = identity.diskId;
    this.opened = parts.opened;
    this.#index = index;
    this.#volumes = new ActiveVolumes(parts);
    this.#compacted = new ActiveVolumes(parts);
    this.#files = new VolumeFiles(disk, options.openVolumesMax);
    this.#reader = new ShardReader(this.#files, identity.secret);
    this.#reserve = new Reserve(disk, clock, options);
    this.#writerParts = {
      volumes: this.#volumes,
      newTag: () => this.#newTag(),
      admit: (bytes, forRepair) => (forRepair ? undefined : this.#reserve.take(bytes)),
      inspect: (id, expected) => this.#inspect(id, expected),
      bury: (id, tags) => this.#bury([{ kind: "remove", id, tags }]),
    };
  }

  write(id: ShardId, options: { signal: AbortSignal; forRepair?: boolean }): ShardWriter {
    return new DiskShardWriter(this.#writerParts, id, options);
  }

  async put(
    id: ShardId,
    content: { block: Block | undefined; seal: ShardSeal },
    options: { signal: AbortSignal; forRepair?: boolean },
  ): Promise<void> {
    const writer = () => new DiskShardWriter(this.#writerParts, id, options);
    // Repair writes where a bad shard may be, and would write its bytes twice.
    const isNew = options.forRepair !== true;
    if (isNew && (await writer().put(content.block, content.seal))) return;
    await writer().putOver(content.block, content.seal);
  }

  async read(
    id: ShardId,
    range: { offset: number; length: number },
    options: ShardReadOptions,
  ): Promise<Uint8Array> {
    options.signal.throwIfAborted();
    const { offset, length } = range;
    return this.#withEntry(id, async (entry) => {
      if (length > BLOCK_BYTES_MAX || offset < 0 || offset + length > entry.length) {
        throw new RangeError(`Bytes ${offset}+${length} of a shard of ${entry.length}`);
      }
      return this.#reader.read(entry, range, options);
    });
  }

  async stat(id: ShardId, signal: AbortSignal): Promise<ShardInfo | undefined> {
    signal.throwIfAborted();
    if (findShard(this.#index, id) === undefined) return undefined;
    try {
      return infoOf(await this.#withEntry(id, (entry) => this.#reader.readSeal(id, entry)));
    } catch (error) {
      if (error instanceof ShardMissing) return undefined;
      throw error;
    }
  }

  async verify(id: ShardId, signal: AbortSignal): Promise<"good" | "bad" | "missing"> {
    try {
      await this.#withEntry(id, async (entry) => {
        await this.#reader.readSeal(id, entry);
        for (let number = 0; number < entry.blocks.length; number++) {
          signal.throwIfAborted();
          await this.#reader.readBlock(entry, number);
        }
      });
      return "good";
    } catch (error) {
      if (error instanceof ShardMissing) return "missing";
      if (error instanceof ShardCorrupt) return "bad";
      throw error;
    }
  }

  async link(
    { source, target }: { source: ShardId; target: ShardId },
    seal: ShardSeal,
    signal: AbortSignal,
  ): Promise<void> {
    signal.throwIfAborted();
    const found = findShard(this.#index, source);
    if (found === undefined) throw new ShardMissing("The source of the link is not here");
    if (seal.siblings[target.index] !== found.digest) {
      throw new ShardConflict("The source's digest is not what the target's siblings expect");
    }
    const existing = await this.#inspect(target, found);
    if (existing.state === "good") return;
    if (existing.state === "bad") await this.#bury([removalOf(target, existing.entry)]);
    // Until the link's seal is in the index, compaction leaves the content where the seal says it is.
    const pin = pinKey(found.content.tag, { owner: this.#parts.owner, tag: this.#newTag() });
    const entry = await this.#index.transact((rows) => {
      const now = findShard(rows, source);
      if (now !== undefined) rows.put(pin, Buffer.alloc(0));
      return now;
    });
    try {
      if (entry === undefined || entry.content.tag !== found.content.tag) {
        throw new ShardMissing("The source of the link was removed meanwhile");
      }
      await this.#sealLink(target, entry, seal);
    } finally {
      await this.#index.transact((rows) => rows.remove(pin));
    }
  }

  async remove(ids: readonly ShardId[], signal: AbortSignal, term?: number): Promise<void> {
    if (term === undefined) await this.#remove(ids, signal);
    else await this.#parts.fence.run(term, () => this.#remove(ids, signal));
  }

  async #remove(ids: readonly ShardId[], signal: AbortSignal): Promise<void> {
    for (let start = 0; start < ids.length; start += REMOVALS_MAX) {
      signal.throwIfAborted();
      const removals: RemoveRecord[] = [];
      for (const id of ids.slice(start, start + REMOVALS_MAX)) {
        const entry = findShard(this.#index, id);
        if (entry !== undefined) removals.push(removalOf(id, entry));
      }
      await this.#bury(removals);
    }
  }

  async list(
    request: { after?: ShardId; group?: number; limit: number },
    signal: AbortSignal,
  ): Promise<ShardPage> {
    const { from, to } = shardRange(request.group);
    const after = request.after === undefined ? undefined : justAfter(shardKey(request.after));
    const start = after === undefined || Buffer.compare(after, from) < 0 ? from : after;
    const rows = this.#index.range(start, to, request.limit + 1);
    const entries = rows
      .slice(0, request.limit)
      .map(([key, value]) => ({ id: shardOfKey(key), value }))
      .map(({ id, value }) => ({ id, entry: decodeEntry(id, value) }));
    const shards: ShardInfo[] = [];
    for (let at = 0; at < entries.length; at += SEAL_READS_MAX) {
      signal.throwIfAborted();
      const part = entries.slice(at, at + SEAL_READS_MAX);
      const infos = await Promise.all(part.map(({ id }) => this.#tryInfo(id)));
      shards.push(...infos.filter((info) => info !== undefined));
    }
    const more = rows.length > request.limit;
    return { shards, next: more ? entries.at(-1)?.id : undefined };
  }

  async health(): Promise<StoreHealth> {
    let live = 0;
    let used = 0;
    const volumes = new Set<number>();
    for (const [key, value] of this.#index.range(VOLUME_RANGE.from, VOLUME_RANGE.to, ROWS_MAX)) {
      const row = decodeVolumeRow(value);
      volumes.add(volumeOfKey(key));
      live += row.live;
      used += row.scannedTo;
    }
    // What another process compacted away still takes room while it is open here.
    this.#files.keep(volumes);
    const failure = this.#volumes.failure ?? this.#compacted.failure;
    try {
      const { capacity, free, isFull } = await this.#reserve.space();
      const figures = { capacity, free, live, used };
      if (failure !== undefined) {
        return { state: "read-only", ...figures, reason: failure.message };
      }
      return isFull
        ? { state: "full", ...figures, reason: "The disk's reserve is reached" }
        : { state: "writable", ...figures };
    } catch (error) {
      return {
        state: "failed",
        capacity: 0,
        free: 0,
        live,
        used,
        reason: (error as Error).message,
      };
    }
  }

  /**
   * Compacts the volume with the smallest share still needed, if any is below the limit: one step of
   * a job. Undefined when there is nothing to do, or another process is at it.
   */
  async compact(signal: AbortSignal): Promise<Compaction | undefined> {
    const { disk, options, identity, log } = this.#parts;
    await using lock = await disk.lock("locks/compaction");
    if (lock === undefined) return undefined;
    const choice = { below: options.compactBelow, except: this.#uncompactable };
    const volume = volumeToCompact(this.#index, choice);
    if (volume === undefined) {
      // What was in the way may be gone when the job comes round again.
      this.#uncompactable.clear();
      return undefined;
    }
    const outcome = await compactVolume(
      {
        disk,
        index: this.#index,
        secret: identity.secret,
        files: this.#files,
        reader: this.#reader,
        target: this.#compacted,
        log,
      },
      volume,
      signal,
    );
    if (outcome.kind === "kept") {
      log.warn(outcome, "Volume cannot be compacted now");
      this.#uncompactable.add(volume);
    }
    return outcome;
  }

  /** Reads every byte of a page of shards, in the order of listings; one step of a job that its caller paces. */
  async scrub(
    request: { after?: ShardId; limit: number },
    signal: AbortSignal,
  ): Promise<ScrubPage> {
    return scrubPage(this, this.#index, request, signal);
  }

  /** Recovers the volumes of processes that died; to be called when one has, before it is replaced. */
  async recover(): Promise<RecoveryReport> {
    return recoverIndex(this.#parts, this.#index);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#volumes[Symbol.asyncDispose]();
    await this.#compacted[Symbol.asyncDispose]();
    await this.#files[Symbol.asyncDispose]();
    await this.#index.flush();
    if (this.#parts.disk.root !== undefined) await this.#index[Symbol.asyncDispose]();
    await this.#parts.disk.remove(this.#parts.alive.path);
    await this.#parts.alive[Symbol.asyncDispose]();
  }

  /** Runs `work` on what the index says; once more if compaction moved the shard meanwhile. */
  async #withEntry<T>(id: ShardId, work: (entry: ShardEntry) => Promise<T>): Promise<T> {
    const entry = findShard(this.#index, id);
    if (entry === undefined) throw new ShardMissing("There is no such shard here");
    try {
      return await work(entry);
    } catch (error) {
      if (!(error instanceof VolumeGone)) throw error;
      const now = findShard(this.#index, id);
      if (now === undefined) throw new ShardMissing("There is no such shard here");
      try {
        return await work(now);
      } catch (again) {
        if (!(again instanceof VolumeGone)) throw again;
        throw new ShardCorrupt("The volume of the shard is missing", { cause: again });
      }
    }
  }

  async #tryInfo(id: ShardId): Promise<ShardInfo | undefined> {
    try {
      return infoOf(await this.#withEntry(id, (entry) => this.#reader.readSeal(id, entry)));
    } catch (error) {
      if (error instanceof ShardMissing) return undefined;
      if (!(error instanceof ShardCorrupt)) throw error;
      this.#parts.log.error({ err: error }, "Shard has no readable seal: left out of a listing");
      return undefined;
    }
  }

  async #inspect(
    id: ShardId,
    { digest, length }: { digest: number; length: number },
  ): Promise<{ state: "absent" | "good" } | { state: "bad"; entry: ShardEntry }> {
    const entry = findShard(this.#index, id);
    if (entry === undefined) return { state: "absent" };
    if (entry.digest !== digest || entry.length !== length) {
      throw new ShardConflict("Another shard of that name is here, with other bytes");
    }
    // Saying "it is there" of bytes that rotted would make repair stop too soon.
    const verdict = await this.verify(id, new AbortController().signal);
    if (verdict === "bad") return { state: "bad", entry };
    return { state: verdict === "good" ? "good" : "absent" };
  }

  async #sealLink(target: ShardId, source: ShardEntry, seal: ShardSeal): Promise<void> {
    const record: SealRecord = {
      kind: "seal",
      ...seal,
      id: target,
      tag: this.#newTag(),
      content: source.content,
      length: source.length,
      digest: source.digest,
      blockBytes: source.blockBytes,
      blocks: source.blocks,
    };
    const place = { volume: 0, offset: 0 };
    await this.#volumes.append({
      records: [{ record, location: place }],
      apply: (rows) => {
        applySeal(rows, record, { ...place, bytes: recordBytes(record) }, "new");
      },
    });
  }

  /** Durable when it resolves; seals that appeared while the tombstones were written get theirs, too. */
  async #bury(removals: readonly RemoveRecord[]): Promise<void> {
    let left = removals;
    while (left.length > 0) {
      const outgoing = left.map((record) => ({ record, location: { volume: 0, offset: 0 } }));
      const next: RemoveRecord[] = [];
      await this.#volumes.append({
        records: outgoing,
        apply: (rows) => {
          for (const { record, location } of outgoing) {
            const bytes = recordBytes(record);
            const tags = applyRemoval(rows, record, { volume: location.volume, bytes });
            if (tags.length > 0) next.push({ kind: "remove", id: record.id, tags });
          }
        },
      });
      left = next;
    }
  }

  #newTag(): string {
    return this.#parts.random.bytes(8).toString("hex");
  }
}

const ROWS_MAX = Number.MAX_SAFE_INTEGER;

function removalOf(id: ShardId, entry: ShardEntry): RemoveRecord {
  return { kind: "remove", id, tags: tagsOf(entry) };
}

function infoOf(record: SealRecord): ShardInfo {
  const { id, session, sequence, siblings, about, length, blocks, digest } = record;
  return { id, session, sequence, siblings, about, length, blocks: blocks.length, digest };
}

function justAfter(key: Buffer): Buffer {
  return Buffer.concat([key, Buffer.of(0)]);
}
