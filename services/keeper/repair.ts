/**
 * Makes lost shards again: of disks that were replaced or moved away from, of writes that some disk missed, of bytes
 * that scrub or a reader found bad.
 *
 * What there is to do stands in the index: a dirty mark for each (group, disk) that may lack shards, and a note for
 * each bad shard. A group is gone through from its disks' listings; a mark is cleared only when everything was there
 * and nobody wrote the mark again meanwhile, so stopping anywhere loses nothing. Groups with most disks short come
 * first, and within a group the writes with most shards short. Only writes that the index names are mended; one that is
 * deleted at the same moment may leave a shard behind, which the weekly sweep takes (DESIGN §6).
 */
import type { Job, JobContext, StepOutcome } from "#keeper/job.ts";
import { type ListedWrite, listWrites } from "#keeper/listed-writes.ts";
import { absentFrom, type MendParts, mendWrite, surplusOf } from "#keeper/mend.ts";
import { Pace } from "#keeper/pace.ts";
import { PLAIN_REMOVALS, type Removals, type Stores } from "#keeper/removals.ts";
import { canLookAt, mendSuspect } from "#keeper/suspects.ts";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import { afterKey } from "#metadata/keys.ts";
import type { Entry, MetadataStore } from "#metadata/metadata-store.ts";
import { encodeSuspicion, SUSPICIONS, suspicionKey } from "#objects/suspicions.ts";
import { forgetEarlier, raiseFences } from "#placement/change-map.ts";
import type { PlacementGroup } from "#placement/placement-map.ts";
import { DIRTY_MARKS, decodeMap, dirtyMarkOf, MAP_KEY } from "#placement/placement-record.ts";
import type { ShardId } from "#shards/shard-store.ts";

const EVERY_MS = 30_000;
/** Bytes read and written a second: a third of a disk, and of a core's checksums. */
export const REPAIR_BYTES_PER_SECOND = 200 * 1024 * 1024;
const PAGE = 1000;
/** Suspicions of one round. */
const SUSPECTS_MAX = 1000;
/** Damaged writes remembered at a time: some megabytes. */
const DAMAGED_MAX = 4000;
/** Mended side by side, so that one's syncs hide behind another's reads. */
const AT_ONCE = 4;
const MARKS_A_COMMIT = 40;
const REMOVE_BATCH = 100;

export interface RepairParts extends Omit<MendParts, "pace" | "onBadSource" | "remove"> {
  /** undefined: the disks are of this machine. */
  readonly removals?: Removals | undefined;
  readonly metadata: MetadataStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly bytesPerSecond: number;
}

interface DirtyGroup {
  readonly group: number;
  readonly marks: readonly Entry[];
}

interface Round {
  readonly suspects: Entry[];
  readonly groups: DirtyGroup[];
  readonly total: number;
  /** Groups whose shards are all in their places. */
  readonly settled: Set<number>;
  readonly epoch: number;
  /** Disks that no removal reaches any more that was decided before this round. */
  readonly told: Stores;
}

export class RepairJob implements Job {
  readonly name = "repair";
  readonly everyMs = EVERY_MS;
  readonly #parts: RepairParts;
  readonly #mending: Omit<MendParts, "remove">;
  readonly #removals: Removals;
  readonly #badSources: { id: ShardId; diskId: string }[] = [];
  #round: Round | undefined;

  constructor(parts: RepairParts) {
    this.#parts = parts;
    this.#removals = parts.removals ?? PLAIN_REMOVALS;
    this.#mending = {
      ...parts,
      pace: new Pace(parts.clock, parts.bytesPerSecond),
      onBadSource: (id, diskId) => this.#badSources.push({ id, diskId }),
    };
  }

  async step(context: JobContext): Promise<StepOutcome> {
    this.#round ??= await this.#begin(context);
    const { suspects, groups, total, settled } = this.#round;
    const suspect = suspects.shift();
    if (suspect) {
      await this.#mendSuspect(suspect, this.#round, context);
      return "more";
    }
    const next = groups.shift();
    if (next) {
      const isWhole = await this.#mendGroup(next, this.#round, context);
      if (isWhole) settled.add(next.group);
      context.progress.reached((total - groups.length) / total);
      return "more";
    }
    const { epoch } = this.#round;
    this.#round = undefined;
    const { metadata, map } = this.#parts;
    await this.#noteBadSources(context);
    const moved = [...settled].filter((group) => map.group(group).earlier.length > 0);
    if (moved.length > 0) {
      await forgetEarlier(metadata, { groups: new Set(moved), epoch }, context.signal);
    }
    return "done";
  }

  async #begin({ signal, fence }: JobContext): Promise<Round> {
    const { metadata, map, stores } = this.#parts;
    await map.refresh(signal);
    // All of the round is about this one map: of a later one the fences may not be raised yet.
    const known = map.map;
    // From here on no write planned before a group moved can be committed, so listings are complete.
    await raiseFences(metadata, known, signal);
    const suspects = await this.#suspects(signal);
    const byGroup = new Map<number, Entry[]>();
    for (let from = DIRTY_MARKS.from; ; ) {
      const page = await metadata.range({ from, to: DIRTY_MARKS.to, limit: PAGE }, signal);
      for (const mark of page.entries) {
        const { group } = dirtyMarkOf(mark.key);
        const marks = byGroup.get(group);
        if (marks) marks.push(mark);
        else byGroup.set(group, [mark]);
      }
      const last = page.entries.at(-1);
      if (!page.more || !last) break;
      from = afterKey(last.key);
    }
    // Mended in a round in which the map changed: what was seen there did not count.
    for (const [group, placed] of known.groups.entries()) {
      const isHere = allHere(placed, this.#parts.stores);
      if (placed.earlier.length > 0 && !byGroup.has(group) && isHere) {
        byGroup.set(group, []);
      }
    }
    const groups = [...byGroup]
      .map(([group, marks]) => ({ group, marks }))
      .filter((dirty) => this.#canMend(dirty))
      .toSorted((one, other) => other.marks.length - one.marks.length);
    const total = Math.max(1, groups.length);
    const hasWork = suspects.length + groups.length > 0;
    const told = hasWork ? await this.#removals.begin(stores, { signal, fence }) : stores;
    return { suspects, groups, total, settled: new Set(), epoch: known.epoch, told };
  }

  /** As many as a round takes; those that have to wait for their disk are passed over. */
  async #suspects(signal: AbortSignal): Promise<Entry[]> {
    const suspects: Entry[] = [];
    for (let { from, to } = SUSPICIONS; suspects.length < SUSPECTS_MAX; ) {
      const page = await this.#parts.metadata.range({ from, to, limit: PAGE }, signal);
      suspects.push(...page.entries.filter((entry) => canLookAt(this.#parts, entry)));
      const last = page.entries.at(-1);
      if (!page.more || !last) break;
      from = afterKey(last.key);
    }
    return suspects;
  }

  /** Nothing can be done for a disk that is away and keeps its place. */
  #canMend({ group, marks }: DirtyGroup): boolean {
    if (group >= this.#parts.map.groupCount) return false;
    return marks.length === 0 || marks.some((mark) => this.#isMendable(mark, this.#parts.stores));
  }

  #isMendable(mark: Entry, here: Stores): boolean {
    const { group, diskId } = dirtyMarkOf(mark.key);
    const isMember = this.#parts.map.group(group).members.includes(diskId);
    return !isMember || here.has(diskId);
  }

  /** Answers whether every shard is now in its place. */
  async #mendGroup(
    { group, marks }: DirtyGroup,
    { epoch, told }: Round,
    context: JobContext,
  ): Promise<boolean> {
    const { stores, map, log } = this.#parts;
    // Nodes come and go meanwhile: one that comes back later was not listed, and counts as away.
    const here: Stores = new Map([...stores].filter(([diskId]) => told.has(diskId)));
    const mending = { ...this.#mending, stores: here, remove: this.#remover(epoch, context) };
    const problemsBefore = context.progress.problemCount;
    const unlisted = new Set<string>();
    const surplus = new Surplus();
    let damaged: { write: ListedWrite; absent: number }[] = [];
    const onFault = (diskId: string, error: unknown) => {
      unlisted.add(diskId);
      context.progress.failed(`disk ${diskId}`, error);
    };
    for await (const write of listWrites(here, { group, onFault, signal: context.signal })) {
      const absent = absentFrom(mending, write).length;
      if (absent > 0) damaged.push({ write, absent });
      else surplus.add(surplusOf(mending, write, { isMended: false }));
      if (damaged.length < DAMAGED_MAX) continue;
      surplus.add(await this.#mendAll(mending, damaged, context));
      damaged = [];
    }
    surplus.add(await this.#mendAll(mending, damaged, context));
    await this.#removeSurplus(surplus, { here, epoch }, context);
    const failures = context.progress.problemCount - problemsBefore;
    if (failures > 0 || unlisted.size > 0) {
      log.warn({ group, failures }, "group not wholly repaired; its mark stays");
      return false;
    }
    if (!(await this.#isStillSo(epoch, context))) return false;
    const done = marks.filter((mark) => this.#isMendable(mark, here));
    await this.#clear(done, context);
    return allHere(map.group(group), here);
  }

  /** Whether the map is the one that the round is about, and the work still this process's. */
  async #isStillSo(epoch: number, { signal, fence }: JobContext): Promise<boolean> {
    const keys = [MAP_KEY, ...fence.map(({ key }) => key)];
    const [map, ...held] = await this.#parts.metadata.getMany(keys, signal);
    const isOurs = fence.every(({ revision }, at) => held[at]?.revision === revision);
    return isOurs && map !== undefined && decodeMap(map.value).epoch === epoch;
  }

  async #mendAll(
    mending: MendParts,
    damaged: readonly { readonly write: ListedWrite; readonly absent: number }[],
    context: JobContext,
  ): Promise<readonly Stray[]> {
    const strays: Stray[] = [];
    const queue = damaged.toSorted((one, other) => other.absent - one.absent).values();
    const lane = async () => {
      for (const { write } of queue) strays.push(...(await this.#mend(mending, write, context)));
    };
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
    return strays;
  }

  /** Answers the copies that are needed no more. */
  async #mend(
    mending: MendParts,
    write: ListedWrite,
    { signal, progress }: JobContext,
  ): Promise<readonly Stray[]> {
    try {
      const bytes = await mendWrite(mending, { write, bad: [], signal });
      if (bytes === undefined) return [];
      progress.did({ bytes });
      return surplusOf(mending, write, { isMended: true });
    } catch (error) {
      signal.throwIfAborted();
      progress.failed(`write ${Buffer.from(write.writeId).toString("hex")}`, error);
      return [];
    }
  }

  /** Not what a later map gave back to its disk: there it may be the only copy by now. */
  async #removeSurplus(
    surplus: Surplus,
    { here, epoch }: { here: Stores; epoch: number },
    context: JobContext,
  ): Promise<void> {
    const { signal } = context;
    const mayStill = () => this.#isStillSo(epoch, context);
    for (const [diskId, ids] of surplus.byDisk) {
      for (let start = 0; start < ids.length; start += REMOVE_BATCH) {
        const store = here.get(diskId);
        if (!store) break;
        const batch = { store, ids: ids.slice(start, start + REMOVE_BATCH), signal };
        try {
          if (!(await this.#removals.remove({ ...batch, mayStill }))) return;
        } catch (error) {
          // It went after it was listed: the group is not whole before these are gone.
          signal.throwIfAborted();
          context.progress.failed(`disk ${diskId}`, error);
          break;
        }
      }
    }
  }

  #remover(epoch: number, context: JobContext): MendParts["remove"] {
    const { signal } = context;
    const mayStill = () => this.#isStillSo(epoch, context);
    return async (store, ids) => {
      if (await this.#removals.remove({ store, ids, mayStill, signal })) return;
      throw new Error("Cannot replace a bad shard: the placement map or the keeper has changed");
    };
  }

  async #clear(marks: readonly Entry[], { signal, fence }: JobContext): Promise<void> {
    for (let start = 0; start < marks.length; start += MARKS_A_COMMIT) {
      const some = marks.slice(start, start + MARKS_A_COMMIT);
      const expect = [...some.map(({ key, revision }) => ({ key, revision })), ...fence];
      // A conflict: a write has missed the disk again meanwhile, and the next round looks anew.
      await this.#parts.metadata.commit(
        { expect, put: [], remove: some.map(({ key }) => key) },
        signal,
      );
    }
  }

  async #mendSuspect(entry: Entry, { epoch }: Round, context: JobContext): Promise<void> {
    const { metadata, log } = this.#parts;
    const { signal, progress, fence } = context;
    const mending = { ...this.#mending, remove: this.#remover(epoch, context) };
    try {
      const bytes = await mendSuspect(mending, { entry, signal });
      if (bytes !== undefined) progress.did({ bytes });
      const { key, revision } = entry;
      await metadata.commit(
        { expect: [{ key, revision }, ...fence], put: [], remove: [key] },
        signal,
      );
    } catch (error) {
      signal.throwIfAborted();
      log.error({ err: error }, "bad shard not repaired");
      progress.failed(`shard ${Buffer.from(entry.key).toString("hex")}`, error);
    }
  }

  async #noteBadSources({ signal, fence }: JobContext): Promise<void> {
    const put = this.#badSources.splice(0, MARKS_A_COMMIT).map(({ id, diskId }) => {
      return { key: suspicionKey(id), value: encodeSuspicion(diskId) };
    });
    const distinct = [...new Map(put.map((one) => [one.key.toString("hex"), one])).values()];
    if (distinct.length === 0) return;
    await this.#parts.metadata.commit({ expect: fence, put: distinct, remove: [] }, signal);
  }
}

/** Whether all who have, or may still have, shards of the group can be asked. */
function allHere({ members, earlier }: PlacementGroup, here: Stores): boolean {
  return (
    members.every((diskId) => here.has(diskId)) && earlier.every(({ diskId }) => here.has(diskId))
  );
}

interface Stray {
  readonly diskId: string;
  readonly id: ShardId;
}

class Surplus {
  readonly byDisk = new Map<string, ShardId[]>();

  add(strays: readonly Stray[]): void {
    for (const { diskId, id } of strays) {
      const ids = this.byDisk.get(diskId);
      if (ids) ids.push(id);
      else this.byDisk.set(diskId, [id]);
    }
  }
}
