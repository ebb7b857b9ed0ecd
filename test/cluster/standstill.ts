/** Notices that the whole machine stood still, as when others measure on it: then leases have run out and every request timed out. */

const TICK_MS = 500;
/** Garbage collection and a busy machine delay a timer by less. */
const STILL_MS = 3000;

export class Standstill implements Disposable {
  readonly #timer: NodeJS.Timeout;
  #last = performance.now();
  #times = 0;
  #ms = 0;

  constructor() {
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  /** How often so far. */
  get times(): number {
    return this.#times;
  }

  get seconds(): number {
    return this.#ms / 1000;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const now = performance.now();
    const late = now - this.#last - TICK_MS;
    this.#last = now;
    if (late < STILL_MS) return;
    this.#times += 1;
    this.#ms += late;
  }
}
