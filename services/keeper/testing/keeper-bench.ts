/** A data plane with an index of one key a write, and the keeper's jobs over both, stepped by hand. */
import type { Job, JobContext } from "#keeper/job.ts";
import { acquireLease } from "#keeper/lease.ts";
import { Progress } from "#keeper/progress.ts";
import { systemClock } from "#lib/clock.ts";
import { TRASH, trashKey } from "#metadata/keys.ts";
import type { Session } from "#metadata/metadata-store.ts";
import { decodeTrash, encodeTrash } from "#metadata/records.ts";
import type { RunningDataPlane } from "#objects/create-data-plane.ts";
import type { WrittenExtents } from "#objects/data-plane.ts";
import type { Extent } from "#objects/model.ts";
import type { WriteName } from "#objects/references.ts";
import {
  type BenchOptions,
  DataPlaneBench,
  OWNER,
  pattern,
  request,
  TestBody,
} from "#objects/testing/data-plane-bench.ts";

export interface StoredWrite {
  readonly bytes: Buffer;
  readonly extents: readonly Extent[];
}

export class KeeperBench implements AsyncDisposable {
  readonly bench: DataPlaneBench;
  /** Of the keeper itself, which outlives the writers. */
  readonly session: Session;
  readonly stored = new Map<string, StoredWrite>();
  /** Called before each answer of the index. */
  onAsk: (() => Promise<void>) | undefined;
  asked = 0;
  readonly references = {
    isReferenced: async (write: WriteName): Promise<boolean> => {
      this.asked += 1;
      await this.onAsk?.();
      // In the order in which bytes move: a name becomes trash, never the other way round.
      if (await this.bench.metadata.get(nameKey(write.writeId))) return true;
      const trash = await this.bench.metadata.range({ ...TRASH, limit: 1000 });
      return trash.entries.some(({ value }) => {
        return decodeTrash(value).extents.some((one) => hex(one.writeId) === hex(write.writeId));
      });
    },
  };
  readonly manifests: {
    extentsOfTrash(trash: { readonly extents: readonly Extent[] }): Promise<readonly Extent[]>;
  } = {
    extentsOfTrash: (trash) => Promise.resolve(trash.extents),
  };
  #seed = 0;

  private constructor(bench: DataPlaneBench, session: Session) {
    this.bench = bench;
    this.session = session;
  }

  static async open(options: BenchOptions): Promise<KeeperBench> {
    const bench = await DataPlaneBench.open(options);
    return new KeeperBench(bench, await bench.metadata.session());
  }

  async write(
    data: RunningDataPlane,
    size: number,
  ): Promise<{ written: WrittenExtents; bytes: Buffer }> {
    this.#seed += 1;
    const bytes = pattern(size, this.#seed);
    return { written: await data.write(request(new TestBody(bytes))), bytes };
  }

  /** Names the write in the index; answers whether that was still allowed. */
  async commit({ written, bytes }: { written: WrittenExtents; bytes: Buffer }): Promise<boolean> {
    const [extent] = written.extents;
    if (!extent) throw new Error("nothing was written");
    const put = [{ key: nameKey(extent.writeId), value: Buffer.of(1) }, ...written.put];
    const outcome = await this.bench.metadata.commit({ expect: written.expect, put, remove: [] });
    const isCommitted = outcome.kind === "committed";
    written.settle(isCommitted ? "committed" : "not-committed");
    if (isCommitted) this.stored.set(hex(extent.writeId), { bytes, extents: written.extents });
    return isCommitted;
  }

  async store(size: number): Promise<StoredWrite> {
    const write = await this.write(this.bench.data, size);
    if (!(await this.commit(write))) throw new Error("not committed");
    return { bytes: write.bytes, extents: write.written.extents };
  }

  /** Takes the name away and leaves trash. */
  async trash(name: string, trashedMs = systemClock.now()): Promise<void> {
    const found = this.stored.get(name);
    const [extent] = found?.extents ?? [];
    if (!extent) return;
    this.stored.delete(name);
    const nonce = Buffer.from(extent.writeId.subarray(0, 14));
    const { bucketId, key } = OWNER;
    const value = encodeTrash({ trashedMs, extents: [extent], manifest: undefined });
    await this.bench.metadata.commit({
      expect: [],
      put: [{ key: trashKey({ bucketId, trashedMs, key, nonce }), value }],
      remove: [nameKey(extent.writeId)],
    });
  }

  async context(job: string): Promise<JobContext> {
    const lease = await acquireLease({ metadata: this.bench.metadata, session: this.session }, job);
    if (!lease) throw new Error("no lease");
    const signal = AbortSignal.timeout(20_000);
    return { signal, progress: new Progress(systemClock), fence: lease.fence };
  }

  /** A whole round. */
  async run(job: Job): Promise<JobContext> {
    const context = await this.context(job.name);
    let outcome = await job.step(context);
    while (outcome === "more") outcome = await job.step(context);
    return context;
  }

  /** Names of stored writes that do not read as they were written. */
  async unreadable(): Promise<readonly string[]> {
    const bad: string[] = [];
    for (const [name, { bytes, extents }] of this.stored) {
      try {
        const read = await this.bench.read(extents, 0, bytes.length);
        if (!read.equals(bytes)) bad.push(name);
      } catch {
        bad.push(name);
      }
    }
    return bad;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.bench[Symbol.asyncDispose]();
  }
}

function nameKey(writeId: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from("name/"), writeId]);
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
