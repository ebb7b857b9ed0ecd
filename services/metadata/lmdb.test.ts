import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { LmdbMetadata } from "#metadata/lmdb.ts";
import { metadataStoreContract } from "#metadata/metadata-store.contract.ts";
import { MetadataFull, type MetadataStore } from "#metadata/metadata-store.ts";
import { listSessions } from "#metadata/sessions.ts";
import { IndexProcess } from "#metadata/testing/processes.ts";

const folders: string[] = [];
async function freshFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "anybucket-index-"));
  folders.push(folder);
  return folder;
}
afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true });
});

metadataStoreContract("lmdb", async () => LmdbMetadata.open({ folder: await freshFolder() }));

describe("lmdb metadata", () => {
  test("holds after it is opened again what was acknowledged, and goes on counting revisions", async () => {
    const folder = await freshFolder();
    let last = 0;
    for (let round = 0; round < 3; round++) {
      await using store = await LmdbMetadata.open({ folder });
      const found = await store.get(key("a"));
      expect(found?.revision ?? 0).toBe(last);
      const revision = await put(store, "a", found?.revision ?? 0);
      expect(revision).toBeGreaterThan(last);
      last = revision;
    }
  });

  test("answers what is under way before it closes", async () => {
    const folder = await freshFolder();
    const store = await LmdbMetadata.open({ folder });
    const outcomes = Promise.all(Array.from({ length: 300 }, (_, n) => put(store, `k${n}`, 0)));
    await store[Symbol.asyncDispose]();
    expect(new Set(await outcomes).size).toBe(300);
  });

  test("sends more commits than a group holds, and more bytes, in several", async () => {
    await using store = await LmdbMetadata.open({ folder: await freshFolder() });
    const large = Buffer.alloc(900_000, 1);
    const outcomes = await Promise.all(
      Array.from({ length: 12 }, (_, number) =>
        store.commit({ expect: [], put: [{ key: key(`l${number}`), value: large }], remove: [] }),
      ),
    );
    expect(outcomes.every(({ kind }) => kind === "committed")).toBe(true);
    const page = await store.range({ from: key("l"), to: key("m"), limit: 100 });
    expect(page.entries.map(({ value }) => value.length)).toEqual(Array(12).fill(900_000));
  });

  test("without room refuses what puts, but reads and removes", async () => {
    const folder = await freshFolder();
    {
      await using store = await LmdbMetadata.open({ folder });
      await put(store, "a", 0);
    }
    await using full = await LmdbMetadata.open({ folder, reserveBytes: 2 ** 60 });
    await expect(put(full, "b", 0)).rejects.toThrow(MetadataFull);
    const both = Promise.allSettled([put(full, "c", 0), remove(full, "a"), put(full, "d", 0)]);
    expect((await both).map(({ status }) => status)).toEqual(["rejected", "fulfilled", "rejected"]);
    expect(await full.get(key("a"))).toBeUndefined();
    // Else no process could start to remove anything.
    await using session = await full.session();
    await session.renew();
    await session.publishLowWater(1);
    expect(full.fault).toBeUndefined();
  });

  test("tells watchers to read again when another has changed something", async () => {
    const folder = await freshFolder();
    await using one = await LmdbMetadata.open({ folder });
    const stop = new AbortController();
    const events = one.watch(key("counter"), stop.signal)[Symbol.asyncIterator]();
    await using other = await LmdbMetadata.open({ folder });
    await put(other, "counter", 0);
    expect((await events.next()).value).toEqual({ kind: "reset" });
    stop.abort();
  });

  test("ends one session, or all of them", async () => {
    await using store = await LmdbMetadata.open({ folder: await freshFolder() });
    const [one, other] = [await store.session(), await store.session()];
    await store.endSession(one.id);
    expect((await listSessions(store)).map(({ id }) => id)).toEqual([other.id]);
    await store.endAllSessions();
    expect(await listSessions(store)).toEqual([]);
  });
});

describe("several processes on one lmdb", () => {
  test("lose no update, and no read is older than an acknowledgement", async () => {
    const folder = await freshFolder();
    await using store = await LmdbMetadata.open({ folder });
    const checks: Promise<void>[] = [];
    const check = async (acknowledged: number) => {
      const found = await store.get(key("counter"));
      expect(Number(Buffer.from(found?.value ?? []).toString())).toBeGreaterThanOrEqual(
        acknowledged,
      );
    };
    const processes = Array.from({ length: 2 }, () => new IndexProcess({ folder }, "count", "120"));
    for (const process of processes) {
      process.onAcknowledged = (value) => checks.push(check(value));
    }
    expect(await Promise.all(processes.map((process) => process.ended()))).toEqual([0, 0]);
    await Promise.all(checks);
    expect(checks).toHaveLength(240);
    const values = processes.flatMap(({ acknowledged }) => acknowledged);
    expect(values.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 240 }, (_, n) => n + 1));
  });

  test("go on when one of them is killed, and what the killed one acknowledged is there", async () => {
    const folder = await freshFolder();
    await using store = await LmdbMetadata.open({ folder });
    const survivor = new IndexProcess({ folder }, "journal", "survivor");
    await survivor.hasAcknowledged(10);
    for (let round = 0; round < 2; round++) {
      const name = `victim${round}`;
      const victim = new IndexProcess({ folder }, "journal", name);
      await victim.hasAcknowledged(50 + round * 37);
      await victim.kill();
      expect(await missingFrom(store, victim)).toEqual([]);
      await survivor.hasAcknowledged(survivor.acknowledged.length + 20);
    }
    await survivor.kill();
    expect(await missingFrom(store, survivor)).toEqual([]);
  });
});

/** Acknowledged changes that are not there: of the newest numbers, and of the removals that came with them. */
async function missingFrom(store: MetadataStore, process: IndexProcess): Promise<string[]> {
  const { name, acknowledged } = process;
  const last = Math.max(...acknowledged);
  const missing: string[] = [];
  for (const value of acknowledged) {
    const found = await store.get(key(`${name}/${value}`));
    const isRemoved = acknowledged.includes(value + 100);
    const isPresent = value > last - 50;
    if (isRemoved && found !== undefined) missing.push(`removal of ${value}`);
    if (isPresent && found?.value.length !== 1 + (value % 700)) missing.push(`${value}`);
  }
  return missing;
}

async function put(store: MetadataStore, name: string, revision: number): Promise<number> {
  const expected = [{ key: key(name), revision }];
  const changed = [{ key: key(name), value: Buffer.from(name) }];
  const outcome = await store.commit({ expect: expected, put: changed, remove: [] });
  if (outcome.kind === "conflict") throw new Error("expected the commit to go through");
  return outcome.revision;
}

async function remove(store: MetadataStore, name: string): Promise<void> {
  await store.commit({ expect: [], put: [], remove: [key(name)] });
}

function key(name: string): Buffer {
  return Buffer.from(name);
}
