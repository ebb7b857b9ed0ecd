/** A copy of the index beside its logs: what state it holds, and how an index is built from it or brought up to it. */
import { applyChanges, GROUP_COMMITS_MAX } from "#metadata/commit-group.ts";
import { copyDurably, exists, namesIn } from "#metadata/index-files.ts";
import { copyFile, dataFile, logFile, numbered, removeIndex } from "#metadata/index-layout.ts";
import {
  continueFrom,
  type Environment,
  lastGroup,
  openEnvironment,
} from "#metadata/lmdb-environment.ts";
import { assertWhole } from "#metadata/lmdb-file.ts";
import { type LogEntry, LogReader } from "#metadata/log-reader.ts";

export interface CopyState {
  readonly path: string;
  /** To be applied to the copy, in order; the first has the copy's own number. */
  readonly logs: readonly LogPart[];
  /** The last group that the copy holds with its logs. */
  readonly group: number;
}

/** The groups of one log that count. */
interface LogPart {
  readonly log: number;
  readonly after: number;
  readonly until: number;
}

/** Entries applied in one transaction while an index is rebuilt. */
const REPLAY_ENTRIES = 1000;

/** Throws, with the reason, when the copy cannot stand for the index. */
export function inspectCopy(path: string, indexId: string): CopyState {
  const names = namesIn(path);
  const base = numbered(names, "copy").at(-1);
  if (base === undefined) throw unusable(path, "there is none");
  const numbers = numbered(names, "log").filter((log) => log >= base);
  if (numbers[0] !== base) throw unusable(path, `log ${base} is missing`);
  const logs: LogPart[] = [];
  for (const log of numbers) append(logs, readPart(path, log, indexId), path);
  return { path, logs, group: logs.at(-1)?.until ?? 0 };
}

/** Makes an index in `home` of the copy and its logs; opened, and as new as the copy. */
export function rebuildFrom(copy: CopyState, home: string, indexId: string): Environment {
  removeIndex(home);
  copyDurably(copyFile(copy.path, copy.logs[0]?.log ?? 0), dataFile(home));
  return openNewest(home, indexId, copy);
}

/**
 * Opens an index that must be there, and be this one; applies what the copy's logs have beyond it. Entries say what
 * is, not what changes, so those that were half done are done again.
 */
export function openNewest(
  path: string,
  indexId: string,
  copy: CopyState | undefined,
): Environment {
  if (!exists(dataFile(path))) throw new Error(`Cannot open the index in ${path}: it is missing`);
  if (copy !== undefined) assertWhole(dataFile(path));
  const environment = openEnvironment(path, () => {
    throw new Error(`Cannot open the index in ${path}: it is empty`);
  });
  try {
    if (environment.record.indexId !== indexId) {
      throw new Error(`Cannot open the index in ${path}: it is another store's`);
    }
    return copy === undefined ? environment : replay(copy, environment);
  } catch (error) {
    void environment.database.close();
    throw error;
  }
}

/** Brings a copy that is a little behind up to another's state, if their logs are the same as far as both go. */
export function catchUp(copy: CopyState, best: CopyState): boolean {
  const from = copy.logs.at(-1)?.log ?? 0;
  if (!best.logs.some(({ log }) => log === from)) return false;
  for (const { log } of best.logs) {
    if (log >= from) copyDurably(logFile(best.path, log), logFile(copy.path, log));
  }
  return true;
}

function readPart(path: string, log: number, indexId: string): LogPart {
  const reader = LogReader.open(logFile(path, log));
  try {
    const { after } = reader.header;
    if (reader.header.indexId !== indexId) throw unusable(path, `log ${log} is another store's`);
    let until = after;
    for (const { group } of reader.entries()) until = group;
    return { log, after, until };
  } finally {
    reader.close();
  }
}

function append(logs: LogPart[], next: LogPart, path: string): void {
  const last = logs.at(-1);
  if (last === undefined || next.after === last.until) {
    logs.push(next);
  } else if (next.after < last.until && next.until === next.after) {
    // Its writer died before the end of the log moved here: the one before was written on.
  } else if (next.after === last.until - 1) {
    // The last entry of the log before was never committed: its writer died, and this log began without it.
    logs[logs.length - 1] = { ...last, until: next.after };
    logs.push(next);
  } else {
    throw unusable(path, `log ${next.log} begins after group ${next.after}, not ${last.until}`);
  }
}

function replay(copy: CopyState, environment: Environment): Environment {
  const known = lastGroup(environment);
  const first = copy.logs.find(({ until }) => until > known);
  if (first === undefined) return environment;
  if (first.after > known) throw unusable(copy.path, `its logs begin after group ${known}`);
  let newest = environment;
  let batch: LogEntry[] = [];
  for (const entry of entriesOf(copy)) {
    if (entry.group <= known) continue;
    batch.push(entry);
    if (batch.length < REPLAY_ENTRIES && entry.group < copy.group) continue;
    newest = applyEntries(newest, batch);
    batch = [];
  }
  return newest;
}

function* entriesOf({ path, logs }: CopyState): Generator<LogEntry> {
  for (const { log, until } of logs) {
    const reader = LogReader.open(logFile(path, log));
    try {
      yield* reader.entries(until);
    } finally {
      reader.close();
    }
  }
}

function applyEntries(environment: Environment, entries: readonly LogEntry[]): Environment {
  const { database } = environment;
  return database.transactionSync(() => {
    for (const { group, commits } of entries) {
      for (const { place, commit } of commits) {
        const revision = group * GROUP_COMMITS_MAX + place;
        applyChanges(commit, {
          put: (key, value) => void database.put(key, value, revision),
          remove: (key) => void database.removeSync(key),
        });
      }
    }
    return continueFrom(environment, entries.at(-1)?.group ?? lastGroup(environment));
  });
}

function unusable(path: string, reason: string): Error {
  return new Error(`Cannot use the index's copy in ${path}: ${reason}`);
}
