/**
 * Reads an index log back: its entries in order, up to its end.
 *
 * The end is where no entry with the next number begins. Behind it may lie what a crash tore, or what a writer left
 * that was overtaken; both are younger than every group that was committed. But an entry with a higher number behind
 * it proves that one between has been damaged: entries are written one after another, each synced before the next.
 */
import { GROUP_BYTES_MAX } from "#metadata/commit-group.ts";
import { IndexFile } from "#metadata/index-files.ts";
import {
  decodeCommits,
  decodeEntryHead,
  decodeHeader,
  ENTRY_ALIGNMENT,
  ENTRY_HEAD_BYTES,
  type EntryHead,
  entryBytes,
  HEADER_BYTES,
  isPayloadOf,
  type LoggedCommit,
  type LogHeader,
} from "#metadata/log-entry.ts";

export interface LogEntry {
  readonly group: number;
  readonly commits: readonly LoggedCommit[];
  /** Where the entry begins and the next would. */
  readonly start: number;
  readonly end: number;
}

/** A commit's limit and its framing, with room to spare: a head that claims more is none. */
const PAYLOAD_BYTES_MAX = 2 * GROUP_BYTES_MAX;
const SEARCH_BYTES = 1024 * 1024;

export class LogReader {
  readonly header: LogHeader;
  readonly #file: IndexFile;
  readonly #size: number;

  /** Throws when the file is no log. */
  static open(path: string): LogReader {
    const file = new IndexFile(path, "r");
    try {
      const bytes = Buffer.alloc(HEADER_BYTES);
      file.read(0, bytes);
      const header = decodeHeader(bytes);
      if (header === undefined) throw new Error(`Cannot read index log ${path}: bad header`);
      return new LogReader(file, header);
    } catch (error) {
      file.close();
      throw error;
    }
  }

  private constructor(file: IndexFile, header: LogHeader) {
    this.#file = file;
    this.header = header;
    this.#size = file.size;
  }

  close(): void {
    this.#file.close();
  }

  /** Up to the entry of group `last`, or the end; throws when an entry has been damaged. */
  *entries(last = Number.POSITIVE_INFINITY): Generator<LogEntry> {
    let group = this.header.after;
    let start = HEADER_BYTES;
    while (group < last) {
      const head = this.#headAt(start);
      const payload = head?.group === group + 1 ? this.#payloadAt(start, head) : undefined;
      if (head === undefined || payload === undefined) {
        this.#assertEnd(start, group);
        return;
      }
      const end = start + entryBytes(head.payloadBytes);
      group = head.group;
      yield { group, commits: decodeCommits(payload, head.commits), start, end };
      start = end;
    }
  }

  #headAt(offset: number): EntryHead | undefined {
    const bytes = Buffer.alloc(ENTRY_HEAD_BYTES);
    this.#file.read(offset, bytes);
    const head = decodeEntryHead(bytes, this.header.nonce);
    return head === undefined || head.payloadBytes > PAYLOAD_BYTES_MAX ? undefined : head;
  }

  #payloadAt(offset: number, head: EntryHead): Buffer | undefined {
    const payload = Buffer.alloc(head.payloadBytes);
    const read = this.#file.read(offset + ENTRY_HEAD_BYTES, payload);
    if (read < payload.length || !isPayloadOf(head, payload, this.header.nonce)) return undefined;
    return payload;
  }

  #assertEnd(end: number, group: number): void {
    const block = Buffer.alloc(SEARCH_BYTES);
    for (let offset = end; offset < this.#size; offset += SEARCH_BYTES) {
      const length = this.#file.read(offset, block);
      for (let place = 0; place + ENTRY_HEAD_BYTES <= length; place += ENTRY_ALIGNMENT) {
        const head = decodeEntryHead(
          block.subarray(place, place + ENTRY_HEAD_BYTES),
          this.header.nonce,
        );
        if (head !== undefined && head.group > group + 1) {
          throw new Error(
            `Cannot read index log ${this.#file.path}: the entry at ${end} is damaged, group ${head.group} follows it`,
          );
        }
      }
    }
  }
}
