/**
 * The placement map as this process knows it, for planning writes and finding shards.
 *
 * It may be behind: a write planned by it is committed only if its group's fence is still as it was read here, before
 * the map; a reader refreshes it before it calls a shard missing. So being behind costs a second try, never a byte.
 */
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import { afterKey } from "#metadata/keys.ts";
import type { Entry, Expectation, MetadataStore } from "#metadata/metadata-store.ts";
import type { PlacementGroup, PlacementMap } from "#placement/placement-map.ts";
import {
  decodeMap,
  FENCES,
  fencedGroup,
  fenceKey,
  MAP_KEY,
  PLACEMENT_PREFIX,
} from "#placement/placement-record.ts";

const PAGE = 1000;
/** After a watch broke. */
const WATCH_AGAIN_MS = 1000;

interface Known {
  readonly map: PlacementMap;
  /** Of each group: what its writes' commits compare. */
  readonly expectations: readonly Expectation[];
}

export interface CurrentMapParts {
  readonly metadata: MetadataStore;
  readonly clock: Clock;
  readonly log: Logger;
  /** Called after it has changed. */
  readonly onChange?: (map: PlacementMap) => void;
}

export class CurrentMap implements AsyncDisposable {
  readonly #metadata: MetadataStore;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #onChange: ((map: PlacementMap) => void) | undefined;
  readonly #stop = new AbortController();
  #watching: Promise<void> | undefined;
  #known: Known;
  #refreshing: Promise<boolean> | undefined;

  private constructor(known: Known, { metadata, clock, log, onChange }: CurrentMapParts) {
    this.#known = known;
    this.#metadata = metadata;
    this.#clock = clock;
    this.#log = log;
    this.#onChange = onChange;
  }

  /** Reads the map and follows its changes until it is disposed. */
  static async open(parts: CurrentMapParts, signal?: AbortSignal): Promise<CurrentMap> {
    const current = new CurrentMap(await load(parts.metadata, signal), parts);
    current.#watching = current.#watch();
    return current;
  }

  get map(): PlacementMap {
    return this.#known.map;
  }

  get groupCount(): number {
    return this.#known.map.groups.length;
  }

  group(number: number): PlacementGroup {
    const group = this.#known.map.groups[number];
    if (!group) throw new Error(`Cannot find placement group ${number}: the map has none`);
    return group;
  }

  expectation(number: number): Expectation {
    const expectation = this.#known.expectations[number];
    if (!expectation) throw new Error(`Cannot fence placement group ${number}: the map has none`);
    return expectation;
  }

  /** Reads it anew; answers whether anything is different. Callers that come together share one read, begun after the last of them. */
  async refresh(signal?: AbortSignal): Promise<boolean> {
    const before = this.#known;
    // A read that is already under way may have begun before what the caller saw.
    if (this.#refreshing) await this.#refreshing;
    this.#refreshing ??= this.#reload().finally(() => {
      this.#refreshing = undefined;
    });
    await this.#refreshing;
    signal?.throwIfAborted();
    return this.#known !== before;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#watching;
  }

  async #reload(): Promise<boolean> {
    const known = await load(this.#metadata, this.#stop.signal);
    if (isEqual(this.#known, known)) return false;
    this.#known = known;
    this.#onChange?.(known.map);
    return true;
  }

  async #watch(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        for await (const _ of this.#metadata.watch(PLACEMENT_PREFIX, signal)) {
          await this.refresh(signal);
        }
        await this.#clock.sleep(WATCH_AGAIN_MS, signal);
      } catch (error) {
        if (signal.aborted) return;
        this.#log.warn({ err: error }, "placement map cannot be followed; trying again");
        await this.#clock.sleep(WATCH_AGAIN_MS, signal).catch(() => undefined);
      }
    }
  }
}

/** Fences first, then the map: a fence raised in between is then behind what commits find, so they are refused. */
async function load(metadata: MetadataStore, signal?: AbortSignal): Promise<Known> {
  const revisions = new Map<number, number>();
  for (let from = FENCES.from; ; ) {
    const page = await metadata.range({ from, to: FENCES.to, limit: PAGE }, signal);
    for (const { key, revision } of page.entries) revisions.set(fencedGroup(key), revision);
    const last: Entry | undefined = page.entries.at(-1);
    if (!page.more || !last) break;
    from = afterKey(last.key);
  }
  const stored = await metadata.get(MAP_KEY, signal);
  if (!stored) throw new Error("Cannot read the placement map: the index has none");
  const map = decodeMap(stored.value);
  const expectations = map.groups.map((_, group) => ({
    key: fenceKey(group),
    revision: revisions.get(group) ?? 0,
  }));
  return { map, expectations };
}

function isEqual(one: Known, other: Known): boolean {
  return (
    one.map.epoch === other.map.epoch &&
    one.expectations.every(({ revision }, group) => {
      return revision === other.expectations[group]?.revision;
    })
  );
}
