/** The buckets that the operator wants to be there: made once at each start, before any process serves. */
import { US_EAST_1 } from "#gateway/buckets.ts";
import { systemClock } from "#lib/clock.ts";
import { systemRandom } from "#lib/random.ts";
import { MetadataFull, type MetadataStore, type Session } from "#metadata/metadata-store.ts";
import { BucketRemoval } from "#objects/bucket-removal.ts";
import { IndexBuckets } from "#objects/buckets.ts";
import { Commits } from "#objects/commits.ts";
import { UploadEndings } from "#objects/upload-endings.ts";
import type { Settings } from "#settings.ts";

/** Answers a line for each name that could not be had. Those that are there already stay as they are. */
export async function createBuckets({
  settings,
  metadata,
  ownerId,
}: {
  settings: Pick<Settings, "buckets" | "region" | "defaultOwnership">;
  metadata: MetadataStore;
  ownerId: string;
}): Promise<readonly string[]> {
  if (settings.buckets.length === 0) return [];
  const lifetime = new AbortController();
  await using session = await sessionUnlessFull(metadata);
  if (session === undefined) {
    return [`buckets ${settings.buckets.join(", ")} were not looked for: the index is full`];
  }
  const parts = { store: metadata, session, clock: systemClock, random: systemRandom };
  const commits = new Commits({ ...parts, lifetime: lifetime.signal });
  const endings = new UploadEndings({ ...parts, commits });
  const removal = new BucketRemoval({ ...parts, commits, endings });
  const buckets = new IndexBuckets({ ...parts, commits, removal });
  const { signal } = lifetime;
  const region = settings.region === US_EAST_1 ? "" : (settings.region ?? "");
  const ownership = settings.defaultOwnership;
  const notes: string[] = [];
  for (const name of settings.buckets) {
    const wanted = { name, ownerId, region, ownership, acl: "private", signal } as const;
    const { bucket } = await buckets.create(wanted);
    if (bucket.ownerId !== ownerId) notes.push(`bucket ${name} is there, and another user's`);
  }
  lifetime.abort();
  return notes;
}

/** None: what is there can be read and removed all the same, and buckets can be made later (R20). */
async function sessionUnlessFull(metadata: MetadataStore): Promise<Session | undefined> {
  try {
    return await metadata.session();
  } catch (error) {
    if (error instanceof MetadataFull) return undefined;
    throw error;
  }
}
