/** A container of a test's own, gone with it. */
import { setTimeout as sleep } from "node:timers/promises";
import { docker } from "../support/docker.ts";

/** Between start and healthy lies one HEALTHCHECK interval at least; the rest is for a machine with other things to do. */
const PATIENCE_MS = 120_000;

/** As any hardened installation would: nothing on its disk can be written but volumes, and it has no capability. */
export const HARDENED = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"];

export class Container implements AsyncDisposable {
  readonly id: string;

  private constructor(id: string) {
    this.id = id;
  }

  /** `args`: flags of `docker run`, the image, the image's arguments. */
  static async run(...args: readonly string[]): Promise<Container> {
    return new Container(await docker("run", "--detach", ...args));
  }

  async exec(...command: readonly string[]): Promise<string> {
    return docker("exec", this.id, ...command);
  }

  logs(): Promise<string> {
    return docker("logs", this.id);
  }

  /** `http://127.0.0.1:…` of a port that was published. */
  async endpoint(port: number): Promise<string> {
    const [address = ""] = (await docker("port", this.id, `${port}/tcp`)).split("\n");
    return `http://${address}`;
  }

  async untilHealthy(): Promise<void> {
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      const state = await this.#inspect("{{.State.Status}} {{.State.Health.Status}}");
      if (state === "running healthy") return;
      if (!state.startsWith("running") || performance.now() > deadline) {
        throw new Error(`Container ${this.id} is ${state}:\n${await this.logs()}`);
      }
      await sleep(250);
    }
  }

  /** SIGTERM, and after its time SIGKILL; answers the exit code. */
  async stop(): Promise<number> {
    await docker("stop", "--time=40", this.id);
    return Number(await this.#inspect("{{.State.ExitCode}}"));
  }

  async start(): Promise<void> {
    await docker("start", this.id);
    await this.untilHealthy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await docker("rm", "--force", "--volumes", this.id);
  }

  #inspect(format: string): Promise<string> {
    return docker("inspect", `--format=${format}`, this.id);
  }
}
