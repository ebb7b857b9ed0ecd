/** An object layer on memory, with what tests look at and turn. */
import { setImmediate } from "node:timers/promises";
import type { Clock } from "#lib/clock.ts";
import { SeededRandom } from "#lib/random.ts";
import { MemoryMetadata } from "#metadata/memory.ts";
import type { Session } from "#metadata/metadata-store.ts";
import { createObjectLayer, type IndexLayer } from "#objects/layer.ts";
import type { Bucket, ObjectAttributes, Versioning } from "#objects/model.ts";
import { MemoryDataPlane } from "#objects/testing/memory-data-plane.ts";

/** Time passes only when somebody sleeps, and then at once. */
export class SkippingClock implements Clock {
  #ms = Date.UTC(2026, 10, 24);

  now(): number {
    return Math.floor(this.#ms);
  }

  monotonic(): number {
    return this.#ms;
  }

  advance(ms: number): void {
    this.#ms += ms;
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    this.#ms += ms;
    await setImmediate();
  }
}

export interface TestLayer {
  readonly layer: IndexLayer;
  readonly store: MemoryMetadata;
  readonly data: MemoryDataPlane;
  readonly session: Session;
  readonly clock: SkippingClock;
  readonly signal: AbortSignal;
  readonly room: { isTight: boolean };
  /** A second process on the same index and the same disks. */
  another(): Promise<TestLayer>;
  makeBucket(name?: string, versioning?: Versioning): Promise<Bucket>;
}

export const ATTRIBUTES: ObjectAttributes = {
  ownerId: "owner",
  headers: { contentType: "text/plain" },
  metadata: [["colour", "blue"]],
  tags: [],
  acl: "private",
  storageClass: "STANDARD",
};

export async function openLayer(seed = 1): Promise<TestLayer> {
  const random = new SeededRandom(seed);
  const store = new MemoryMetadata({ random });
  return openOn({ store, random, clock: new SkippingClock(), stored: undefined });
}

async function openOn(parts: {
  store: MemoryMetadata;
  random: SeededRandom;
  clock: SkippingClock;
  stored: MemoryDataPlane["stored"] | undefined;
}): Promise<TestLayer> {
  const { store, random, clock } = parts;
  const session = await store.session();
  const data = new MemoryDataPlane({
    session,
    random,
    ...(parts.stored && { stored: parts.stored }),
  });
  const { signal } = new AbortController();
  const room = { isTight: false };
  const layer = createObjectLayer({ store, data, session, clock, random, room, lifetime: signal });
  return {
    room,
    layer,
    store,
    data,
    session,
    clock,
    signal,
    another: async () => openOn({ ...parts, stored: data.stored }),
    makeBucket: async (name = "bucket", versioning = "unversioned") => {
      const made = await layer.buckets.create({
        name,
        ownerId: "owner",
        region: "",
        ownership: "BucketOwnerEnforced",
        acl: "private",
        versioning,
        signal,
      });
      return made.bucket;
    },
  };
}
