/**
 * Brings the index up to date with volumes whose writer is gone: after a crash of one process while
 * others go on, after a power cut, or from nothing when the index is lost.
 *
 * What may be cut: only the tail of a volume that was never ended, and of that only what lies above
 * the last offset known to be durable (from its batch records, and from the index). Nothing there was
 * acknowledged. Bad bytes anywhere else are corruption: they stay, are passed over and reported.
 */
import type { Disk, DurableFile } from "#lib/disk.ts";
import type { Logger } from "#lib/log.ts";
import type { VolumeRow } from "#storage/index-rows.ts";
import type { IndexStore, IndexTransaction } from "#storage/index-store.ts";
import {
  type BlockRecord,
  encodeHead,
  type Location,
  type Record,
  type RemoveRecord,
  recordBytes,
  type SealRecord,
  saltOf,
  type VolumeRecord,
} from "#storage/record.ts";
import {
  applyRemoval,
  applySeal,
  changeVolume,
  findShard,
  findVolume,
} from "#storage/shard-index.ts";
import { volumePath } from "#storage/volume.ts";
import { isPayloadGood, scanVolume } from "#storage/volume-scan.ts";

/** Records told to the index in one transaction. */
const BATCH_RECORDS = 2000;

export interface Damage {
  readonly volume: number;
  readonly offset: number;
  readonly bytes: number;
}

export interface RecoveryReport {
  readonly volumes: number;
  /** Bytes of torn tails. */
  readonly cut: number;
  /** Worth a scrub and a repair. */
  readonly damage: readonly Damage[];
}

interface Parts {
  readonly disk: Disk;
  readonly index: IndexStore;
  readonly secret: Buffer;
  readonly log: Logger;
}

/** The owner that a volume's first record names; undefined when that record is not readable. */
export async function readOwner(
  { disk, secret }: Pick<Parts, "disk" | "secret">,
  volume: number,
): Promise<string | undefined> {
  await using file = await disk.open(volumePath(volume), "read");
  return (await readHeader(file, saltOf(secret, volume)))?.owner;
}

/** Ends the volumes after cutting their torn tails, and tells the index what it does not know of them yet. */
export async function recoverVolumes(
  parts: Parts,
  volumes: readonly number[],
): Promise<RecoveryReport> {
  const { disk, index, secret, log } = parts;
  const ends = new Map<number, number>();
  const twins: Found<SealRecord>[] = [];
  const damage: Damage[] = [];
  let cut = 0;
  for (const volume of volumes) {
    await using file = await disk.open(volumePath(volume), "write");
    const salt = saltOf(secret, volume);
    const from = findVolume(index, volume)?.scannedTo ?? 0;
    const tail = await surveyTail(file, { salt, from });
    const to = tail.isEnded ? tail.end : await endVolume(file, { salt, at: tail.end });
    twins.push(...(await tell(index, { volume, salt, file, from, to })));
    for (const each of tail.damage) damage.push({ volume, ...each });
    log.info({ volume, from, to, cut: tail.cut }, "Recovered volume");
    cut += tail.cut;
    ends.set(volume, to);
  }
  for (const each of damage) log.error(each, "Volume has bad bytes: passed over");
  await index.transact((rows) => {
    // A second seal of a shard counts if, when all is told, the first does not.
    for (const { record, place } of twins) applySeal(rows, record, place, "found");
    for (const [volume, end] of ends) {
      changeVolume(rows, volume, () => ({ scannedTo: end, isClosed: true }));
    }
  });
  return { volumes: volumes.length, cut, damage };
}

interface Found<T extends Record> {
  readonly record: T;
  readonly place: Location & { readonly bytes: number };
}

export const NEW_VOLUME: VolumeRow = {
  scannedTo: 0,
  isClosed: false,
  live: 0,
  kept: 0,
  owner: "",
};

interface Tail {
  /** Where the good part ends. */
  readonly end: number;
  readonly cut: number;
  readonly isEnded: boolean;
  readonly damage: readonly { offset: number; bytes: number }[];
}

async function surveyTail(
  file: DurableFile,
  { salt, from }: { salt: number; from: number },
): Promise<Tail> {
  const size = await file.size();
  let durable = from;
  let end = from;
  let isEnded = false;
  const damage: { offset: number; bytes: number }[] = [];
  let blocks: { offset: number; payload: number; record: BlockRecord }[] = [];
  for await (const each of scanVolume(file, { salt, from, to: size })) {
    if (each.kind === "damage") {
      damage.push({ offset: each.offset, bytes: each.bytes });
      continue;
    }
    const { record, offset } = each;
    end = offset + each.bytes;
    isEnded = record.kind === "end";
    if (record.kind === "block") blocks.push({ offset, payload: offset + each.headBytes, record });
    if (record.kind === "batch" && record.durable > durable) {
      durable = record.durable;
      blocks = blocks.filter((block) => block.offset >= durable);
    }
  }
  if (isEnded) return { end, cut: 0, isEnded, damage };
  // The first bad byte above the durable offset begins the torn tail, whatever follows it.
  let cutAt = Math.max(end, durable);
  for (const { offset } of damage) if (offset >= durable) cutAt = Math.min(cutAt, offset);
  for (const { offset, payload, record } of blocks) {
    if (offset >= cutAt) break;
    if (!(await isPayloadGood(file, record, payload))) cutAt = offset;
  }
  return {
    end: cutAt,
    cut: Math.max(0, size - cutAt),
    isEnded,
    damage: damage.filter(({ offset }) => offset < durable),
  };
}

/** Cuts what lies above and writes the volume's last record; all of it is durable then, whoever wrote it. */
async function endVolume(
  file: DurableFile,
  { salt, at }: { salt: number; at: number },
): Promise<number> {
  const record: Record = { kind: "end" };
  const head = Buffer.alloc(recordBytes(record));
  encodeHead(record, head, { offset: at, salt });
  await file.truncate(at);
  await file.write(at, [head]);
  await file.sync();
  return at + head.length;
}

/** Tells the index of all records in the range, but for seals of shards that have another one; answers these. */
async function tell(
  index: IndexStore,
  range: { volume: number; salt: number; file: DurableFile; from: number; to: number },
): Promise<readonly Found<SealRecord>[]> {
  const { volume, salt, file, from, to } = range;
  const twins: Found<SealRecord>[] = [];
  let batch: Found<SealRecord | RemoveRecord>[] = [];
  const flush = async () => {
    const found = batch;
    batch = [];
    await index.transact((rows) => {
      for (const { record, place } of found) {
        if (record.kind === "remove") applyRemoval(rows, record, place);
        else if (isTwin(rows, record)) twins.push({ record, place });
        else applySeal(rows, record, place, "found");
      }
    });
  };
  for await (const each of scanVolume(file, { salt, from, to })) {
    if (each.kind === "damage") continue;
    const { record, offset, bytes } = each;
    if (record.kind !== "seal" && record.kind !== "remove") continue;
    batch.push({ record, place: { volume, offset, bytes } });
    if (batch.length >= BATCH_RECORDS) await flush();
  }
  await flush();
  return twins;
}

function isTwin(rows: IndexTransaction, record: SealRecord): boolean {
  const existing = findShard(rows, record.id);
  return existing !== undefined && existing.tag !== record.tag;
}

async function readHeader(file: DurableFile, salt: number): Promise<VolumeRecord | undefined> {
  for await (const each of scanVolume(file, { salt, from: 0, to: HEADER_SCAN_BYTES })) {
    return each.kind === "record" && each.record.kind === "volume" ? each.record : undefined;
  }
  return undefined;
}

/** More than the first record takes. */
const HEADER_SCAN_BYTES = 4096;
