/** Runs one job: steps while there is work, waits between rounds, backs off after faults, pauses and stops when told. */
import type { Job } from "#keeper/job.ts";
import { acquireLease } from "#keeper/lease.ts";
import { Progress, type Progressed } from "#keeper/progress.ts";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { MetadataStore, Session } from "#metadata/metadata-store.ts";

/** Another process has the lease; or a fault: the first wait, doubled up to the last. */
const LEASE_AGAIN_MS = 10_000;
const BACKOFF_MS_MIN = 1000;
const BACKOFF_MS_MAX = 5 * 60_000;

export type JobState = "resting" | "running" | "elsewhere" | "failing" | "paused" | "stopped";

/** What an operator sees; plain data, so that it can go from process to process. */
export interface JobStatus {
  readonly name: string;
  readonly state: JobState;
  /** Of this round, or of the last one while resting. */
  readonly progress: Progressed;
  readonly rounds: number;
  /** When the last round ended, in milliseconds since the epoch. */
  readonly lastRoundMs: number | undefined;
  readonly fault: string | undefined;
}

export interface RunnerParts {
  readonly metadata: MetadataStore;
  readonly session: Session;
  readonly clock: Clock;
  readonly log: Logger;
}

export class JobRunner implements AsyncDisposable {
  readonly #job: Job;
  readonly #parts: RunnerParts;
  readonly #progress: Progress;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #state: JobState = "resting";
  #isPaused = false;
  #isBetweenRounds = true;
  #rounds = 0;
  #lastRoundMs: number | undefined;
  #fault: string | undefined;
  #backoffMs = 0;
  /** Ends the wait under way. */
  #wake = new AbortController();

  constructor(job: Job, parts: RunnerParts) {
    this.#job = job;
    this.#parts = parts;
    this.#progress = new Progress(parts.clock);
    this.#running = this.#run();
  }

  get name(): string {
    return this.#job.name;
  }

  status(): JobStatus {
    return {
      name: this.#job.name,
      state: this.#state,
      progress: this.#progress.now(),
      rounds: this.#rounds,
      lastRoundMs: this.#lastRoundMs,
      fault: this.#fault,
    };
  }

  pause(): void {
    this.#isPaused = true;
    this.#wakeUp();
  }

  resume(): void {
    this.#isPaused = false;
    this.#wakeUp();
  }

  /** Does not wait for the next round's time. */
  runNow(): void {
    this.#wakeUp();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error("The keeper is closing"));
    await this.#running;
  }

  #wakeUp(): void {
    this.#wake.abort();
    this.#wake = new AbortController();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const waitMs = this.#isPaused ? Number.POSITIVE_INFINITY : await this.#turn(signal);
      if (this.#isPaused) this.#state = "paused";
      if (waitMs > 0) await this.#wait(waitMs, signal);
    }
    this.#state = "stopped";
  }

  /** One step; answers how long to wait for the next. */
  async #turn(signal: AbortSignal): Promise<number> {
    try {
      const lease = await acquireLease(this.#parts, this.#job.name, signal);
      if (!lease) {
        this.#state = "elsewhere";
        this.#isBetweenRounds = true;
        return LEASE_AGAIN_MS;
      }
      this.#state = "running";
      if (this.#isBetweenRounds) this.#progress.begin();
      this.#isBetweenRounds = false;
      const context = { signal, progress: this.#progress, fence: lease.fence };
      const outcome = await this.#job.step(context);
      this.#fault = undefined;
      this.#backoffMs = 0;
      return outcome === "more" ? 0 : this.#rest();
    } catch (error) {
      if (signal.aborted) return 0;
      this.#state = "failing";
      this.#fault = error instanceof Error ? error.message : String(error);
      this.#backoffMs = Math.min(BACKOFF_MS_MAX, Math.max(BACKOFF_MS_MIN, this.#backoffMs * 2));
      this.#parts.log.warn(
        { job: this.#job.name, err: error },
        "background work failed; trying again",
      );
      return this.#backoffMs;
    }
  }

  #rest(): number {
    this.#rounds += 1;
    this.#lastRoundMs = this.#parts.clock.now();
    this.#isBetweenRounds = true;
    this.#state = "resting";
    return this.#job.everyMs;
  }

  async #wait(ms: number, signal: AbortSignal): Promise<void> {
    const either = AbortSignal.any([signal, this.#wake.signal]);
    // A timer's longest time; whoever waits longer is woken.
    const bounded = Math.min(ms, 2 ** 31 - 1);
    await this.#parts.clock.sleep(bounded, either).catch(() => undefined);
  }
}
