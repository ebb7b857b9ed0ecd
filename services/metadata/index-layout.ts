/**
 * Where an index and its copies stand on the folders of one machine, and who of them counts.
 *
 *     FOLDER/metadata/members.json    who held the index and its copies when this was last written; in every folder
 *     FOLDER/metadata/data.mdb        the index itself, in its home
 *     FOLDER/metadata/cursor          the end of the log, shared by the processes; in the home, rebuilt at each start
 *     FOLDER/metadata/copy-N.mdb      a copy of the index at a time after log N was begun
 *     FOLDER/metadata/log-N           the groups committed since; beside each copy
 */
import { join } from "node:path";
import { isMissing, readFile, removeFile, writeFileDurably } from "#metadata/index-files.ts";

export interface IndexFolder {
  /** Random, given once: paths may change between starts. */
  readonly id: string;
  /** FOLDER/metadata */
  readonly path: string;
}

export interface CopyMember {
  readonly folder: string;
  /** Joining: its log is written, but its copy of the index is not yet there, so it cannot replace the home. */
  readonly state: "complete" | "joining";
}

export interface Membership {
  readonly format: number;
  readonly indexId: string;
  /** Grows with every change: of two records the higher one tells who counts. */
  readonly epoch: number;
  readonly home: string;
  readonly copies: readonly CopyMember[];
  /** Where the folders were at the last start, by id; for messages. */
  readonly paths: Readonly<Record<string, string>>;
}

/** What the supervising process tells its workers; plain data. */
export interface IndexLayout {
  readonly home: IndexFolder;
  /** All folders of the machine that could be used, the home included. */
  readonly folders: readonly IndexFolder[];
  /** How many folders shall hold the index, its home included. */
  readonly copies: number;
}

export const MEMBERSHIP_FORMAT = 1;
/** Within each of the machine's folders; `index` is that of its shards. */
export const METADATA_FOLDER = "metadata";
const MEMBERS_FILE = "members.json";

/** Undefined when the folder has none; throws when it cannot be read, which must not be taken for absence (I11). */
export function readMembership(path: string): (Membership & { self: string }) | undefined {
  const file = join(path, MEMBERS_FILE);
  let text: string;
  try {
    text = readFile(file).toString();
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  const record = JSON.parse(text) as Membership & { self: string };
  if (record.format !== MEMBERSHIP_FORMAT) {
    throw new Error(
      `Cannot read ${file}: its format is ${record.format}, the newest known here is ${MEMBERSHIP_FORMAT}`,
    );
  }
  return record;
}

/** Durable when it returns. */
export function writeMembership(folder: IndexFolder, membership: Membership): void {
  const record = { ...membership, self: folder.id };
  writeFileDurably(join(folder.path, MEMBERS_FILE), Buffer.from(`${JSON.stringify(record)}\n`));
}

export function logFile(path: string, log: number): string {
  return join(path, `log-${padded(log)}`);
}

export function copyFile(path: string, log: number): string {
  return join(path, `copy-${padded(log)}.mdb`);
}

export function dataFile(path: string): string {
  return join(path, "data.mdb");
}

export function cursorFile(path: string): string {
  return join(path, "cursor");
}

/** Where a copy is written before it gets its name. */
export function unfinishedCopy(path: string): string {
  return join(path, "unfinished");
}

/** Numbers of the logs, or of the copies, among the names of a folder; in order. */
export function numbered(names: readonly string[], kind: "log" | "copy"): readonly number[] {
  const pattern = kind === "log" ? /^log-(\d{10})$/ : /^copy-(\d{10})\.mdb$/;
  return names
    .map((name) => Number(pattern.exec(name)?.[1] ?? -1))
    .filter((number) => number >= 0)
    .toSorted((a, b) => a - b);
}

/** Removes what a folder holds beside its membership record and, when it is the home, the index. */
export function removeCopies(
  path: string,
  names: readonly string[],
  below = Number.POSITIVE_INFINITY,
) {
  for (const log of numbered(names, "copy")) if (log < below) removeFile(copyFile(path, log));
  for (const log of numbered(names, "log")) if (log < below) removeFile(logFile(path, log));
}

export function removeIndex(path: string): void {
  for (const file of [dataFile(path), join(path, "lock.mdb"), cursorFile(path)]) removeFile(file);
}

function padded(log: number): string {
  return `${log}`.padStart(10, "0");
}
