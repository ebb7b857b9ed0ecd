/** What the clients do: all that S3 allows with few keys, so that they contend. */
import type { Bucket } from "#objects/model.ts";
import type { Answer, Condition, History } from "../support/history.ts";
import { Client, type SentPart, type Target } from "./client.ts";
import type { Cluster } from "./cluster.ts";
import type { Machine } from "./gateway.ts";
import { type Value, Values } from "./values.ts";

export interface WorkloadOptions {
  readonly clients: number;
  /** Of each client. */
  readonly requests: number;
  readonly keys: number;
}

const THINK_MS_MAX = 600;
/** A multipart part but the last, and more than one stripe of any codec. */
const LARGE_BYTES = 5 * 1024 * 1024;
/** They cost as much as all else together: so many a run. */
const LARGE_MAX = 2;

/** Of one Complete. */
const RIVALS = 4;

interface KeptVersion {
  readonly key: string;
  readonly versionId: string;
}

export class Workload {
  readonly values = new Values();
  readonly plain: Bucket;
  readonly kept: Bucket;
  readonly #cluster: Cluster;
  readonly #history: History;
  readonly #options: WorkloadOptions;
  /** Acknowledged in the versioned bucket. */
  readonly #keptVersions: KeptVersion[] = [];
  readonly #lastSeen = new Map<string, string>();
  #large = 0;
  #clients = 0;

  constructor(
    cluster: Cluster,
    history: History,
    parts: { plain: Bucket; kept: Bucket; options: WorkloadOptions },
  ) {
    this.#cluster = cluster;
    this.#history = history;
    this.plain = parts.plain;
    this.kept = parts.kept;
    this.#options = parts.options;
  }

  get keys(): readonly string[] {
    return Array.from({ length: this.#options.keys }, (_, at) => `key-${at}`);
  }

  /** Acknowledged versions of the versioned bucket, removed ones as well. */
  get keptVersions(): readonly KeptVersion[] {
    return this.#keptVersions;
  }

  /** Resolves when all clients have had their say. */
  async run(): Promise<void> {
    const { clients } = this.#options;
    await Promise.all(Array.from({ length: clients }, async () => this.#live()));
  }

  newClient(): Client {
    this.#clients += 1;
    return new Client(`client-${this.#clients}`, {
      world: this.#cluster.world,
      network: this.#cluster.network,
      history: this.#history,
      values: this.values,
    });
  }

  async #live(): Promise<void> {
    const client = this.newClient();
    const { world } = this.#cluster;
    for (let request = 0; request < this.#options.requests; request++) {
      await world.sleep(world.between(0, THINK_MS_MAX), client.name);
      await this.#request(client);
    }
  }

  async #request(client: Client): Promise<void> {
    const { world } = this.#cluster;
    const bucket = world.chance(0.5) ? this.plain : this.kept;
    const target: Target = { gateway: this.#gateway(), bucket, key: world.pick(this.keys) };
    const choice = world.random.fraction();
    if (choice < 0.26) await this.#put(client, target);
    else if (choice < 0.36) await this.#remove(client, target);
    else if (choice < 0.66) await this.#read(client, target);
    else if (choice < 0.72) await this.#list(client, target);
    else if (choice < 0.75) await client.listVersions({ ...target, bucket: this.kept });
    else if (choice < 0.83) await this.#copy(client, target);
    else await this.#upload(client, target);
  }

  async #put(client: Client, target: Target): Promise<void> {
    const { world } = this.#cluster;
    const value = this.#newValue();
    const condition = world.chance(0.3) ? this.#condition(target) : undefined;
    const isSlow = world.chance(0.2);
    const sending = {
      pieceBytes: isSlow ? Math.max(512, value.bytes.length >>> 3) : 1 << 20,
      pauseMs: isSlow ? world.between(1, 500) : 0,
      breaksOff: world.chance(0.03),
    };
    this.#keep(target, await client.put(target, value, { condition, sending }));
  }

  async #remove(client: Client, target: Target): Promise<void> {
    const { world } = this.#cluster;
    const condition = world.chance(0.2) ? this.#matching(target) : undefined;
    const isByVersion = target.bucket === this.kept && world.chance(0.5);
    const version = isByVersion ? this.#someVersion() : undefined;
    if (version === undefined) await client.remove(target, { condition });
    else await client.remove({ ...target, key: version.key }, { versionId: version.versionId });
  }

  async #read(client: Client, target: Target): Promise<void> {
    const { world } = this.#cluster;
    const part = world.pick(["whole", "whole", "range", "none"] as const);
    const version =
      target.bucket === this.kept && world.chance(0.3) ? this.#someVersion() : undefined;
    if (version !== undefined) {
      const { key, versionId } = version;
      await client.read({ ...target, key }, { versionId, part });
      return;
    }
    const answer = await client.read(target, { part });
    if (answer.kind === "seen") this.#lastSeen.set(nameOf(target), answer.value);
  }

  async #list(client: Client, target: Target): Promise<void> {
    const limit = this.#cluster.world.pick([1, 3, 1000]);
    let after = "";
    for (;;) {
      const page = await client.list(target, { after, limit });
      if (!page?.isTruncated) return;
      after = page.last;
    }
  }

  async #copy(client: Client, target: Target): Promise<void> {
    const { world } = this.#cluster;
    const source = {
      bucket: world.chance(0.7) ? this.plain : this.kept,
      key: world.pick(this.keys),
    };
    this.#keep(target, await client.copy(target, source));
  }

  async #upload(client: Client, target: Target): Promise<void> {
    const { world } = this.#cluster;
    const upload = await client.createUpload(target);
    if (upload === undefined) return;
    const parts = this.#newParts();
    for (const part of parts) {
      if (!(await client.putPart({ ...target, gateway: this.#gateway() }, upload, part))) return;
    }
    const last = parts.at(-1);
    if (last === undefined) return;
    const choice = world.random.fraction();
    const complete = async (gateway: Machine) => {
      const condition = choice < 0.1 ? this.#condition(target) : undefined;
      const given = { ...target, gateway };
      this.#keep(target, await client.complete(given, upload, { parts, condition }));
    };
    const rival = async (act: (gateway: Machine) => Promise<unknown>) => {
      await world.sleep(world.between(0, 20), client.name);
      await act(this.#gateway());
    };
    const { gateway } = target;
    if (choice < 0.35) await complete(gateway);
    else if (choice < 0.55) {
      // A part is replaced while the upload is completed, by several clients.
      const others = Array.from({ length: RIVALS }, () => this.#newValue());
      const replacing = others.map(async (value) => {
        const other = { number: last.number, value };
        await rival(async (another) => {
          await client.putPart({ ...target, gateway: another }, upload, other);
        });
      });
      await Promise.all([complete(gateway), ...replacing]);
    } else if (choice < 0.7) {
      await Promise.all([complete(gateway), rival(complete)]);
    } else if (choice < 0.85) {
      await Promise.all([
        complete(gateway),
        rival(async (another) => client.abort({ ...target, gateway: another }, upload)),
      ]);
    } else if (choice < 0.95) await client.abort(target, upload);
    // Else it is left open, as uploads are.
  }

  #newParts(): readonly SentPart[] {
    const { world } = this.#cluster;
    const last = { number: 7, value: this.#newValue() };
    if (this.#large >= LARGE_MAX || !world.chance(0.05)) return [last];
    this.#large += 1;
    return [{ number: 3, value: this.values.make(LARGE_BYTES) }, last];
  }

  #newValue(): Value {
    const { world } = this.#cluster;
    const { smallBytes } = this.#cluster.shape;
    const choice = world.random.fraction();
    if (choice < 0.03) return this.values.make(0);
    if (choice < 0.5) return this.values.make(Math.floor(world.between(8, smallBytes)));
    if (choice < 0.997 || this.#large >= LARGE_MAX) {
      return this.values.make(Math.floor(world.between(smallBytes, 24 * 1024)));
    }
    this.#large += 1;
    return this.values.make(LARGE_BYTES + Math.floor(world.between(0, 1024)));
  }

  #condition(target: Target): Condition | undefined {
    return this.#cluster.world.chance(0.5) ? { kind: "if-none-match" } : this.#matching(target);
  }

  #matching(target: Target): Condition | undefined {
    const value = this.#lastSeen.get(nameOf(target));
    return value === undefined ? undefined : { kind: "if-match", value };
  }

  #someVersion(): KeptVersion | undefined {
    return this.#keptVersions.length === 0
      ? undefined
      : this.#cluster.world.pick(this.#keptVersions);
  }

  #keep({ bucket, key }: Target, answer: Answer): void {
    if (bucket !== this.kept || answer.kind !== "done") return;
    const { versionId } = answer;
    if (versionId === undefined) return;
    this.#keptVersions.push({ key, versionId });
  }

  #gateway(): Machine {
    return this.#cluster.world.pick(this.#cluster.gateways);
  }
}

function nameOf({ bucket, key }: Target): string {
  return `${bucket.name}/${key}`;
}
