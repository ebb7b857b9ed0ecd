/** Real bugs, one patch each: what the tests must find (reliability §3.9). Each is planted in a copy of the tree. */

export interface Edit {
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export interface PlantedBug {
  readonly name: string;
  readonly edits: readonly Edit[];
  /** What looks for it first; what the simulation misses the unit tests get. */
  readonly hunter: "simulation" | "power-cut";
}

function bug(name: string, file: string, find: string, replace: string): PlantedBug {
  return { name, edits: [{ file, find, replace }], hunter: "simulation" };
}

export const BUGS: readonly PlantedBug[] = [
  bug(
    "an indeterminate commit retried blindly",
    "services/objects/commits.ts",
    `      await this.#fence(error);
      return (await this.#landed(step, error)) ? done(step.value) : { kind: "conflict" };`,
    `      return { kind: "conflict" };`,
  ),
  bug(
    "an indeterminate commit looked for before it is fenced",
    "services/objects/commits.ts",
    "      await this.#fence(error);\n",
    "",
  ),
  bug(
    "an indeterminate commit taken for one that failed",
    "services/objects/commits.ts",
    "if (!(error instanceof IndeterminateCommit)) throw error;",
    "throw error;",
  ),
  bug(
    "the bytes of a write of unknown outcome taken away",
    "services/objects/version-writes.ts",
    `        () => settle(written, "committed"),`,
    `        () => settle(written, "not-committed"),`,
  ),
  bug(
    "session compare left out",
    "services/objects/commits.ts",
    "const expect = [...change.expect, ...planned, own];",
    "const expect = [...change.expect, ...planned];",
  ),
  bug(
    "a blind put",
    "services/objects/commits.ts",
    "const expect = [...change.expect, ...planned, own];",
    "const expect = [...planned, own];",
  ),
  bug(
    "group fence compare left out: a shard acknowledged by a node struck off",
    "services/objects/written.ts",
    "this.expect = [parts.session.expectation(), ...fences(writes)];",
    "this.expect = [parts.session.expectation()];",
  ),
  bug(
    "W lowered to k",
    "services/objects/quorum.ts",
    "return Math.min(k + m, Math.max(k + 1, k + Math.ceil(m / 2)));",
    "return Math.min(k, k + m);",
  ),
  bug(
    "a commit before W",
    "services/objects/writer.ts",
    "if (waited.done >= this.#needed) return this.#written(plan, sealed);",
    "if (waited.done >= 1) return this.#written(plan, sealed);",
  ),
  bug(
    "degraded mark left out",
    "services/objects/written.ts",
    "this.put = dirtyMarks(writes);",
    "this.put = NO_PUTS;",
  ),
  bug(
    "an orphan sweep that ignores the trash",
    "services/objects/references.ts",
    "(await this.#inTrash(write, signal))",
    "false",
  ),
  bug(
    "trash skipped when a version is replaced",
    "services/objects/version-changes.ts",
    "if (trash !== undefined) put.push(trash);",
    "",
  ),
  bug(
    "low-water mark off by one",
    "services/objects/sequences.ts",
    "for (const oldest of this.#open) return oldest;",
    "for (const oldest of this.#open) return oldest + 1;",
  ),
  bug(
    "a sweep that ignores the low-water mark",
    "services/keeper/sweep.ts",
    "else if (seal.sequence >= lowWater) continue;",
    "",
  ),
  bug(
    "a sweep that takes an error of the index for absent",
    "services/keeper/sweep.ts",
    `error);
      return true;`,
    `error);
      this.#doom(write, { bucketId: "", key: "", writeId: write.writeId });
      return false;`,
  ),
  bug(
    "bytes of a disk not verified",
    "services/storage/shard-reader.ts",
    "if (crc32c(piece.subarray(at, at + CHUNK_BYTES)) !== record.checksums[chunk]) {",
    "if (piece.length < 0) {",
  ),
  bug(
    "acknowledged before the disk's sync",
    "services/storage/volume.ts",
    `      await this.#file.sync();
      this.#durable = end;`,
    `      this.#durable = end;`,
  ),
  bug(
    "a part replaced during Complete",
    "services/objects/multipart.ts",
    `            presentExpectation(state),
            presentExpectation(open),
            { key: keys[2]`,
    `            presentExpectation(state),
            { key: keys[2]`,
  ),
  bug(
    "Complete does not compare the upload's record",
    "services/objects/completion.ts",
    "expect: [presentExpectation(held.entry)],\n          put: [{ key: finished",
    "expect: [],\n          put: [{ key: finished",
  ),
  bug(
    "a precondition judged before the commit only",
    "services/objects/version-writes.ts",
    `          precondition?.(currentObject(view));
          const draft`,
    `          const draft`,
  ),
  bug(
    "a body that broke off stored",
    "services/objects/writer.ts",
    `      await pieces.return?.().catch(() => undefined);
      throw error;`,
    `      await pieces.return?.().catch(() => undefined);
      if (run === undefined) throw error;`,
  ),
  bug(
    "versions listed while they move",
    "services/objects/version-listing.ts",
    "const stable = await settle(store, { bucketId: bucket.id, keys, limit, signal });",
    "const stable = new Map<string, KeyVersions>();",
  ),
  bug(
    "a reader with an old map calls bytes gone",
    "services/objects/stripe-reads.ts",
    "    await this.#parts.map.refresh(signal);\n    const newest",
    "    const newest",
  ),
  bug(
    "repair clears a mark that was written again",
    "services/keeper/repair.ts",
    "const expect = [...some.map(({ key, revision }) => ({ key, revision })), ...fence];",
    "const expect = fence;",
  ),
  bug(
    "earlier members forgotten before all is moved",
    "services/keeper/repair.ts",
    "if (isWhole) settled.add(next.group);",
    "settled.add(next.group);",
  ),
  bug(
    "a moved shard removed though it could not be rebuilt",
    "services/keeper/repair.ts",
    "if (absent > 0) damaged.push({ write, absent });",
    `if (absent > 0) surplus.add(surplusOf(this.#parts, write, { isMended: true }));
      if (absent > 0) damaged.push({ write, absent });`,
  ),
  {
    name: "a repaired shard of another generation",
    hunter: "simulation",
    edits: [
      {
        file: "services/keeper/rebuild.ts",
        find: "const block = checksummedBlock([bytes]);",
        replace: `const other = earlier.bytes;
    earlier.bytes = Buffer.from(bytes);
    const block = checksummedBlock([Buffer.alloc(bytes.length, other ?? bytes)]);`,
      },
      {
        file: "services/keeper/rebuild.ts",
        find: "/** One shard being written. */",
        replace: `const earlier: { bytes?: Buffer } = {};

/** One shard being written. */`,
      },
      {
        file: "services/keeper/rebuild.ts",
        find: "if (this.#digest.value !== siblings[this.index]) {",
        replace: "if (siblings.length === 0) {",
      },
      {
        file: "services/keeper/rebuild.ts",
        find: "const seal: ShardSeal = { session, sequence, siblings, about };",
        replace: `const changed = siblings.map((digest, at) => (at === this.index ? this.#digest.value : digest));
    const seal: ShardSeal = { session, sequence, siblings: changed, about };`,
      },
    ],
  },
  {
    name: "data without fsync",
    hunter: "power-cut",
    edits: [
      {
        file: "services/lib/system-disk.ts",
        find: "fs.fdatasync(this.#descriptor, (error) => (error === null ? resolve() : reject(error)));",
        replace: "this.#descriptor < 0 ? reject(new Error()) : resolve();",
      },
    ],
  },
  {
    name: "the index before its flush",
    hunter: "power-cut",
    edits: [
      {
        file: "services/metadata/lmdb-environment.ts",
        find: "overlappingSync: false,",
        replace: "overlappingSync: false,\n    noSync: true,",
      },
    ],
  },
];
