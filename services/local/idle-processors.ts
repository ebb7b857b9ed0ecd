/** How many processors have nothing to do: where there are none, work that is shared out is only done with colder caches. */
import { cpus } from "node:os";

export class IdleProcessors {
  #idleMs = idleMs();
  #atMs = performance.now();

  /** On average since it was asked last; whole processors and parts of them. */
  sinceLast(): number {
    const [idle, at] = [idleMs(), performance.now()];
    const processors = at === this.#atMs ? 0 : (idle - this.#idleMs) / (at - this.#atMs);
    this.#idleMs = idle;
    this.#atMs = at;
    return processors;
  }
}

function idleMs(): number {
  return cpus().reduce((sum, { times }) => sum + times.idle, 0);
}
