/** What a write hands to the index: the extents, what the commit that names them must compare and put, and how it ends. */
import type { Expectation, Put, Session } from "#metadata/metadata-store.ts";
import type { WrittenExtents } from "#objects/data-plane.ts";
import type { Extent } from "#objects/model.ts";
import type { Sequences } from "#objects/sequences.ts";
import type { Undo } from "#objects/undo.ts";
import type { WritePlan } from "#objects/write-plan.ts";
import { DIRTY_MARK, dirtyKey } from "#placement/placement-record.ts";

export interface WrittenParts {
  readonly session: Session;
  readonly sequences: Sequences;
  readonly undo: Undo;
}

export interface DoneWrite {
  readonly plan: WritePlan;
  /** Indexes of the shards that are durable. */
  readonly sealed: ReadonlySet<number>;
  readonly codec: string;
  readonly unit: number;
  readonly size: number;
}

export class Written implements WrittenExtents {
  readonly extents: readonly Extent[];
  readonly expect: readonly Expectation[];
  readonly put: readonly Put[];
  readonly #parts: WrittenParts;
  readonly #sequence: number;
  readonly #writes: readonly DoneWrite[];

  constructor(
    parts: WrittenParts,
    { sequence, writes }: { sequence: number; writes: readonly DoneWrite[] },
  ) {
    this.#parts = parts;
    this.#sequence = sequence;
    this.#writes = writes;
    this.extents = writes.map(({ plan: { group, writeId }, codec, unit, size }) => {
      return { group, writeId, codec, unit, size };
    });
    this.expect = [parts.session.expectation(), ...fences(writes)];
    this.put = dirtyMarks(writes);
  }

  settle(outcome: "committed" | "not-committed"): void {
    this.#parts.sequences.settle(this.#sequence);
    if (outcome === "committed") return;
    for (const { plan } of this.#writes) this.#parts.undo.removeLater(plan.places);
  }
}

function fences(writes: readonly DoneWrite[]): readonly Expectation[] {
  const [only, ...more] = writes;
  if (!only) return [];
  if (more.length === 0) return [only.plan.fence];
  const groups = new Map(writes.map(({ plan }) => [plan.group, plan.fence]));
  return [...groups.values()];
}

/** Put blindly, even where there is one: repair clears a mark only if nobody wrote it since repair began to look. */
function dirtyMarks(writes: readonly DoneWrite[]): readonly Put[] {
  const marks = new Map<string, Put>();
  for (const { plan, sealed } of writes) {
    if (sealed.size === plan.places.length) continue;
    for (const { index, diskId } of plan.places) {
      if (sealed.has(index) || diskId === undefined) continue;
      const key = dirtyKey({ group: plan.group, diskId });
      marks.set(key.toString("latin1"), { key, value: DIRTY_MARK });
    }
  }
  return marks.size === 0 ? NO_PUTS : [...marks.values()];
}

const NO_PUTS: readonly Put[] = [];
