/** Lets the index of a cluster forget what values were: a minute later nobody asks for that. */
import { type Job, periodicJob } from "#keeper/job.ts";

/** DESIGN §4. Pages are read at one revision each, watches are hints. */
const COMPACT_EVERY_MS = 60_000;

/** What of `EtcdMetadata` it needs. */
export interface Revisions {
  currentRevision(): Promise<number>;
  compact(revision: number): Promise<void>;
}

export function compactionJob(index: Revisions): Job {
  let before = 0;
  return periodicJob("index-compaction", COMPACT_EVERY_MS, async () => {
    const revision = await index.currentRevision();
    const kept = before;
    before = revision;
    // Revisions of an index that was restored from a copy have gone back: nothing is to be forgotten of the other one.
    if (kept > 0 && kept <= revision) await index.compact(kept);
  });
}
