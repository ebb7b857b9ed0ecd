import { readdirSync, rmSync, statSync, truncateSync } from "node:fs";
import { cp, open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { silentLog } from "#lib/log.ts";
import { readMembership } from "#metadata/index-layout.ts";
import { type LocalIndex, openIndex } from "#metadata/index-log.ts";
import { openEnvironment } from "#metadata/lmdb-environment.ts";
import { metadataStoreContract } from "#metadata/metadata-store.contract.ts";
import { MetadataFull, type MetadataStore } from "#metadata/metadata-store.ts";
import { IndexFolders } from "#metadata/testing/index-folders.ts";
import { IndexProcess } from "#metadata/testing/processes.ts";

const contractFolders: IndexFolders[] = [];
metadataStoreContract("lmdb with copies", async () => {
  const folders = await IndexFolders.make(3, 3);
  contractFolders.push(folders);
  return (await folders.start()).store;
});
afterAll(async () => {
  for (const folders of contractFolders) await folders[Symbol.asyncDispose]();
});

/** Home in folder 0, copies in 1 and 2, folder 3 to spare; filled once, copied for each test. */
let whole: IndexFolders;
let foreign: IndexFolders;
let expected: ReadonlyMap<string, string>;
beforeAll(async () => {
  whole = await IndexFolders.make(4, 3);
  expected = await fill(whole);
  foreign = await IndexFolders.make(1, 1);
  await fill(foreign);
});
afterAll(async () => {
  await whole[Symbol.asyncDispose]();
  await foreign[Symbol.asyncDispose]();
});

describe("an index with copies", () => {
  test("survives the loss of any two folders, and is whole again after the start", async () => {
    for (const lost of [
      [0, 1],
      [0, 2],
      [0, 3],
      [1, 2],
      [1, 3],
      [2, 3],
    ]) {
      await using folders = await whole.copy();
      await folders.replace(...lost);
      const found = await recovered(folders);
      expect({ lost, ...found }).toEqual({ lost, content: expected, copies: 2 });
    }
  });

  test("survives loss after loss, when each is followed by a start, and goes on with revisions", async () => {
    await using folders = await whole.copy();
    const content = new Map(expected);
    let last = 0;
    for (const [round, lost] of [
      [0, 1],
      [2, 3],
      [3, 0],
    ].entries()) {
      await folders.replace(...lost);
      await using index = await folders.start();
      const before = await index.store.get(key("round"));
      expect(before?.revision ?? 0).toBe(last);
      last = await put(index.store, "round", `${round}`);
      expect(last).toBeGreaterThan(before?.revision ?? 0);
      content.set("round", `${round}`);
    }
    await folders.replace(1, 2);
    expect(await recovered(folders)).toEqual({ content, copies: 2 });
  });

  test("with folders missing, or not mounted, makes copies elsewhere", async () => {
    await using folders = await whole.copy();
    expect(await recovered(folders, [0])).toEqual({ content: expected, copies: 2 });
    expect(await recovered(folders, [1, 2])).toEqual({ content: expected, copies: 1 });
  });

  test("keeps few logs: a snapshot replaces those before it, and commits go on meanwhile", async () => {
    await using folders = await whole.copy();
    const content = new Map(expected);
    {
      await using index = await folders.start();
      for (let round = 0; round < 3; round++) {
        const writing = (async () => {
          for (let number = 0; number < 40; number++) {
            await put(index.store, `r${round}-${number}`, `${number}`);
            content.set(`r${round}-${number}`, `${number}`);
          }
        })();
        await index.snapshot();
        await writing;
      }
    }
    for (const copy of [1, 2]) {
      const names = readdirSync(folders.pathOf(copy)).toSorted();
      expect(names).toHaveLength(3);
      expect(names[0]?.slice(-14, -4)).toBe(names[1]?.slice(-10));
    }
    await folders.replace(0, 2);
    expect(await recovered(folders)).toEqual({ content, copies: 2 });
  });

  test("a folder that was away comes back as a spare or a new copy, and never with its old state", async () => {
    await using folders = await whole.copy();
    const bringBack = await folders.keep(1);
    {
      await using index = await folders.start([1]);
      await put(index.store, "k0", "newer");
    }
    await bringBack();
    // Without the home and one copy: the old one is there, and the one made while it was away.
    const { content } = await recovered(folders, [0, 2]);
    expect(content.get("k0")).toBe("newer");
  });

  test("is not taken for a new one, or an old one, when all that hold it are missing", async () => {
    await using folders = await whole.copy();
    await expect(folders.recover([0, 1, 2])).rejects.toThrow("Cannot recover the index");
    await folders.replace(0, 1, 2);
    await expect(folders.recover()).rejects.toThrow("Cannot recover the index");
  });

  test("is not begun anew while a folder cannot be read", async () => {
    await using folders = await whole.copy();
    await folders.replace(1, 2, 3);
    await writeFile(join(folders.pathOf(0), "members.json"), "{");
    await expect(folders.recover()).rejects.toThrow("Cannot tell");
  });

  test("refuses folders of two stores", async () => {
    await using folders = await whole.copy();
    const members = await readFile(join(foreign.pathOf(0), "members.json"));
    await writeFile(join(folders.pathOf(1), "members.json"), members);
    await expect(folders.recover()).rejects.toThrow("several");
  });

  test("with one folder has no log, and gets copies when folders are added", async () => {
    await using one = await foreign.copy();
    await using folders = await IndexFolders.make(3, 3);
    expect(readdirSync(one.pathOf(0)).filter((name) => name.startsWith("log"))).toEqual([]);
    await cp(one.pathOf(0), folders.pathOf(0), { recursive: true });
    expect(await recovered(folders)).toEqual({ content: expected, copies: 2 });
    await folders.replace(0, 1);
    expect(await recovered(folders)).toEqual({ content: expected, copies: 2 });
  });

  test("without room on any folder refuses puts, and removes", async () => {
    await using folders = await whole.copy();
    const layout = await folders.recover();
    await using index = await openIndex({ layout, log: silentLog, reserveBytes: 2 ** 60 });
    await expect(put(index.store, "new", "1")).rejects.toThrow(MetadataFull);
    await index.store.commit({ expect: [], put: [], remove: [key("k0")] });
    expect(await index.store.get(key("k0"))).toBeUndefined();
  });
});

describe("a damaged copy", () => {
  test("with a torn end loses nothing that was acknowledged", async () => {
    await using folders = await whole.copy();
    for (const copy of [1, 2]) {
      const file = await open(lastLog(folders, copy), "r+");
      await file.write(Buffer.alloc(500, 0x41), 0, 500, statSync(lastLog(folders, copy)).size);
      await file.close();
    }
    await folders.replace(0);
    expect(await recovered(folders)).toEqual({ content: expected, copies: 2 });
  });

  test("that lacks the last entry is overruled by one that has it", async () => {
    await using folders = await whole.copy();
    truncateSync(lastLog(folders, 1), statSync(lastLog(folders, 1)).size - 64);
    await folders.replace(0);
    expect(await recovered(folders)).toEqual({ content: expected, copies: 2 });
  });

  test("in the middle is not used, and when it is the only one the start fails rather than lose groups", async () => {
    await using folders = await whole.copy();
    const file = await open(lastLog(folders, 1), "r+");
    await file.write(Buffer.of(0xee), 0, 1, 64 + 40);
    await file.close();
    {
      await using other = await folders.copy();
      await other.replace(0);
      expect(await recovered(other)).toEqual({ content: expected, copies: 2 });
    }
    await folders.replace(0, 2);
    await expect(folders.recover()).rejects.toThrow("damaged");
  });

  test.each([
    ["is no index", () => Buffer.alloc(100_000, 0x41)],
    ["is cut", (bytes: Buffer) => bytes.subarray(0, bytes.length - 4096)],
    ["is empty", () => Buffer.of()],
    ["is another store's", () => readFile(join(foreign.pathOf(0), "data.mdb"))],
  ])("of the home that %s is rebuilt from a copy", async (_, damage) => {
    await using folders = await whole.copy();
    const file = join(folders.pathOf(0), "data.mdb");
    await writeFile(file, await damage(await readFile(file)));
    expect(await recovered(folders)).toEqual({ content: expected, copies: 2 });
  });

  test("of the home with none beside it makes the start fail, and is not begun anew", async () => {
    await using folders = await foreign.copy();
    await writeFile(join(folders.pathOf(0), "data.mdb"), "");
    await expect(folders.recover()).rejects.toThrow("empty");
  });
});

describe("a folder that fails while the index is in use", () => {
  test("is given up by the processes that run, replaced by a spare, and does not count at the next start", async () => {
    await using folders = await whole.copy();
    const layout = await folders.recover();
    const bringBack = await folders.keep(1);
    rmSync(folders.pathOf(1), { recursive: true });
    {
      await using index = await openIndex({ layout, log: silentLog });
      await put(index.store, "k0", "after");
      expect(index.folders().map(({ role }) => role)).toEqual(["home", "spare", "copy", "spare"]);
      await using second = await openIndex({ layout, log: silentLog });
      await put(second.store, "k1", "after");
      await index.maintain();
      expect(index.spareCopies).toBe(2);
      await put(second.store, "k2", "after");
    }
    await bringBack();
    await folders.replace(0, 2);
    await using index = await folders.start();
    const found = await index.store.getMany([key("k0"), key("k1"), key("k2")]);
    expect(found.map(text)).toEqual(["after", "after", "after"]);
  });
});

describe("several processes on an index with copies", () => {
  test("killed one by one leave logs that the others go on with, and all that was acknowledged in them", async () => {
    await using folders = await IndexFolders.make(3, 3);
    const layout = await folders.recover();
    const survivor = new IndexProcess(layout, "journal", "survivor");
    const victim = new IndexProcess(layout, "journal", "victim");
    const copier = new IndexProcess(layout, "snapshot", "copier");
    await Promise.all([victim.hasAcknowledged(60), copier.hasAcknowledged(2)]);
    for (const process of [victim, copier]) {
      await process.kill();
      await survivor.hasAcknowledged(survivor.acknowledged.length + 20);
    }
    await survivor.kill();
    await using atHome = await folders.copy();
    await folders.replace(0, 1);
    for (const place of [atHome, folders]) {
      await using index = await place.start();
      for (const process of [victim, survivor]) {
        const { found, sizes } = await journalOf(index, process);
        expect(found).toEqual(sizes);
      }
    }
  });
});

/** Enough commits for some to travel together; answers what must be found. */
async function fill(folders: IndexFolders): Promise<ReadonlyMap<string, string>> {
  await using index = await folders.start();
  const content = new Map<string, string>();
  for (let round = 0; round < 4; round++) {
    const names = Array.from({ length: 10 }, (_, number) => `k${number * (round + 1)}`);
    for (const name of names) content.set(name, `${name}@${round}`);
    await Promise.all(names.map((name) => put(index.store, name, `${name}@${round}`)));
    await index.store.commit({ expect: [], put: [], remove: [key(`k${round + 1}`)] });
    content.delete(`k${round + 1}`);
  }
  return content;
}

/** What a start finds and makes, seen without the thread that writing takes. */
async function recovered(folders: IndexFolders, without: readonly number[] = []) {
  const { home } = await folders.recover(without);
  const { database } = openEnvironment(home.path, () => {
    throw new Error("expected an index");
  });
  const rows = [...database.getRange({ start: key("a"), end: key("z") })];
  await database.close();
  const content = new Map(
    rows.map((row) => [Buffer.from(row.key).toString(), row.value.toString()]),
  );
  const copies = readMembership(home.path)?.copies ?? [];
  return { content, copies: copies.filter(({ state }) => state === "complete").length };
}

/** Sizes of what the newest acknowledged numbers put; those a hundred older were removed with them. */
async function journalOf(index: LocalIndex, { name, acknowledged }: IndexProcess) {
  const last = Math.max(...acknowledged);
  const certain = acknowledged.filter((value) => value > last - 50);
  const found = await index.store.getMany(certain.map((value) => key(`${name}/${value}`)));
  return {
    found: found.map((entry) => entry?.value.length),
    sizes: certain.map((value) => 1 + (value % 700)),
  };
}

function lastLog(folders: IndexFolders, copy: number): string {
  const names = readdirSync(folders.pathOf(copy)).filter((name) => name.startsWith("log"));
  return join(folders.pathOf(copy), names.toSorted().at(-1) ?? "");
}

async function put(store: MetadataStore, name: string, value: string): Promise<number> {
  const changed = [{ key: key(name), value: Buffer.from(value) }];
  const outcome = await store.commit({ expect: [], put: changed, remove: [] });
  if (outcome.kind === "conflict") throw new Error("expected the commit to go through");
  return outcome.revision;
}

function key(name: string): Buffer {
  return Buffer.from(name);
}

function text(entry: { readonly value: Uint8Array } | undefined): string | undefined {
  return entry && Buffer.from(entry.value).toString();
}
