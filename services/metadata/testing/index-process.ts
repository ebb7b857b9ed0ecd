/**
 * A process of its own that uses an index: for tests of several processes, and of their deaths.
 *
 * Arguments: the layout, or the options of an index without copies (JSON), then what to do: `count NUMBER`, add one to a
 * shared counter so often, by compare and set; `journal NAME`, write numbered keys, several at a time, until killed;
 * `snapshot NAME`, copy the index to its copies again and again until killed. Each step that is done is sent to the parent.
 */
import { silentLog } from "#lib/log.ts";
import type { IndexLayout } from "#metadata/index-layout.ts";
import { type LocalIndex, openIndex } from "#metadata/index-log.ts";
import { LmdbMetadata, type LmdbMetadataOptions } from "#metadata/lmdb.ts";
import type { MetadataStore } from "#metadata/metadata-store.ts";

export interface Acknowledged {
  readonly name: string;
  readonly value: number;
}

const JOURNAL_IN_FLIGHT = 8;
const COUNTER = Buffer.from("counter");

let written = 0;
let snapshots = 0;

const [layout = "", task = "", argument = ""] = process.argv.slice(2);
const store = await openStore(JSON.parse(layout));
switch (task) {
  case "count":
    await count(store, Number(argument));
    break;
  case "journal":
    await Promise.all(Array.from({ length: JOURNAL_IN_FLIGHT }, () => journal(store, argument)));
    break;
}
await store[Symbol.asyncDispose]();
process.disconnect?.();

async function openStore(place: IndexLayout | LmdbMetadataOptions): Promise<LmdbMetadata> {
  if (!("home" in place)) return LmdbMetadata.open(place);
  const index = await openIndex({ layout: place, log: silentLog });
  if (task === "snapshot") await snapshot(index);
  return index.store;
}

async function snapshot(index: LocalIndex): Promise<never> {
  for (;;) {
    await index.snapshot();
    acknowledge(argument, snapshots++);
  }
}

async function count(counter: MetadataStore, times: number): Promise<void> {
  for (let done = 0; done < times; ) {
    const found = await counter.get(COUNTER);
    const value = Number(found === undefined ? 0 : Buffer.from(found.value).toString()) + 1;
    const outcome = await counter.commit({
      expect: [{ key: COUNTER, revision: found?.revision ?? 0 }],
      put: [{ key: COUNTER, value: Buffer.from(`${value}`) }],
      remove: [],
    });
    if (outcome.kind === "conflict") continue;
    done += 1;
    acknowledge("counter", value);
  }
}

async function journal(entries: MetadataStore, name: string): Promise<void> {
  for (;;) {
    const value = written++;
    const key = Buffer.from(`${name}/${value}`);
    const outcome = await entries.commit({
      expect: [{ key, revision: 0 }],
      put: [{ key, value: Buffer.alloc(1 + (value % 700), value) }],
      remove: value >= 100 ? [Buffer.from(`${name}/${value - 100}`)] : [],
    });
    if (outcome.kind === "conflict") throw new Error(`${name}/${value} was there before`);
    acknowledge(name, value);
  }
}

function acknowledge(name: string, value: number): void {
  process.send?.({ name, value } satisfies Acknowledged);
}
