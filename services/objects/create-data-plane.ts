/** Puts the data plane together: writer, linker, reader, and what they share. */
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { Random } from "#lib/random.ts";
import type { MetadataStore, Session } from "#metadata/metadata-store.ts";
import type { DataPlane, WrittenExtents } from "#objects/data-plane.ts";
import { DiskStandings } from "#objects/disk-standings.ts";
import { type LinkRequest, linkExtents } from "#objects/linker.ts";
import { type QuorumTimes, QuorumWaits } from "#objects/quorum.ts";
import { ReadPace } from "#objects/read-pace.ts";
import { ExtentReader, type ReadRequest } from "#objects/reader.ts";
import { Sequences } from "#objects/sequences.ts";
import type { StorageClasses } from "#objects/storage-classes.ts";
import { StripeReads } from "#objects/stripe-reads.ts";
import { Suspicions } from "#objects/suspicions.ts";
import { Undo } from "#objects/undo.ts";
import { type WriteRequest, type WriterParts, writeBody } from "#objects/writer.ts";
import type { CurrentMap } from "#placement/current-map.ts";
import type { ShardStore } from "#shards/shard-store.ts";

export interface DataPlaneOptions {
  /** By disk id; disks may come and go. */
  readonly stores: ReadonlyMap<string, ShardStore>;
  readonly map: CurrentMap;
  readonly metadata: MetadataStore;
  readonly session: Session;
  readonly clusterId: string;
  readonly classes: StorageClasses;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly times?: QuorumTimes;
  /** Bytes of stripes that all readers together hold, about. */
  readonly readBytesMax?: number;
}

/** How often the low-water mark is published: what an abandoned write left behind waits at least so long. */
const PUBLISH_MS = 30_000;

export interface RunningDataPlane extends DataPlane, AsyncDisposable {
  /** Publishes the low-water mark now, and waits for what was left to be taken away. */
  quiesce(): Promise<void>;
}

export function createDataPlane(options: DataPlaneOptions): RunningDataPlane {
  return new LocalDataPlane(options);
}

class LocalDataPlane implements RunningDataPlane {
  readonly #parts: WriterParts;
  readonly #reader: ExtentReader;
  readonly #suspicions: Suspicions;
  readonly #clock: Clock;
  readonly #stop = new AbortController();
  readonly #publishing: Promise<void>;
  #published = 0;

  constructor(options: DataPlaneOptions) {
    const { stores, map, session, clusterId, classes, clock, random, log } = options;
    const standings = new DiskStandings(clock);
    this.#clock = clock;
    this.#suspicions = new Suspicions(options);
    this.#parts = {
      stores,
      map,
      session,
      clusterId,
      classes,
      random,
      log,
      standings,
      waits: new QuorumWaits(clock, options.times),
      sequences: new Sequences(),
      undo: new Undo(log),
    };
    const suspects = this.#suspicions.note.bind(this.#suspicions);
    const pace = new ReadPace(clock);
    const stripes = new StripeReads({ stores, map, classes, standings, pace, suspects });
    const { readBytesMax } = options;
    this.#reader = new ExtentReader(stripes, readBytesMax === undefined ? {} : { readBytesMax });
    this.#publishing = this.#publish();
  }

  write(request: WriteRequest): Promise<WrittenExtents> {
    return writeBody(this.#parts, request);
  }

  link(request: LinkRequest): Promise<WrittenExtents | undefined> {
    return linkExtents(this.#parts, request);
  }

  read(request: ReadRequest): AsyncIterable<Uint8Array> {
    return this.#reader.read(request);
  }

  readSmall(request: ReadRequest): Promise<readonly Uint8Array[] | undefined> {
    return this.#reader.readSmall(request);
  }

  async replan(): Promise<void> {
    await this.#parts.map.refresh();
  }

  async quiesce(): Promise<void> {
    await this.#parts.undo.quiet();
    await this.#publishOnce();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#publishing;
    await this.#parts.undo[Symbol.asyncDispose]();
    await this.#suspicions[Symbol.asyncDispose]();
  }

  async #publish(): Promise<void> {
    const { signal } = this.#stop;
    for (;;) {
      try {
        await this.#clock.sleep(PUBLISH_MS, signal);
        await this.#publishOnce(signal);
      } catch (error) {
        if (signal.aborted) return;
        this.#parts.log.warn({ err: error }, "low-water mark not published; trying again");
      }
    }
  }

  async #publishOnce(signal?: AbortSignal): Promise<void> {
    const mark = this.#parts.sequences.lowWater;
    if (mark === this.#published) return;
    await this.#parts.session.publishLowWater(mark, signal);
    this.#published = mark;
  }
}
