/**
 * Which storage nodes answer, seen from one process (R30): up → suspect → down, and back only after some answers in a row,
 * so that a node that comes and goes every half minute starts no repair and moves no data.
 */
import type { Clock } from "#lib/clock.ts";

/** Suspect for so long is down. */
const DOWN_AFTER_MS = 30_000;
/** Answers in a row that make a node up again. */
const ANSWERS_UP = 3;

export type Standing = "up" | "suspect" | "down";

interface Observed {
  readonly standing: Standing;
  /** By the clock's `monotonic`: when it stopped being up. */
  readonly sinceMs: number;
  /** When it was last asked: what was before a pause of this process says nothing about the time since. */
  readonly askedMs: number;
  readonly answers: number;
}

export class NodeStandings {
  readonly #clock: Clock;
  readonly #observed = new Map<string, Observed>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Answers the standing that it has now. */
  observe(nodeId: string, hasAnswered: boolean): Standing {
    const before = this.#observed.get(nodeId);
    const now = this.#clock.monotonic();
    const next = hasAnswered ? answered(before, now) : silent(before, now);
    this.#observed.set(nodeId, next);
    return next.standing;
  }

  forget(nodeId: string): void {
    this.#observed.delete(nodeId);
  }

  /** One that was never asked counts as up. */
  of(nodeId: string): Standing {
    return this.#observed.get(nodeId)?.standing ?? "up";
  }

  /** Whether it has answered, and goes on doing so. */
  isUp(nodeId: string): boolean {
    return this.#observed.get(nodeId)?.standing === "up";
  }

  /** How long it has not been up, as far as it was asked. */
  awayMs(nodeId: string): number {
    const observed = this.#observed.get(nodeId);
    if (!observed || observed.standing === "up") return 0;
    return observed.askedMs - observed.sinceMs;
  }
}

function answered(before: Observed | undefined, now: number): Observed {
  const answers = (before?.answers ?? ANSWERS_UP) + 1;
  if (!before || before.standing === "up" || answers >= ANSWERS_UP) {
    return { standing: "up", sinceMs: now, askedMs: now, answers };
  }
  return { ...before, askedMs: now, answers };
}

function silent(before: Observed | undefined, now: number): Observed {
  const isKnown = before && before.standing !== "up" && now - before.askedMs < DOWN_AFTER_MS;
  const sinceMs = isKnown ? before.sinceMs : now;
  const isDown = before?.standing === "down" || now - sinceMs >= DOWN_AFTER_MS;
  return { standing: isDown ? "down" : "suspect", sinceMs, askedMs: now, answers: 0 };
}
