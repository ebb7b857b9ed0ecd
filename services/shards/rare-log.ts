/** Log lines that a hostile or confused peer could cause without end: one of a kind in a while, with how many there were. */
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";

const EVERY_MS = 10_000;
/** Kinds that are told apart; beyond them all are one. */
const KINDS_MAX = 100;
const OTHERS = "others";

export class RareLog {
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #kinds = new Map<string, { untilMs: number; unsaid: number }>();

  constructor(log: Logger, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** `kind`: lines of one kind stand for each other. */
  warn(kind: string, fields: object, message: string): void {
    const now = this.#clock.monotonic();
    const name = this.#kinds.has(kind) || this.#kinds.size < KINDS_MAX ? kind : OTHERS;
    const known = this.#kinds.get(name);
    if (known && now < known.untilMs) {
      known.unsaid += 1;
      return;
    }
    const unsaid = known?.unsaid ?? 0;
    this.#forget(now);
    this.#kinds.set(name, { untilMs: now + EVERY_MS, unsaid: 0 });
    this.#log.warn(unsaid > 0 ? { ...fields, unsaid } : fields, message);
  }

  /** Kinds that were silent for long make room. */
  #forget(now: number): void {
    for (const [kind, { untilMs }] of this.#kinds) {
      if (now > untilMs + EVERY_MS) this.#kinds.delete(kind);
    }
  }
}
