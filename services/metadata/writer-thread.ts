/** A process's hold on its writer thread: requests are answered one after another, in order. */
import { Worker } from "node:worker_threads";
import type {
  DoneReply,
  WriterNotice,
  WriterOptions,
  WriterReply,
  WriterRequest,
} from "#metadata/lmdb-messages.ts";

/** Why the thread takes nothing more. Indeterminate: what it had in hand may have taken effect. */
export class WriterFault extends Error {
  override readonly name = "WriterFault";
  readonly reason: string;
  readonly isIndeterminate: boolean;

  constructor(reason: string, isIndeterminate: boolean) {
    super(`Cannot write the index: ${reason}`);
    this.reason = reason;
    this.isIndeterminate = isIndeterminate;
  }
}

interface Waiting {
  readonly resolve: (reply: WriterReply) => void;
  readonly reject: (fault: WriterFault) => void;
}

export class WriterThread {
  readonly #thread: Worker;
  readonly #waiting: Waiting[] = [];
  readonly #stopped: Promise<unknown>;
  #fault: WriterFault | undefined;

  static async start(
    options: WriterOptions,
    onNotice: (notice: WriterNotice) => void,
  ): Promise<WriterThread> {
    const writer = new WriterThread(new Worker(FILE, { workerData: options }), onNotice);
    await writer.#reply();
    return writer;
  }

  private constructor(thread: Worker, onNotice: (notice: WriterNotice) => void) {
    this.#thread = thread;
    this.#stopped = new Promise((resolve) => thread.once("exit", resolve));
    thread.on("message", (message: WriterReply | WriterNotice) => {
      if (message.kind === "dropped") onNotice(message);
      else this.#onReply(message);
    });
    thread.on("error", (error: Error) => this.#onFault(new WriterFault(error.message, true)));
    thread.on("exit", () => this.#onFault(new WriterFault("its thread has stopped", true)));
  }

  /** Why nothing more is written; the process must be restarted then. */
  get fault(): Error | undefined {
    return this.#fault;
  }

  async write(group: Buffer<ArrayBuffer>): Promise<DoneReply> {
    const reply = await this.#ask({ kind: "group", bytes: group }, group.buffer);
    if (reply.kind !== "done") throw new Error(`Unexpected answer to a group: ${reply.kind}`);
    return reply;
  }

  /** Begins a new log in all copies and the folders that join; answers its number. */
  async rotate(joining: readonly string[]): Promise<number> {
    const reply = await this.#ask({ kind: "rotate", joining });
    if (reply.kind !== "rotated") throw new Error(`Unexpected answer to rotate: ${reply.kind}`);
    return reply.log;
  }

  /** Says that the folder's copy is durable; false when the folder no longer counts. */
  async complete(folder: string): Promise<boolean> {
    const reply = await this.#ask({ kind: "complete", folder });
    if (reply.kind !== "completed") throw new Error(`Unexpected answer: ${reply.kind}`);
    return reply.isMember;
  }

  /** Waits for what is under way. */
  async close(): Promise<void> {
    if (this.#fault === undefined) await this.#ask({ kind: "close" });
    this.#fault ??= new WriterFault("it is closed", false);
    await this.#stopped;
  }

  #ask(request: WriterRequest, ...handedOver: readonly ArrayBuffer[]): Promise<WriterReply> {
    if (this.#fault !== undefined)
      return Promise.reject(new WriterFault(this.#fault.reason, false));
    this.#thread.postMessage(request, handedOver);
    return this.#reply();
  }

  #reply(): Promise<WriterReply> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
    });
  }

  #onReply(reply: WriterReply): void {
    const waiting = this.#waiting.shift();
    if (reply.kind !== "failed") {
      waiting?.resolve(reply);
      return;
    }
    const fault = new WriterFault(reply.reason, reply.isIndeterminate);
    this.#fault ??= fault;
    waiting?.reject(fault);
  }

  #onFault(fault: WriterFault): void {
    this.#fault ??= fault;
    for (const { reject } of this.#waiting.splice(0)) reject(fault);
  }
}

const SOURCE = new URL("./lmdb-writer.ts", import.meta.url).href;
/** In a package, where everything is compiled, it stands beside this file as JavaScript. */
const FILE = new URL(import.meta.url.endsWith(".ts") ? SOURCE : SOURCE.replace(/ts$/, "js"));
