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
  type Record,
  recordBytes,
  saltOf,
  type VolumeRecord,
} from "#storage/record.ts";
import {
  applyRemoval,
  applySeal,
  changeVolume,
  findVolume,
  putVolume,
} from "#storage/shard-index.ts";
import { volumePath } from "#storage/volume.ts";
import { isPayloadGood, type ScannedRecord, scanVolume } from "#storage/volume-scan.ts";

/** Records told to the index in one transaction. */
const BATCH_RECORDS = 2000;

export interface Damage {
  readonly volume: number;
  readonly offset: number;
  readonly bytes: number;
}

export interface Recovery {
  readonly records: number;
  /** Bytes of the torn tail. */
  readonly cut: number;
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

/** Ends the volume after cutting its torn tail, and tells the index what it does not know of it yet. */
export async function recoverVolume(parts: Parts, volume: number): Promise<Recovery> {
  const { disk, index, secret, log } = parts;
  await using file = await disk.open(volumePath(volume), "write");
  const salt = saltOf(secret, volume);
  const row = findVolume(index, volume);
  const owner = row?.owner ?? (await readHeader(file, salt))?.owner ?? "";
  const from = row?.scannedTo ?? 0;
  const tail = await surveyTail(file, { salt, from });
  const size = tail.isEnded ? tail.end : await endVolume(file, { salt, at: tail.end });
  await index.transact((rows) => {
    if (row === undefined) putVolume(rows, volume, { ...NEW_VOLUME, owner });
  });
  const records = await tell(index, { volume, salt, file, from, to: size });
  await index.transact((rows) =>
    changeVolume(rows, volume, () => ({ scannedTo: size, isClosed: true })),
  );
  const damage = tail.damage.map((each) => ({ volume, ...each }));
  for (const each of damage) log.error(each, "Volume has bad bytes: passed over");
  log.info({ volume, records, cut: tail.cut }, "Recovered volume");
  return { records, cut: tail.cut, damage };
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

/** Tells the index of all records in the range; answers how many there were. */
async function tell(
  index: IndexStore,
  range: { volume: number; salt: number; file: DurableFile; from: number; to: number },
): Promise<number> {
  const { volume, salt, file, from, to } = range;
  let batch: ScannedRecord[] = [];
  let count = 0;
  const flush = async () => {
    const records = batch;
    batch = [];
    count += records.length;
    await index.transact((rows) => {
      for (const each of records) tellRecord(rows, volume, each);
    });
  };
  for await (const each of scanVolume(file, { salt, from, to })) {
    if (each.kind === "damage") continue;
    if (each.record.kind === "seal" || each.record.kind === "remove") batch.push(each);
    if (batch.length >= BATCH_RECORDS) await flush();
  }
  await flush();
  return count;
}

function tellRecord(
  rows: IndexTransaction,
  volume: number,
  { record, offset, bytes }: ScannedRecord,
): void {
  if (record.kind === "seal") applySeal(rows, record, { volume, offset, bytes }, "found");
  if (record.kind === "remove") applyRemoval(rows, record, { volume, bytes });
}

async function readHeader(file: DurableFile, salt: number): Promise<VolumeRecord | undefined> {
  for await (const each of scanVolume(file, { salt, from: 0, to: HEADER_SCAN_BYTES })) {
    return each.kind === "record" && each.record.kind === "volume" ? each.record : undefined;
  }
  return undefined;
}

/** More than the first record takes. */
const HEADER_SCAN_BYTES = 4096;
