/** The phases of a bench: the same load on whatever serves S3, and what its processes spent on it. */
import { createHash, randomBytes } from "node:crypto";
import { LoadClient, type Target } from "./load.ts";
import { type Cost, processCost } from "./processes.ts";

const SMALL_BYTES = 4096;
const LARGE_BYTES = 10 * 1024 * 1024;
const LARGE_CONCURRENCY = 4;
const LIST_KEYS = 3000;
const BUCKET = "bench";
/** Of what a phase can do at most, the warm-up takes no more than this part. */
const WARM_UP_PART = 3;

export const PHASES = [
  "PUT 4 KiB",
  "GET 4 KiB",
  "HEAD",
  "LIST 1,000",
  "PUT 10 MiB",
  "GET 10 MiB",
  "DELETE",
] as const;
export type Phase = (typeof PHASES)[number];

export interface Row {
  readonly phase: string;
  readonly operations: number;
  readonly perSecond: number;
  readonly mibPerSecond: number;
  readonly p50: number;
  readonly p99: number;
  /** An operation, of all processes. */
  readonly cpuMicroseconds: number;
  readonly cpuNsPerByte: number;
  /** An operation, by role. */
  readonly roles: Readonly<Record<string, number>>;
  readonly largestMib: number;
}

export interface Load {
  readonly seconds: number;
  /** Of each phase before its figures are taken. */
  readonly warmUpSeconds: number;
  readonly concurrency: number;
}

/** Root processes by role; their descendants count with them. Asked for at each reading, as processes may end. */
export type Roles = () => Readonly<Record<string, readonly number[]>>;

export class Bench {
  readonly #client: LoadClient;
  readonly #roles: Roles;
  readonly #load: Load;
  readonly #small = withHash(randomBytes(SMALL_BYTES));
  readonly #large = withHash(randomBytes(LARGE_BYTES));
  #written = 0;
  #deleted = 0;

  constructor(target: Target, roles: Roles, load: Load) {
    this.#client = new LoadClient(target, load.concurrency);
    this.#roles = roles;
    this.#load = load;
  }

  /** The bucket of all phases. */
  async prepare(): Promise<void> {
    await this.#client.send({ method: "PUT", path: `/${BUCKET}` });
  }

  close(): void {
    this.#client.close();
  }

  async run(phases: readonly Phase[]): Promise<readonly Row[]> {
    const rows: Row[] = [];
    for (const phase of phases) rows.push(await this.#phase(phase));
    return rows;
  }

  /** `name`: what the row is called, where the phase runs under other circumstances. */
  async again(phase: Phase, name: string): Promise<Row> {
    return { ...(await this.#phase(phase)), phase: name };
  }

  #phase(phase: Phase): Promise<Row> {
    const client = this.#client;
    const many = this.#load.concurrency;
    const any = () => smallPath(Math.floor(Math.random() * this.#written));
    switch (phase) {
      case "PUT 4 KiB": {
        const { body, sha256 } = this.#small;
        const send = () =>
          client.send({ method: "PUT", path: smallPath(this.#written++), body, sha256 });
        return this.#measure({
          phase,
          concurrency: many,
          bytes: SMALL_BYTES,
          send,
          least: LIST_KEYS,
        });
      }
      case "GET 4 KiB": {
        const send = () => client.send({ method: "GET", path: any() });
        return this.#measure({ phase, concurrency: many, bytes: SMALL_BYTES, send });
      }
      case "HEAD": {
        const send = () => client.send({ method: "HEAD", path: any() });
        return this.#measure({ phase, concurrency: many, bytes: 0, send });
      }
      case "LIST 1,000": {
        const query = "list-type=2&max-keys=1000";
        const send = () => client.send({ method: "GET", path: `/${BUCKET}`, query });
        return this.#measure({ phase, concurrency: LARGE_CONCURRENCY, bytes: 0, send });
      }
      case "PUT 10 MiB": {
        const { body, sha256 } = this.#large;
        const send = (index: number) =>
          client.send({ method: "PUT", path: largePath(index), body, sha256 });
        const concurrency = LARGE_CONCURRENCY;
        return this.#measure({ phase, concurrency, bytes: LARGE_BYTES, send, least: 8 });
      }
      case "GET 10 MiB": {
        const send = (index: number) => client.send({ method: "GET", path: largePath(index) });
        return this.#measure({ phase, concurrency: LARGE_CONCURRENCY, bytes: LARGE_BYTES, send });
      }
      case "DELETE": {
        const send = () => client.send({ method: "DELETE", path: smallPath(this.#deleted++) });
        const most = this.#written - this.#deleted;
        return this.#measure({ phase, concurrency: many, bytes: 0, send, most });
      }
    }
  }

  /** `concurrency` loops for the time set, the processes' cost read before and after. */
  async #measure(work: {
    phase: Phase;
    concurrency: number;
    bytes: number;
    send: (index: number) => ReturnType<LoadClient["send"]>;
    least?: number;
    most?: number;
  }): Promise<Row> {
    const { phase, concurrency, bytes, send, least = 0, most = Number.POSITIVE_INFINITY } = work;
    let latencies: number[] = [];
    let begun = 0;
    const loop = async (goesOn: () => boolean) => {
      while (goesOn()) {
        const from = performance.now();
        const answer = await send(begun++);
        if (answer.status >= 300) throw new Error(`${phase}: status ${answer.status}`);
        latencies.push(performance.now() - from);
      }
    };
    const loops = (goesOn: () => boolean) =>
      Promise.all(Array.from({ length: concurrency }, () => loop(goesOn)));
    const warm = performance.now() + this.#load.warmUpSeconds * 1000;
    await loops(() => performance.now() < warm && begun < most / WARM_UP_PART);
    latencies = [];
    const before = costs(this.#roles());
    const started = performance.now();
    const end = started + this.#load.seconds * 1000;
    await loops(() => (performance.now() < end || begun < least) && begun < most);
    const seconds = (performance.now() - started) / 1000;
    const after = costs(this.#roles());
    latencies.sort((left, right) => left - right);
    const operations = latencies.length;
    const roles: Record<string, number> = {};
    let cpu = 0;
    let largest = 0;
    for (const [role, cost] of after) {
      const spent = cost.cpuSeconds - (before.get(role)?.cpuSeconds ?? 0);
      roles[role] = (spent * 1e6) / operations;
      cpu += spent;
      largest = Math.max(largest, cost.largestBytes);
    }
    return {
      phase,
      operations,
      perSecond: operations / seconds,
      mibPerSecond: (operations * bytes) / seconds / 2 ** 20,
      p50: latencies[Math.floor(operations * 0.5)] ?? 0,
      p99: latencies[Math.floor(operations * 0.99)] ?? 0,
      cpuMicroseconds: (cpu * 1e6) / operations,
      cpuNsPerByte: bytes === 0 ? 0 : (cpu * 1e9) / (operations * bytes),
      roles,
      largestMib: largest / 2 ** 20,
    };
  }
}

function smallPath(index: number): string {
  return `/${BUCKET}/small/${String(index).padStart(8, "0")}`;
}

function largePath(index: number): string {
  return `/${BUCKET}/large/${index % 8}`;
}

function costs(roles: Readonly<Record<string, readonly number[]>>): Map<string, Cost> {
  return new Map(Object.entries(roles).map(([role, ids]) => [role, processCost(ids)]));
}

function withHash(body: Buffer): { body: Buffer; sha256: string } {
  return { body, sha256: createHash("sha256").update(body).digest("hex") };
}
