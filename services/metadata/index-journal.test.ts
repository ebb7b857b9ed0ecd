import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { packedBytes, packGroup, unpackGroup } from "#metadata/commit-group.ts";
import { IndexFile, makeFolder } from "#metadata/index-files.ts";
import { createLog, type DroppedCopy, IndexJournal } from "#metadata/index-journal.ts";
import {
  cursorFile,
  type IndexLayout,
  logFile,
  MEMBERSHIP_FORMAT,
  readMembership,
  writeMembership,
} from "#metadata/index-layout.ts";
import { CursorFile } from "#metadata/log-cursor.ts";
import { encodeHeader, HEADER_BYTES, type LoggedCommit } from "#metadata/log-entry.ts";
import { LogReader } from "#metadata/log-reader.ts";

const INDEX_ID = "00112233445566778899aabbccddeeff";
const calm = { isUrgent: false };

describe("the journal", () => {
  let root: string;
  let layout: IndexLayout;
  let dropped: DroppedCopy[];
  let journal: IndexJournal;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "anybucket-journal-"));
    layout = layOut(root);
    dropped = [];
    journal = new IndexJournal(layout, (copy) => dropped.push(copy));
  });
  afterEach(() => {
    vi.restoreAllMocks();
    journal.close();
    rmSync(root, { recursive: true });
  });

  test("writes each group to every copy, alike", async () => {
    for (const group of [11, 12, 13]) await journal.append(group, commitsOf(group), calm);
    expect(groupsIn("a")).toEqual([11, 12, 13]);
    expect(groupsIn("b")).toEqual([11, 12, 13]);
    expect(statSync(logOf("a")).size).toBe(statSync(logOf("b")).size);
  });

  test("has synced every copy when a group is answered", async () => {
    const synced: string[] = [];
    const asides = vi.spyOn(IndexFile.prototype, "syncAside");
    asides.mockImplementation(async function (this: IndexFile) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      synced.push(this.path);
    });
    await journal.append(11, commitsOf(11), calm);
    expect(synced.toSorted()).toEqual([logOf("a"), logOf("b")]);
  });

  test("writes over an entry whose group was not committed, by whichever process", async () => {
    await journal.append(11, commitsOf(11), calm);
    await journal.append(12, commitsOf(1200, 5000), calm);
    const other = new IndexJournal(layout, () => undefined);
    await other.append(12, commitsOf(12), calm);
    await other.append(13, commitsOf(13), calm);
    await journal.append(14, commitsOf(14), calm);
    other.close();
    expect(groupsIn("a")).toEqual([11, 12, 13, 14]);
    expect(valuesIn("b")).toEqual(["11", "12", "13", "14"]);
  });

  test("refuses a group that would leave a gap", async () => {
    await expect(journal.append(12, commitsOf(12), calm)).rejects.toThrow("ends with group 10");
  });

  test("takes back an entry that was not committed, but not one that another has written over", async () => {
    await journal.append(11, commitsOf(11), calm);
    await journal.append(12, commitsOf(12), calm);
    journal.cancel(12);
    expect(groupsIn("a")).toEqual([11]);
    await journal.append(12, commitsOf(12), calm);
    journal.cancel(13);
    expect(groupsIn("b")).toEqual([11, 12]);
  });

  test.each(["write", "syncAside"] as const)(
    "gives up a copy whose %s fails, durably, and goes on with the others",
    async (call) => {
      await journal.append(11, commitsOf(11), calm);
      failAt(call, "EIO");
      await journal.append(12, commitsOf(12), calm);
      expect(dropped.map(({ folder }) => folder)).toEqual(["a"]);
      for (const folder of ["home", "b", "spare"]) {
        const membership = readMembership(join(root, folder));
        expect({ folder, copies: membership?.copies, epoch: membership?.epoch }).toEqual({
          folder,
          copies: [{ folder: "b", state: "complete" }],
          epoch: 2,
        });
      }
      await journal.append(13, commitsOf(13), calm);
      expect(groupsIn("b")).toEqual([11, 12, 13]);
      vi.restoreAllMocks();
      const other = new IndexJournal(layout, () => undefined);
      await other.append(14, commitsOf(14), calm);
      other.close();
      expect(groupsIn("b").at(-1)).toBe(14);
      expect(groupsIn("a").at(-1)).toBeLessThan(14);
    },
  );

  test("tells other processes that a copy was given up", async () => {
    const other = new IndexJournal(layout, () => undefined);
    await other.append(11, commitsOf(11), calm);
    failAt("syncAside", "EIO");
    await journal.append(12, commitsOf(12), calm);
    vi.restoreAllMocks();
    await other.append(13, commitsOf(13), calm);
    other.close();
    expect(groupsIn("a")).toEqual([11, 12]);
    expect(groupsIn("b")).toEqual([11, 12, 13]);
  });

  test("goes on when every copy has failed", async () => {
    failAt("syncAside", "EIO", ["a", "b"]);
    await journal.append(11, commitsOf(11), calm);
    await journal.append(12, commitsOf(12), calm);
    expect(readMembership(join(root, "home"))?.copies).toEqual([]);
  });

  test("without room on a copy refuses, unless the commit must go on", async () => {
    failAt("write", "ENOSPC");
    await expect(journal.append(11, commitsOf(11), calm)).rejects.toThrow("ENOSPC");
    expect(dropped).toEqual([]);
    await journal.append(11, commitsOf(11), { isUrgent: true });
    expect(dropped.map(({ folder }) => folder)).toEqual(["a"]);
    expect(groupsIn("b")).toEqual([11]);
  });

  test("takes back what some copies had room for when another had none", async () => {
    await journal.append(11, commitsOf(11), calm);
    failAt("write", "ENOSPC", ["b"]);
    await expect(journal.append(12, commitsOf(12), calm)).rejects.toThrow("ENOSPC");
    journal.cancel(12);
    expect(groupsIn("a")).toEqual([11]);
    expect(dropped).toEqual([]);
    vi.restoreAllMocks();
    await journal.append(12, commitsOf(1200), calm);
    expect(valuesIn("a")).toEqual(["11", "1200"]);
    expect(valuesIn("b")).toEqual(["11", "1200"]);
  });

  test("begins a new log with a folder that joins, whose copy counts once it is complete", async () => {
    await journal.append(11, commitsOf(11), calm);
    const log = journal.rotate(11, ["spare"]);
    await journal.append(12, commitsOf(12), calm);
    expect(["a", "b", "spare"].map((folder) => groupsIn(folder, log))).toEqual([[12], [12], [12]]);
    expect(membersToldTo("a")).toContainEqual({ folder: "spare", state: "joining" });
    expect(journal.complete("spare")).toBe(true);
    expect(membersToldTo("a")).toContainEqual({ folder: "spare", state: "complete" });
    expect(journal.complete("unknown")).toBe(false);
  });

  test("begins with what a killed process had already made of the members", async () => {
    await journal.append(11, commitsOf(11), calm);
    const before = readMembership(join(root, "home"));
    if (before === undefined) throw new Error("no members");
    // It was killed before the cursor, and the other folders, could tell of its change.
    const folder = { id: "home", path: join(root, "home") };
    writeMembership(folder, { ...before, epoch: 2, copies: [{ folder: "b", state: "complete" }] });
    failAt("syncAside", "EIO", ["b"]);
    await journal.append(12, commitsOf(12), calm);
    expect(readMembership(join(root, "home"))).toMatchObject({ epoch: 3, copies: [] });
  });

  function failAt(call: "write" | "syncAside", code: string, folders: readonly string[] = ["a"]) {
    const original = IndexFile.prototype[call] as (...given: unknown[]) => unknown;
    const paths = folders.map((folder) => join(root, folder, "log-"));
    vi.spyOn(IndexFile.prototype, call).mockImplementation(function (
      this: IndexFile,
      ...given: unknown[]
    ) {
      if (paths.some((path) => this.path.startsWith(path))) {
        throw Object.assign(new Error(code), { code });
      }
      return original.apply(this, given) as never;
    });
  }

  function membersToldTo(folder: string) {
    return readMembership(join(root, folder))?.copies;
  }

  function logOf(folder: string, log = 1): string {
    return logFile(join(root, folder), log);
  }

  function groupsIn(folder: string, log = 1): number[] {
    return entriesIn(logOf(folder, log)).map(({ group }) => group);
  }

  function valuesIn(folder: string): string[] {
    return entriesIn(logOf(folder)).map(({ commits }) => valueOf(commits[0]));
  }
});

function layOut(root: string): IndexLayout {
  const folders = ["home", "a", "b", "spare"].map((id) => ({ id, path: join(root, id) }));
  const membership = {
    format: MEMBERSHIP_FORMAT,
    indexId: INDEX_ID,
    epoch: 1,
    home: "home",
    copies: ["a", "b"].map((folder) => ({ folder, state: "complete" as const })),
    paths: {},
  };
  const header = encodeHeader({ log: 1, after: 10, indexId: INDEX_ID, nonce: Buffer.alloc(16, 9) });
  for (const folder of folders) {
    makeFolder(folder.path);
    writeMembership(folder, membership);
    createLog(folder.path, 1, header);
  }
  const start = { epoch: 1, log: 1, group: 10, start: HEADER_BYTES, end: HEADER_BYTES };
  CursorFile.create(cursorFile(join(root, "home")), start);
  return { home: { id: "home", path: join(root, "home") }, folders, copies: 3 };
}

/** One commit that puts the number under `key`, with so many bytes behind it. */
function commitsOf(number: number, padding = 0): LoggedCommit[] {
  const value = Buffer.from(`${number}${" ".repeat(padding)}`);
  const commit = { expect: [], put: [{ key: Buffer.from("key"), value }], remove: [] };
  return unpackGroup(packGroup([commit], packedBytes(commit))).map((packed, place) => ({
    place,
    commit: packed,
  }));
}

function entriesIn(path: string) {
  const reader = LogReader.open(path);
  try {
    return [...reader.entries()];
  } finally {
    reader.close();
  }
}

/** Behind the head of a put and the three bytes of its key. */
function valueOf(logged: LoggedCommit | undefined): string {
  return (logged?.commit.changes.subarray(9).toString() ?? "").trim();
}
