/**
 * Puts an index in order before any process opens it: finds its newest complete state among the folders, rebuilds the
 * index if its home is lost, and makes the copies that are missing. README.md has the argument.
 *
 * Nothing is taken for newest but what the membership record of the highest epoch names; a folder that was given up,
 * or was away, holds an older epoch and can only be written over.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { Logger } from "#lib/log.ts";
import {
  type CopyState,
  catchUp,
  inspectCopy,
  openNewest,
  rebuildFrom,
} from "#metadata/index-copy.ts";
import {
  copyDurably,
  exists,
  makeFolder,
  namesIn,
  readThrough,
  removeFile,
} from "#metadata/index-files.ts";
import { createLog } from "#metadata/index-journal.ts";
import {
  copyFile,
  cursorFile,
  dataFile,
  type IndexFolder,
  type IndexLayout,
  MEMBERSHIP_FORMAT,
  METADATA_FOLDER,
  type Membership,
  numbered,
  readMembership,
  removeCopies,
  removeIndex,
  unfinishedCopy,
  writeMembership,
} from "#metadata/index-layout.ts";
import { type Environment, lastGroup, openEnvironment } from "#metadata/lmdb-environment.ts";
import { CursorFile } from "#metadata/log-cursor.ts";
import { encodeHeader, HEADER_BYTES, NONCE_BYTES } from "#metadata/log-entry.ts";

export interface IndexPlan {
  /** The machine's folders, each of which must exist; the index stands in `metadata/` of some. */
  readonly folders: readonly string[];
  /** How many of them shall hold it: one more than may be lost. */
  readonly copies: number;
  readonly log: Logger;
  /** Reads the whole index first, so that a sector that cannot be read is found here and not by a process that maps it. */
  readonly verify?: boolean;
}

interface FolderView extends IndexFolder {
  readonly membership: Membership | undefined;
}

export async function recoverIndex(plan: IndexPlan): Promise<IndexLayout> {
  const recovery = new Recovery(plan);
  return recovery.run();
}

class Recovery {
  readonly #plan: IndexPlan;
  readonly #views: FolderView[] = [];
  /** What is wrong with folders that cannot be used. */
  readonly #faults: string[] = [];

  constructor(plan: IndexPlan) {
    this.#plan = plan;
  }

  async run(): Promise<IndexLayout> {
    for (const folder of this.#plan.folders) this.#view(join(folder, METADATA_FOLDER));
    const newest = this.#newestMembership();
    const { home, environment, inStep } =
      newest === undefined ? this.#begin() : this.#restore(newest);
    const { indexId } = environment.record;
    const group = lastGroup(environment);
    await environment.database.close();
    const membership = this.#establish(home, newest, { indexId, group, inStep });
    this.#cleanUp(membership);
    const folders = this.#views.map(({ id, path }) => ({ id, path }));
    return { home: { id: home.id, path: home.path }, folders, copies: this.#plan.copies };
  }

  #view(path: string): void {
    try {
      makeFolder(path);
      removeFile(unfinishedCopy(path));
      const record = readMembership(path);
      const id = record?.self ?? randomBytes(8).toString("hex");
      this.#views.push({ id, path, membership: record });
    } catch (error) {
      this.#note(path, error);
    }
  }

  #newestMembership(): Membership | undefined {
    const records = this.#views
      .map(({ membership }) => membership)
      .filter((record) => record !== undefined);
    const indexes = new Set(records.map(({ indexId }) => indexId));
    if (indexes.size > 1) {
      const paths = this.#views.map(
        ({ path, membership }) => `${path}: ${membership?.indexId ?? "none"}`,
      );
      throw new Error(
        `Cannot recover the index: the folders belong to several: ${paths.join(", ")}`,
      );
    }
    return records.toSorted((a, b) => b.epoch - a.epoch)[0];
  }

  /** No folder knows of an index: a new one, unless something that cannot be read might be one. */
  #begin(): Restored {
    const present = this.#views.filter(({ path }) => exists(dataFile(path)));
    const home = present[0] ?? this.#views[0];
    if (home === undefined || this.#faults.length > 0 || present.length > 1) {
      const reasons = [...this.#faults, ...present.map(({ path }) => `${path} holds an index`)];
      throw new Error(
        `Cannot tell whether there is an index: ${reasons.join(", ") || "no folder"}`,
      );
    }
    const environment = openEnvironment(home.path, () => randomBytes(16).toString("hex"));
    return { home, environment, inStep: [] };
  }

  #restore(membership: Membership): Restored {
    const { indexId } = membership;
    const copies = this.#copiesOf(membership);
    const best = copies.toSorted((a, b) => b.group - a.group)[0];
    const home = this.#views.find(({ id }) => id === membership.home);
    const kept = home && this.#openHome(home, indexId, best);
    if (home !== undefined && kept !== undefined) {
      return { home, environment: kept, inStep: this.#inStep(copies, lastGroup(kept), best) };
    }
    return this.#rebuild(membership, copies);
  }

  /** From the newest copy that can be read, to the first folder that can be written. */
  #rebuild(membership: Membership, copies: readonly CopyState[]): Restored {
    for (const copy of copies.toSorted((a, b) => b.group - a.group)) {
      for (const home of this.#views) {
        try {
          const environment = rebuildFrom(copy, home.path, membership.indexId);
          const { log } = this.#plan;
          log.warn({ from: copy.path, to: home.path }, "The index was rebuilt from a copy");
          const others = copies.filter(({ path }) => path !== home.path);
          return { home, environment, inStep: this.#inStep(others, copy.group, copy) };
        } catch (error) {
          this.#note(home.path, error);
        }
      }
    }
    const holders = [membership.home, ...membership.copies.map(({ folder }) => folder)];
    const paths = holders.map((id) => membership.paths[id] ?? id).join(", ");
    throw new Error(
      `Cannot recover the index: it is in ${paths}, none of which can be used: ${this.#faults.join("; ") || "they are missing"}`,
    );
  }

  /** A crash can leave the newest group in some of the logs only; those without it take it from the best. */
  #inStep(
    copies: readonly CopyState[],
    group: number,
    best: CopyState | undefined,
  ): readonly string[] {
    const inStep: string[] = [];
    for (const copy of copies) {
      try {
        if (copy.group === group) inStep.push(copy.path);
        else if (best?.group === group && catchUp(copy, best)) inStep.push(copy.path);
      } catch (error) {
        this.#note(copy.path, error);
      }
    }
    return inStep;
  }

  #copiesOf({ copies, indexId }: Membership): readonly CopyState[] {
    const states: CopyState[] = [];
    for (const { folder, state } of copies) {
      const view = this.#views.find(({ id }) => id === folder);
      if (state === "joining") continue;
      if (view === undefined) continue;
      try {
        states.push(inspectCopy(view.path, indexId));
      } catch (error) {
        this.#note(view.path, error);
      }
    }
    return states;
  }

  /** The index where it was, with what the best copy's log has beyond it; undefined when it cannot be used. */
  #openHome(
    home: FolderView,
    indexId: string,
    best: CopyState | undefined,
  ): Environment | undefined {
    try {
      if (this.#plan.verify) readThrough(dataFile(home.path));
      return openNewest(home.path, indexId, best);
    } catch (error) {
      this.#note(home.path, error);
      return undefined;
    }
  }

  /** A fresh log in every copy, new copies where some are missing; then all of it is made to count, then the cursor. */
  #establish(
    home: FolderView,
    before: Membership | undefined,
    state: { indexId: string; group: number; inStep: readonly string[] },
  ): Membership {
    const { indexId, group, inStep } = state;
    const log = 1 + Math.max(0, ...this.#views.map((view) => this.#lastLog(view)));
    const header = encodeHeader({ log, after: group, indexId, nonce: randomBytes(NONCE_BYTES) });
    const members: string[] = [];
    for (const view of this.#candidates(home, inStep)) {
      if (members.length >= this.#plan.copies - 1) break;
      try {
        if (!inStep.includes(view.path)) this.#copyHome(home, view, log);
        createLog(view.path, log, header);
        members.push(view.id);
      } catch (error) {
        this.#note(view.path, error);
      }
    }
    const membership = this.#record({ before, indexId, home: home.id, members });
    const { epoch } = membership;
    const start = { epoch, log, group, start: HEADER_BYTES, end: HEADER_BYTES };
    CursorFile.create(cursorFile(home.path), start);
    const [copies, wanted] = [membership.copies.length + 1, this.#plan.copies];
    if (copies < wanted) this.#plan.log.warn({ copies, wanted }, "The index has too few copies");
    return membership;
  }

  /** Where copies can be, those that are in step first. */
  #candidates(home: FolderView, inStep: readonly string[]): readonly FolderView[] {
    const others = this.#views.filter(({ id }) => id !== home.id);
    return [
      ...others.filter(({ path }) => inStep.includes(path)),
      ...others.filter(({ path }) => !inStep.includes(path)),
    ];
  }

  #lastLog({ path }: FolderView): number {
    try {
      return numbered(namesIn(path), "log").at(-1) ?? 0;
    } catch (error) {
      this.#note(path, error);
      return 0;
    }
  }

  #copyHome(home: FolderView, view: FolderView, log: number): void {
    // What an outdated member holds must go first: with the new copy it would be a gap in the row of logs.
    removeCopies(view.path, namesIn(view.path));
    removeIndex(view.path);
    copyDurably(dataFile(home.path), copyFile(view.path, log));
    this.#plan.log.info({ folder: view.path }, "The index has a new copy");
  }

  /** Durable in the home and every copy. A folder that cannot be written is no member after all. */
  #record(next: {
    before: Membership | undefined;
    indexId: string;
    home: string;
    members: readonly string[];
  }): Membership {
    const { before, indexId, home } = next;
    const paths = Object.fromEntries(this.#views.map(({ id, path }) => [id, path]));
    let members = next.members;
    for (let epoch = (before?.epoch ?? 0) + 1; ; epoch++) {
      const copies = members.map((folder) => ({ folder, state: "complete" as const }));
      const membership = { format: MEMBERSHIP_FORMAT, indexId, epoch, home, copies, paths };
      const written = this.#views.filter((view) => this.#isWritten(view, membership));
      if (!written.some(({ id }) => id === home)) throw new Error(`Cannot write to ${paths[home]}`);
      const durable = members.filter((member) => written.some(({ id }) => id === member));
      if (durable.length === members.length) return membership;
      members = durable;
    }
  }

  #isWritten(view: FolderView, membership: Membership): boolean {
    try {
      writeMembership(view, membership);
      return true;
    } catch (error) {
      this.#note(view.path, error);
      return false;
    }
  }

  /** What folders hold of an older membership is only in the way, once the new one is durable. */
  #cleanUp({ home, copies }: Membership): void {
    for (const { id, path } of this.#views) {
      try {
        if (id !== home) removeIndex(path);
        if (!copies.some(({ folder }) => folder === id)) removeCopies(path, namesIn(path));
      } catch (error) {
        this.#note(path, error);
      }
    }
  }

  #note(path: string, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    this.#faults.push(reason);
    this.#plan.log.warn({ folder: path, reason }, "A folder of the index is not as it should be");
  }
}

interface Restored {
  readonly home: FolderView;
  /** Open, as new as can be. */
  readonly environment: Environment;
  /** Paths of the folders whose copies are in step with it. */
  readonly inStep: readonly string[];
}
