/**
 * The containers' network, with addresses that they keep over restarts, and cuts between any two of them: packets of one to the
 * other are dropped on the bridge, which neither can tell from a cable that was pulled.
 */
import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { promisify } from "node:util";
import { docker } from "../support/docker.ts";

const run = promisify(execFile);
const CHAIN = "DOCKER-USER";
const BRIDGED = "/proc/sys/net/bridge/bridge-nf-call-iptables";
/** The bridge itself has .1. */
const FIRST_HOST = 10;

export interface Cut {
  readonly from: string;
  readonly to: string;
}

export class ContainerNetwork implements AsyncDisposable {
  readonly name: string;
  readonly #prefix: string;
  readonly #addresses = new Map<string, string>();
  readonly #cuts = new Map<string, Cut>();

  private constructor(name: string, prefix: string) {
    this.name = name;
    this.#prefix = prefix;
  }

  static async make(name: string): Promise<ContainerNetwork> {
    // Docker knows which addresses are free, and keeps those of containers only where the range was asked for by its name.
    await docker("network", "create", name);
    const subnet = await docker(
      "network",
      "inspect",
      "--format={{(index .IPAM.Config 0).Subnet}}",
      name,
    );
    await docker("network", "rm", name);
    await docker("network", "create", `--subnet=${subnet}`, name);
    return new ContainerNetwork(name, subnet.split(".").slice(0, 3).join("."));
  }

  /** The same each time for the same member. */
  address(member: string): string {
    const known = this.#addresses.get(member);
    if (known !== undefined) return known;
    const address = `${this.#prefix}.${FIRST_HOST + this.#addresses.size}`;
    this.#addresses.set(member, address);
    return address;
  }

  /** Packets from the one to the other are lost, until `mend`. */
  async cut(cuts: readonly Cut[]): Promise<void> {
    for (const cut of cuts) {
      const name = nameOf(cut);
      if (this.#cuts.has(name)) continue;
      this.#cuts.set(name, cut);
      await run("iptables", ["-w", "-I", CHAIN, ...this.#rule(cut)]);
    }
  }

  async mend(cuts: readonly Cut[]): Promise<void> {
    for (const cut of cuts) {
      if (!this.#cuts.delete(nameOf(cut))) continue;
      await run("iptables", ["-w", "-D", CHAIN, ...this.#rule(cut)]);
    }
  }

  async mendAll(): Promise<void> {
    await this.mend([...this.#cuts.values()]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.mendAll();
    await docker("network", "rm", this.name);
  }

  #rule({ from, to }: Cut): readonly string[] {
    const comment = ["-m", "comment", "--comment", this.name];
    return ["-s", this.address(from), "-d", this.address(to), ...comment, "-j", "DROP"];
  }
}

/** Whether packets between containers come by iptables at all, and it may be told. */
export function canCut(): boolean {
  if (process.getuid?.() !== 0 || !existsSync(BRIDGED)) return false;
  return readFileSync(BRIDGED, "utf8").trim() === "1";
}

/** Both ways between each of the ones and each of the others. */
export function between(ones: readonly string[], others: readonly string[]): readonly Cut[] {
  return ones.flatMap((one) =>
    others.flatMap((other) => [
      { from: one, to: other },
      { from: other, to: one },
    ]),
  );
}

function nameOf({ from, to }: Cut): string {
  return `${from} ${to}`;
}
