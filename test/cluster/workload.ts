/**
 * What the clients do while faults come and go: all that S3 allows with few keys, so that they contend. Each stage has a bucket
 * without and one with versions of its own, so that no key's history gets longer than can be searched.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { SeededRandom } from "#lib/random.ts";
import type { Answer, Condition } from "../support/history.ts";
import { Client, type ClientParts, type SentPart, type Target } from "./client.ts";
import type { Content } from "./contents.ts";

export interface Stage {
  readonly plain: string;
  readonly versioned: string;
}

export interface KeptVersion {
  readonly bucket: string;
  readonly key: string;
  readonly versionId: string;
}

export const CLIENTS = 40;
const KEYS = Array.from({ length: 10 }, (_, at) => `key-${at}`);
/** A client keeps to one gateway, mostly: one that does not answer must not hold all of them up. */
const HOME_SHARE = 0.95;
/** On average half of it lies between two requests of a client. */
const THINK_MS = 500;
const WRITER_THINK_MS = 150;
const KIBIBYTE = 1024;
/** A part of an upload that is not its last. */
const PART_BYTES = 5 * KIBIBYTE ** 2;
const PARTS = ["whole", "whole", "range", "none"] as const;
const PAGES = [2, 5, 1000] as const;

type Act = (client: Client, target: Target) => Promise<void>;

export class Workload {
  readonly keptVersions: KeptVersion[] = [];
  readonly #parts: ClientParts;
  readonly #random: SeededRandom;
  readonly #gateways: readonly string[];
  readonly #lastSeen = new Map<string, string>();
  readonly #acts: readonly (readonly [share: number, act: Act])[];
  #stages: readonly Stage[] = [];
  #clients = 0;
  #isStopped = false;

  constructor(parts: ClientParts, random: SeededRandom) {
    this.#parts = parts;
    this.#random = random;
    this.#gateways = [...parts.links.keys()];
    this.#acts = [
      [28, async (...given) => this.#put(...given)],
      [10, async (...given) => this.#remove(...given)],
      [26, async (...given) => this.#read(...given)],
      [10, async (...given) => this.#readEarlier(...given)],
      [5, async (...given) => this.#list(...given)],
      [3, async (...given) => this.#listVersions(...given)],
      [9, async (...given) => this.#copy(...given)],
      [9, async (...given) => this.#upload(...given)],
    ];
  }

  /** From now on these two buckets are written, and all earlier ones are read. */
  begin(stage: Stage): void {
    this.#stages = [...this.#stages, stage];
  }

  get stages(): readonly Stage[] {
    return this.#stages;
  }

  get keys(): readonly string[] {
    return KEYS;
  }

  newClient(): Client {
    this.#clients += 1;
    return new Client(`client${this.#clients}`, this.#parts);
  }

  /** Resolves when all clients have had their last answer after `stop`. */
  async run(): Promise<void> {
    await Promise.all(Array.from({ length: CLIENTS }, async () => this.#live(this.newClient())));
  }

  /** Only whole writes, as fast as they are answered; answers how many there were, and how many not acknowledged. */
  async writeFor(ms: number): Promise<{ readonly writes: number; readonly failed: number }> {
    const deadline = performance.now() + ms;
    let [writes, failed] = [0, 0];
    const writer = async (client: Client) => {
      while (performance.now() < deadline) {
        await sleep(this.#random.fraction() * WRITER_THINK_MS);
        const gateway = this.#pick(this.#gateways);
        const target = { gateway, bucket: this.#now.plain, key: this.#pick(KEYS) };
        const answer = await client.put(target, this.#newContent());
        writes += 1;
        if (answer.kind !== "done") failed += 1;
      }
    };
    await Promise.all(Array.from({ length: CLIENTS }, async () => writer(this.newClient())));
    return { writes, failed };
  }

  stop(): void {
    this.#isStopped = true;
  }

  async #live(client: Client): Promise<void> {
    const home = this.#pick(this.#gateways);
    while (!this.#isStopped) {
      await sleep(this.#random.fraction() * THINK_MS);
      const { plain, versioned } = this.#now;
      const bucket = this.#chance(0.5) ? plain : versioned;
      const gateway = this.#chance(HOME_SHARE) ? home : this.#pick(this.#gateways);
      await this.#act(client, { gateway, bucket, key: this.#pick(KEYS) });
    }
  }

  async #put(client: Client, target: Target): Promise<void> {
    const condition = this.#chance(0.3) ? this.#condition(target) : undefined;
    this.#keep(target, await client.put(target, this.#newContent(), condition));
  }

  async #remove(client: Client, target: Target): Promise<void> {
    const version = this.#chance(0.4) ? this.#someVersion(target.bucket) : undefined;
    if (version !== undefined) {
      const { key, versionId } = version;
      await client.remove({ ...target, key }, { versionId });
      return;
    }
    const match = this.#chance(0.2) ? this.#matching(target) : undefined;
    await client.remove(target, match && { condition: { ...match, kind: "if-match-or-absent" } });
  }

  async #read(client: Client, target: Target): Promise<void> {
    const part = this.#pick(PARTS);
    const version = this.#chance(0.3) ? this.#someVersion(target.bucket) : undefined;
    if (version !== undefined) {
      const { key, versionId } = version;
      await client.read({ ...target, key }, { versionId, part });
      return;
    }
    const answer = await client.read(target, { part });
    if (answer.kind === "seen") this.#lastSeen.set(nameOf(target), answer.value);
  }

  /** What was written before this stage's faults must stay through them. */
  async #readEarlier(client: Client, target: Target): Promise<void> {
    const { plain, versioned } = this.#pick(this.#stages);
    await client.read({ ...target, bucket: this.#chance(0.5) ? plain : versioned });
  }

  async #list(client: Client, target: Target): Promise<void> {
    const limit = this.#pick(PAGES);
    let after: string | undefined = "";
    while (after !== undefined) after = await client.list(target, { after, limit });
  }

  async #listVersions(client: Client, target: Target): Promise<void> {
    await client.listVersions({ ...target, bucket: this.#now.versioned });
  }

  async #copy(client: Client, target: Target): Promise<void> {
    const { plain, versioned } = this.#now;
    const source = { bucket: this.#chance(0.5) ? plain : versioned, key: this.#pick(KEYS) };
    // Onto itself it would change nothing, and is refused.
    if (source.bucket === target.bucket && source.key === target.key) return;
    this.#keep(target, await client.copy(target, source));
  }

  async #upload(client: Client, target: Target): Promise<void> {
    const uploadId = await client.createUpload(target);
    if (uploadId === undefined) return;
    const last = { number: 7, content: this.#newContent() };
    const isLarge = this.#chance(0.1);
    const parts: SentPart[] = [last];
    if (isLarge) parts.unshift({ number: 3, content: this.#parts.contents.make(PART_BYTES) });
    for (const part of parts) {
      if (!(await client.putPart(target, uploadId, part))) return;
    }
    const content = this.#parts.contents.joined(parts.map((part) => part.content));
    const condition = this.#chance(0.1) ? this.#condition(target) : undefined;
    const complete = async (gateway: string) => {
      const given = { parts, content, condition };
      this.#keep(target, await client.complete({ ...target, gateway }, uploadId, given));
    };
    const choice = this.#random.fraction();
    const { gateway } = target;
    const rival = this.#pick(this.#gateways);
    if (choice < 0.5) await complete(gateway);
    else if (choice < 0.7) await Promise.all([complete(gateway), complete(rival)]);
    else if (choice < 0.85) {
      const aborted = client.abort({ ...target, gateway: rival }, uploadId);
      await Promise.all([complete(gateway), aborted]);
    } else if (choice < 0.95) await client.abort(target, uploadId);
    // Else it is left open, as uploads are.
  }

  #newContent(): Content {
    const choice = this.#random.fraction();
    const size = (low: number, high: number) =>
      Math.floor((low + this.#random.fraction() * (high - low)) * KIBIBYTE);
    const { contents } = this.#parts;
    if (choice < 0.55) return contents.make(size(1, 8));
    if (choice < 0.85) return contents.make(size(8, 128));
    // From here on they are erasure-coded.
    return contents.make(choice < 0.97 ? size(128, 512) : size(512, 4096));
  }

  #condition(target: Target): Condition | undefined {
    return this.#chance(0.5) ? { kind: "if-none-match" } : this.#matching(target);
  }

  #matching(target: Target): { readonly kind: "if-match"; readonly value: string } | undefined {
    const value = this.#lastSeen.get(nameOf(target));
    if (value === undefined || this.#parts.contents.isAmbiguous(value)) return undefined;
    return { kind: "if-match", value };
  }

  /** Of the newest stage, and of that bucket. */
  #someVersion(bucket: string): KeptVersion | undefined {
    const { versioned } = this.#now;
    if (bucket !== versioned) return undefined;
    const kept = this.keptVersions.slice(-200).filter((version) => version.bucket === bucket);
    return kept.length === 0 ? undefined : this.#pick(kept);
  }

  #keep({ bucket, key }: Target, answer: Answer): void {
    if (answer.kind !== "done" || answer.versionId === undefined) return;
    this.keptVersions.push({ bucket, key, versionId: answer.versionId });
  }

  async #act(client: Client, target: Target): Promise<void> {
    const sum = this.#acts.reduce((total, [share]) => total + share, 0);
    let left = this.#random.fraction() * sum;
    for (const [share, act] of this.#acts) {
      left -= share;
      if (left < 0) return act(client, target);
    }
  }

  get #now(): Stage {
    const stage = this.#stages.at(-1);
    if (!stage) throw new Error("Cannot ask for anything: no stage has begun");
    return stage;
  }

  #pick<T>(from: readonly T[]): T {
    const picked = from[Math.floor(this.#random.fraction() * from.length)];
    if (picked === undefined) throw new Error("Cannot pick from nothing");
    return picked;
  }

  #chance(share: number): boolean {
    return this.#random.fraction() < share;
  }
}

function nameOf({ bucket, key }: Target): string {
  return `${bucket}/${key}`;
}
