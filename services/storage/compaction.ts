/**
 * Takes a mostly dead volume away: copies what is still needed of it into a new one, then removes it.
 *
 * Safe to be cut short anywhere. A copy is durable before the index points to it, the index is durable
 * before the old file goes, and until then every reader finds the shard at either place. A copied seal
 * keeps its tag, so a tombstone that comes meanwhile, or came long before, names the copy as well; and a
 * tombstone is kept as long as any other volume may hold a seal that it names.
 *
 * One process compacts at a time, under a lock, and only closed volumes: nobody writes those.
 */
import type { Disk, DurableFile } from "#lib/disk.ts";
import type { Logger } from "#lib/log.ts";
import { ShardCorrupt, type ShardId } from "#shards/shard-store.ts";
import type { ActiveVolumes } from "#storage/active-volumes.ts";
import {
  ALL_PINS,
  contentOfPin,
  decodeVolumeRow,
  type ShardEntry,
  shardKey,
  VOLUME_RANGE,
  volumeKey,
  volumeOfKey,
} from "#storage/index-rows.ts";
import type { IndexStore, IndexTransaction } from "#storage/index-store.ts";
import {
  type BlockRecord,
  type Location,
  type RemoveRecord,
  recordBytes,
  type SealRecord,
  saltOf,
} from "#storage/record.ts";
import {
  applyMoves,
  contentUsers,
  findShard,
  findTombstone,
  findVolume,
  forgetSealIn,
  isPinned,
  moveTombstone,
} from "#storage/shard-index.ts";
import type { ShardReader } from "#storage/shard-reader.ts";
import type { Outgoing, Volume } from "#storage/volume.ts";
import { volumePath } from "#storage/volume.ts";
import type { VolumeFiles } from "#storage/volume-files.ts";
import { type ScannedRecord, scanVolume } from "#storage/volume-scan.ts";

export interface CompactionParts {
  readonly disk: Disk;
  readonly index: IndexStore;
  readonly secret: Buffer;
  readonly files: VolumeFiles;
  readonly reader: ShardReader;
  /** Where what is still needed goes; its own volumes, so that old bytes and new do not mix. */
  readonly target: ActiveVolumes;
  readonly log: Logger;
}

export type Compaction =
  | { readonly kind: "removed"; readonly volume: number; readonly freed: number }
  /** Something in it is still needed and could not be moved now. */
  | { readonly kind: "kept"; readonly volume: number; readonly reason: string };

/** Seals forgotten in one transaction, which nothing else of this process runs beside. */
const FORGET_MAX = 500;
/** Shards moved before their new seals are written: bounds memory. */
const MOVES_MAX = 500;

export async function compactVolume(
  parts: CompactionParts,
  volume: number,
  signal: AbortSignal,
): Promise<Compaction> {
  const run = new CompactionRun(parts, volume);
  await using file = await parts.disk.open(volumePath(volume), "read");
  let reason: string | undefined;
  try {
    reason = await run.copy(file, signal);
  } catch (error) {
    if (!(error instanceof ShardCorrupt)) throw error;
    reason = error.message;
  }
  if (reason !== undefined) return { kind: "kept", volume, reason };
  return await run.remove();
}

/**
 * The closed volume with the smallest share still needed, if that is below the limit. The newest volume
 * is left alone: as long as the highest id is taken, none is ever used twice.
 */
export function volumeToCompact(
  index: IndexStore,
  { below, except }: { below: number; except: ReadonlySet<number> },
): number | undefined {
  const rows = index.range(VOLUME_RANGE.from, VOLUME_RANGE.to, Number.MAX_SAFE_INTEGER);
  const newest = rows.at(-1)?.[0];
  let best: { volume: number; share: number } | undefined;
  for (const [key, value] of rows) {
    const { isClosed, live, kept, scannedTo } = decodeVolumeRow(value);
    const volume = volumeOfKey(key);
    if (!isClosed || key === newest || except.has(volume)) continue;
    const share = (live + kept) / Math.max(1, scannedTo);
    if (share < (best?.share ?? below)) best = { volume, share };
  }
  return best?.volume;
}

/** What happens to one content: where its blocks in this volume have gone. */
interface Moved {
  readonly users: readonly ShardId[];
  readonly blocks: Map<number, Location>;
}

class CompactionRun {
  readonly #parts: CompactionParts;
  readonly #volume: number;
  /** By content tag. */
  readonly #moves = new Map<string, Moved>();
  /** Shards whose seal stands in this volume and which need a new one. */
  readonly #seals = new Map<string, ShardId>();
  /** Volumes with copied blocks whose seals are still to be written. */
  readonly #held = new Set<Volume>();
  /** Tags of all contents with blocks in this volume. */
  readonly #contents = new Set<string>();
  /** Tags of all seals in this volume, and whose. */
  readonly #sealed: { readonly id: ShardId; readonly tag: string }[] = [];

  constructor(parts: CompactionParts, volume: number) {
    this.#parts = parts;
    this.#volume = volume;
  }

  /** Copies what is needed; answers why the volume must stay, if it must. */
  async copy(file: DurableFile, signal: AbortSignal): Promise<string | undefined> {
    const { index, secret } = this.#parts;
    const to = findVolume(index, this.#volume)?.scannedTo ?? 0;
    try {
      const range = { salt: saltOf(secret, this.#volume), from: 0, to };
      for await (const scanned of scanVolume(file, range)) {
        signal.throwIfAborted();
        if (scanned.kind === "damage") return "it has bad bytes";
        const reason = await this.#copyRecord(file, scanned);
        if (reason !== undefined) return reason;
        if (this.#moves.size + this.#seals.size >= MOVES_MAX) await this.#writeSeals();
      }
      await this.#writeSeals();
      return undefined;
    } finally {
      this.#release();
    }
  }

  async remove(): Promise<Compaction> {
    const { disk, index, files, log } = this.#parts;
    const volume = this.#volume;
    const row = findVolume(index, volume);
    const reason = await index.transact((rows) => this.#reasonToStay(rows));
    if (reason !== undefined) return { kind: "kept", volume, reason };
    // Were the index to fall back behind this, it would point into a file that is gone.
    await index.flush();
    await disk.remove(volumePath(volume));
    await index.transact((rows) => rows.remove(volumeKey(volume)));
    for (let start = 0; start < this.#sealed.length; start += FORGET_MAX) {
      const seals = this.#sealed.slice(start, start + FORGET_MAX);
      await index.transact((rows) => {
        for (const seal of seals) forgetSealIn(rows, volume, seal);
      });
    }
    files.retire(volume);
    const freed = row?.scannedTo ?? 0;
    log.info({ volume, freed }, "Compacted volume");
    return { kind: "removed", volume, freed };
  }

  /** None is final: with no name here and none being made, there is nothing that another could be made from. */
  #reasonToStay(rows: IndexTransaction): string | undefined {
    const { live = 0, kept = 0 } = findVolume(rows, this.#volume) ?? {};
    if (live > 0 || kept > 0) return `${live + kept} bytes are still needed`;
    // A source may have been removed behind the pin of its link.
    const pins = rows.range(ALL_PINS.from, ALL_PINS.to, Number.MAX_SAFE_INTEGER);
    const isLinking = pins.some(([key]) => this.#contents.has(contentOfPin(key)));
    return isLinking ? "a shard in it is being linked" : undefined;
  }

  async #copyRecord(file: DurableFile, scanned: ScannedRecord): Promise<string | undefined> {
    const { record, offset } = scanned;
    switch (record.kind) {
      case "block":
        return this.#copyBlock(file, record, { offset, payload: offset + scanned.headBytes });
      case "seal":
        this.#noteSeal(record, offset);
        return undefined;
      case "remove":
        await this.#copyTombstone(record);
        return undefined;
      case "volume":
      case "batch":
      case "end":
        return undefined;
    }
  }

  async #copyBlock(
    file: DurableFile,
    record: BlockRecord,
    { offset, payload }: { offset: number; payload: number },
  ): Promise<string | undefined> {
    const { index, target } = this.#parts;
    this.#contents.add(record.content.tag);
    const users = contentUsers(index, record.content);
    const isHere = (id: ShardId) => {
      const place = findShard(index, id)?.blocks[record.number];
      return place?.volume === this.#volume && place.offset === offset;
    };
    if (isPinned(index, record.content.tag)) return "a shard in it is being linked";
    if (!users.some(isHere)) return undefined;
    // Copied as it is, wrong bytes and all: its checksums go with it, and scrub still finds it.
    const bytes = Buffer.allocUnsafe(record.length);
    if ((await file.read(payload, [bytes])) < bytes.length) return "it is shorter than it was";
    const location = { volume: 0, offset: 0 };
    const volume = await target.acquire();
    if (this.#held.has(volume)) target.release(volume);
    else this.#held.add(volume);
    await volume.append({ records: [{ record, payload: [bytes], location }], durable: false });
    const moved = this.#moves.get(record.content.tag) ?? { users, blocks: new Map() };
    moved.blocks.set(record.number, location);
    this.#moves.set(record.content.tag, moved);
    return undefined;
  }

  #noteSeal(record: SealRecord, offset: number): void {
    this.#sealed.push({ id: record.id, tag: record.tag });
    const entry = findShard(this.#parts.index, record.id);
    if (entry?.seal.volume !== this.#volume || entry.seal.offset !== offset) return;
    this.#seals.set(shardKey(record.id).toString("latin1"), record.id);
  }

  async #copyTombstone(record: RemoveRecord): Promise<void> {
    const { index, target } = this.#parts;
    const needed = record.tags.filter((tag) => {
      const row = findTombstone(index, tag);
      if (row === undefined) return false;
      return row.seals.some(
        (each) => each !== this.#volume && findVolume(index, each) !== undefined,
      );
    });
    const from = this.#volume;
    if (needed.length === 0) {
      await index.transact((rows) => {
        for (const tag of record.tags) moveTombstone(rows, tag, { from, to: undefined });
      });
      return;
    }
    const copy: RemoveRecord = { ...record, tags: needed };
    const location = { volume: 0, offset: 0 };
    const bytes = Math.ceil(recordBytes(copy) / needed.length);
    await target.append({
      records: [{ record: copy, location }],
      apply: (rows) => {
        for (const tag of record.tags) {
          const to = needed.includes(tag) ? { volume: location.volume, bytes } : undefined;
          moveTombstone(rows, tag, { from, to });
        }
      },
    });
  }

  /** Writes the seals that say where the blocks are now; what was copied so far is the index's then. */
  async #writeSeals(): Promise<void> {
    const ids = new Map(this.#seals);
    for (const { users } of this.#moves.values()) {
      for (const id of users) ids.set(shardKey(id).toString("latin1"), id);
    }
    const rewrites: Rewrite[] = [];
    for (const id of ids.values()) {
      const rewrite = await this.#rewrite(id);
      if (rewrite !== undefined) rewrites.push(rewrite);
    }
    if (rewrites.length > 0) {
      const records = rewrites.map(({ outgoing }) => outgoing);
      const contents = Map.groupBy(rewrites, ({ record }) => record.content.tag);
      const users = new Map([...this.#moves].map(([tag, moved]) => [tag, moved.users.length]));
      const apply = (rows: IndexTransaction) => {
        for (const [tag, each] of contents) {
          const moves = each.map(({ before, record, outgoing }) => ({
            before,
            record,
            place: { ...outgoing.location, bytes: recordBytes(record) },
          }));
          applyMoves(rows, moves, { users: users.get(tag) });
        }
      };
      await this.#parts.target.append({ records, apply }, this.#held);
    }
    this.#moves.clear();
    this.#seals.clear();
    this.#release();
  }

  async #rewrite(id: ShardId): Promise<Rewrite | undefined> {
    const { index, reader } = this.#parts;
    const before = findShard(index, id);
    if (before === undefined) return undefined;
    const moved = this.#moves.get(before.content.tag);
    const seal = await reader.readSeal(id, before);
    const blocks = before.blocks.map((block, number) => moved?.blocks.get(number) ?? block);
    const record: SealRecord = { ...seal, blocks };
    return { before, record, outgoing: { record, location: { volume: 0, offset: 0 } } };
  }

  #release(): void {
    for (const volume of this.#held) this.#parts.target.release(volume);
    this.#held.clear();
  }
}

interface Rewrite {
  readonly before: ShardEntry;
  readonly record: SealRecord;
  readonly outgoing: Outgoing;
}
