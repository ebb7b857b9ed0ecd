/**
 * Which storage nodes answer, or which of their disks are of use, seen from one process (R30): up → suspect → down, and back
 * only after some answers in a row, so that what comes and goes every half minute starts no repair and moves no data.
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

export class Standings {
  readonly #clock: Clock;
  readonly #observed = new Map<string, Observed>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Answers the standing that it has now. */
  observe(id: string, hasAnswered: boolean): Standing {
    const before = this.#observed.get(id);
    const now = this.#clock.monotonic();
    const next = hasAnswered ? answered(before, now) : silent(before, now);
    this.#observed.set(id, next);
    return next.standing;
  }

  forget(id: string): void {
    this.#observed.delete(id);
  }

  /** One that was never asked counts as up. */
  of(id: string): Standing {
    return this.#observed.get(id)?.standing ?? "up";
  }

  /** Whether it has answered, and goes on doing so. */
  isUp(id: string): boolean {
    return this.#observed.get(id)?.standing === "up";
  }

  /** How long it has not been up, as far as it was asked. */
  awayMs(id: string): number {
    const observed = this.#observed.get(id);
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
