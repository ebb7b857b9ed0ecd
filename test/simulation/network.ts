/**
 * Messages between simulated processes: late, out of order, lost, cut off by partitions, delivered twice. A call is a message
 * there and one back; without an answer it fails at its deadline, and may have had its effect, or have it yet.
 */
import type { Process, World } from "./world.ts";

/** Why a call failed: nobody is there (nothing happened), or nothing was heard. */
export class NoAnswer extends Error {
  override readonly name = "NoAnswer";
  /** The request cannot have arrived, and will not. */
  readonly isHarmless: boolean;

  constructor(message: string, { isHarmless }: { isHarmless: boolean }) {
    super(message);
    this.isHarmless = isHarmless;
  }
}

export interface Call<T> {
  readonly from: Process;
  /** Looked up when the message arrives: the process may have been started again. */
  readonly to: () => Process;
  readonly label: string;
  readonly deadlineMs: number;
  readonly handle: () => Promise<T>;
  readonly signal?: AbortSignal | undefined;
  /** Not before that instant, so that messages of one stream stay in order. */
  readonly notBefore?: number;
  /** A protocol that never delivers twice. */
  readonly isOnce?: boolean;
}

/** What the nemesis turns. */
export interface NetworkFaults {
  lossShare: number;
  duplicateShare: number;
  /** Typical delay of a message; a tenth of them take up to ten times that. */
  delayMs: number;
}

const QUIET: Readonly<NetworkFaults> = { lossShare: 0, duplicateShare: 0, delayMs: 1 };
/** A second copy of a message comes so much later at most. */
const DUPLICATE_LATE_MS = 10_000;

export class Network {
  readonly world: World;
  faults: NetworkFaults = { ...QUIET };
  /** `from>to`, by name; one way. */
  readonly #cut = new Set<string>();

  constructor(world: World) {
    this.world = world;
  }

  cut(from: string, to: string): void {
    this.#cut.add(`${from}>${to}`);
  }

  mend(from: string, to: string): void {
    this.#cut.delete(`${from}>${to}`);
  }

  heal(): void {
    this.#cut.clear();
    this.faults = { ...QUIET };
  }

  isCut(from: string, to: string): boolean {
    return this.#cut.has(`${from}>${to}`);
  }

  delay(): number {
    const { delayMs } = this.faults;
    const typical = delayMs * (0.2 + this.world.random.fraction());
    return this.world.chance(0.1) ? typical * this.world.between(1, 10) : typical;
  }

  /** Answers when the message will arrive. */
  send(
    {
      from,
      to,
      label,
      isOnce = false,
    }: { from: string; to: () => Process; label: string; isOnce?: boolean },
    deliver: () => void,
    notBefore = 0,
  ): number {
    const { world, faults } = this;
    const delay = Math.max(this.delay(), notBefore - world.now);
    if (this.isCut(from, to().name) || world.chance(faults.lossShare)) {
      world.count("message lost");
      return world.now + delay;
    }
    world.after(delay, label, () => to().enter(deliver));
    if (!isOnce && world.chance(faults.duplicateShare)) {
      world.count("message delivered twice");
      const late = delay + world.between(0, DUPLICATE_LATE_MS);
      world.after(late, `${label} again`, () => to().enter(deliver));
    }
    return world.now + delay;
  }

  /** Rejects with NoAnswer, with what `handle` throws, or with the signal's reason. */
  call<T>(call: Call<T>): Promise<T> {
    const { from, to, label, deadlineMs, handle, signal, notBefore, isOnce = false } = call;
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    if (signal?.aborted) {
      reject(signal.reason as Error);
      return promise;
    }
    const target = to();
    if (!target.isAlive && !this.isCut(from.name, target.name)) {
      from.after(this.delay(), `${label} refused`, () => {
        reject(new NoAnswer(`${target.name} is down`, { isHarmless: true }));
      });
      return promise;
    }
    const lost = (why: string) => reject(new NoAnswer(why, { isHarmless: false }));
    const deafen = from.onAbort(signal, () => reject(signal?.reason as Error));
    const forget = target.onDeath(() => {
      from.after(this.delay(), `${label} reset`, () => lost(`${target.name} went down`));
    });
    const deadline = () => lost(`${target.name} does not answer`);
    const callOff = from.after(deadlineMs, `${label} deadline`, deadline);
    const ended = () => {
      forget();
      callOff();
      deafen();
    };
    promise.then(ended, ended);
    const answer = (settle: () => void) => {
      this.send({ from: target.name, to: () => from, label: `${label} answer` }, settle);
    };
    const deliver = () => {
      handle().then(
        (value) => answer(() => resolve(value)),
        (error: unknown) => answer(() => reject(error)),
      );
    };
    this.send({ from: from.name, to, label: `${from.name} ${label}`, isOnce }, deliver, notBefore);
    return promise;
  }
}
