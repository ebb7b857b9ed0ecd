/** Starts processes that use an index, and keeps what they have acknowledged. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import type { Acknowledged } from "#metadata/testing/index-process.ts";

const SCRIPT = new URL("./index-process.ts", import.meta.url);

export class IndexProcess {
  readonly #child: ChildProcess;
  readonly name: string;
  readonly #exit: Promise<unknown[]>;
  readonly acknowledged: number[] = [];
  /** Called at each acknowledgement. */
  onAcknowledged: ((value: number) => void) | undefined;

  constructor(layout: unknown, task: "count" | "journal" | "snapshot", argument: string) {
    this.name = argument;
    this.#child = fork(SCRIPT, [JSON.stringify(layout), task, argument], { execArgv: [] });
    this.#exit = once(this.#child, "exit");
    this.#child.on("message", ({ value }: Acknowledged) => {
      this.acknowledged.push(value);
      this.onAcknowledged?.(value);
    });
  }

  /** Resolves once the process has acknowledged so many changes in all. */
  async hasAcknowledged(count: number): Promise<void> {
    while (this.acknowledged.length < count) {
      const ended = await Promise.race([
        this.#exit.then(() => true),
        once(this.#child, "message").then(() => false),
      ]);
      if (ended) throw new Error(`Process ${this.name} ended after ${this.acknowledged.length}`);
    }
  }

  /** Its exit code, when it has ended by itself. */
  async ended(): Promise<unknown> {
    const [code] = await this.#exit;
    return code;
  }

  /** As power is for it: at once, wherever it is. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#exit;
  }
}
