/** What background work is made of: a name and one step that can be repeated, stopped and begun again at any time. */
import type { Progress } from "#keeper/progress.ts";
import type { Expectation } from "#metadata/metadata-store.ts";

/** "more": there is more to do at once. "done": this round is over; the next begins after `everyMs`. */
export type StepOutcome = "more" | "done";

export interface JobContext {
  readonly signal: AbortSignal;
  readonly progress: Progress;
  /** To be compared by every commit of the job: fails once another process does it (R13). */
  readonly fence: readonly Expectation[];
}

export interface Job {
  readonly name: string;
  readonly everyMs: number;
  /** A second or less of work, so that the runner can pause, stop and see whether it may still go on. */
  step(context: JobContext): Promise<StepOutcome>;
}

/** A function called every now and then. */
export function periodicJob(
  name: string,
  everyMs: number,
  run: (signal: AbortSignal) => Promise<void>,
): Job {
  return {
    name,
    everyMs,
    step: async ({ signal }) => {
      await run(signal);
      return "done";
    },
  };
}
