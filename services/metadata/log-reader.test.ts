import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { rounds } from "#lib/testing/rounds.ts";
import {
  ENTRY_HEAD_BYTES,
  encodeEntry,
  encodeHeader,
  HEADER_BYTES,
  type LoggedCommit,
} from "#metadata/log-entry.ts";
import { LogReader } from "#metadata/log-reader.ts";

const NONCE = Buffer.alloc(16, 0x5a);
const HEADER = encodeHeader({ log: 7, after: 100, indexId: "ab".repeat(16), nonce: NONCE });
const root = mkdtempSync(join(tmpdir(), "anybucket-log-"));
const path = join(root, "log");
afterAll(() => rmSync(root, { recursive: true }));

describe("a log", () => {
  test("gives back its entries, up to the one asked for", () => {
    write(entry(101, 3), entry(102, 700), entry(103, 0));
    expect(read()).toEqual([101, 102, 103]);
    expect(read(102)).toEqual([101, 102]);
  });

  test("gives back commits as they were", () => {
    const commits = [commit(0, Buffer.from("abc")), commit(5, Buffer.alloc(0)), commit(9, NONCE)];
    write(encodeEntry(101, commits, NONCE));
    const reader = LogReader.open(path);
    const [found] = [...reader.entries()];
    reader.close();
    expect(found?.commits).toEqual(commits);
  });

  test("ends where it is cut, wherever that is", () => {
    const whole = [HEADER, entry(101, 50), entry(102, 300), entry(103, 10)];
    const bytes = Buffer.concat(whole);
    for (let length = HEADER_BYTES; length < bytes.length; length += 3) {
      writeFileSync(path, bytes.subarray(0, length));
      const groups = read();
      expect(groups).toEqual([101, 102, 103].slice(0, groups.length));
      const kept = Buffer.concat(whole.slice(0, groups.length + 1)).length;
      // Padding may be missing; it says nothing.
      expect(kept - length).toBeLessThan(64);
    }
  });

  test("with a byte changed gives a shorter row of the same entries, or says it is damaged", () => {
    const bytes = Buffer.concat([HEADER, entry(101, 100), entry(102, 100), entry(103, 100)]);
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: bytes.length - 1 }),
        fc.integer({ min: 1, max: 255 }),
        (place, change) => {
          const changed = Buffer.from(bytes);
          changed[place] = (changed[place] ?? 0) ^ change;
          writeFileSync(path, changed);
          const groups = readOrRefuse();
          expect(groups ?? []).toEqual([101, 102, 103].slice(0, groups?.length ?? 0));
        },
      ),
      { numRuns: rounds(300) },
    );
  });

  test("says it is damaged when an entry cannot be read but a later one can", () => {
    write(entry(101, 10), entry(102, 10), entry(103, 10));
    const bytes = readFileSync(path);
    bytes[HEADER_BYTES + ENTRY_HEAD_BYTES] = 0xff;
    writeFileSync(path, bytes);
    expect(() => read()).toThrow("group 102 follows it");
  });

  test("does not take for entries what clients put into it, nor what an earlier log left", () => {
    const forged = Buffer.concat([Buffer.alloc(52), encodeEntry(102, [], Buffer.alloc(16))]);
    write(encodeEntry(101, [commit(0, forged)], NONCE), encodeEntry(102, [], Buffer.alloc(16, 1)));
    expect(read()).toEqual([101]);
  });

  test("of any bytes is refused, or empty", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), (bytes, hasHeader) => {
        writeFileSync(path, hasHeader ? Buffer.concat([HEADER, bytes]) : bytes);
        expect(readOrRefuse() ?? []).toEqual([]);
      }),
      { numRuns: rounds(200) },
    );
  });
});

function write(...entries: readonly Buffer[]): void {
  writeFileSync(path, Buffer.concat([HEADER, ...entries]));
}

function read(last?: number): number[] {
  const reader = LogReader.open(path);
  try {
    return [...reader.entries(last)].map(({ group }) => group);
  } finally {
    reader.close();
  }
}

function readOrRefuse(): number[] | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof Error && error.message.startsWith("Cannot read index log"))
      return undefined;
    throw error;
  }
}

function entry(group: number, bytes: number): Buffer {
  return encodeEntry(group, [commit(0, Buffer.alloc(bytes, group))], NONCE);
}

function commit(place: number, changes: Buffer): LoggedCommit {
  return { place, commit: { puts: 1, removals: 0, changes } };
}
