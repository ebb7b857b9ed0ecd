import { expect, test } from "vitest";
import { compactionJob } from "#keeper/compaction.ts";
import { Progress } from "#keeper/progress.ts";
import { systemClock } from "#lib/clock.ts";

const context = {
  signal: new AbortController().signal,
  progress: new Progress(systemClock),
  fence: [],
};

test("compaction keeps what was current a round ago, and goes on when revisions have gone back", async () => {
  const index = new Index();
  const job = compactionJob(index);
  for (const revision of [100, 200, 50, 60, 70]) {
    index.revision = revision;
    await job.step(context);
  }
  expect(index.compacted).toEqual([100, 50, 60]);
});

test("a compaction that fails is not tried for ever", async () => {
  const index = new Index();
  const job = compactionJob(index);
  index.revision = 100;
  await job.step(context);
  // Between the two questions the index was replaced by an older one.
  index.onAsk = () => {
    index.revision = 30;
  };
  await expect(job.step(context)).rejects.toThrow("future");
  index.onAsk = undefined;
  await job.step(context);
  await job.step(context);
  expect(index.compacted).toEqual([30]);
});

/** As etcd: a revision to come cannot be forgotten. */
class Index {
  revision = 0;
  onAsk: (() => void) | undefined;
  readonly compacted: number[] = [];

  currentRevision(): Promise<number> {
    const { revision } = this;
    this.onAsk?.();
    return Promise.resolve(revision);
  }

  compact(revision: number): Promise<void> {
    if (revision > this.revision) return Promise.reject(new Error("future revision"));
    this.compacted.push(revision);
    return Promise.resolve();
  }
}
