/** Looks at each commit that names bytes for the first time: they must be durable on W disks by then (I1, R4). */
import { CodecByName } from "#codec/codec-by-name.ts";
import { KEY, objectKeyOf } from "#metadata/keys.ts";
import type { Commit } from "#metadata/metadata-store.ts";
import { decodeUploadPart } from "#metadata/record-upload.ts";
import { decodeVersion } from "#metadata/record-version.ts";
import type { Extent } from "#objects/model.ts";
import { MemoryNode, type Node } from "./node.ts";

const CODECS = new CodecByName();

export class QuorumWatch {
  readonly violations: string[] = [];
  readonly #nodes: ReadonlyMap<string, Node>;
  readonly #all: number;
  readonly #seen = new Set<string>();

  constructor(nodes: ReadonlyMap<string, Node>) {
    this.#nodes = nodes;
    this.#all = nodes.size;
  }

  /** To be called at the instant at which the commit took effect. */
  committed({ put }: Commit): void {
    for (const { key, value } of put) {
      const kind = key[0];
      if (kind === KEY.live) this.#look(decodeVersion(objectKeyOf(key), value).extents);
      if (kind === KEY.part) this.#look(decodeUploadPart(value).extents);
    }
  }

  #look(extents: readonly Extent[]): void {
    const nodes = [...this.#nodes.values()];
    // What a disk's volumes hold cannot be told at once, and what a lost disk held not at all.
    if (nodes.length < this.#all || !nodes.every((node) => node instanceof MemoryNode)) return;
    for (const extent of extents) {
      const name = Buffer.from(extent.writeId).toString("hex");
      if (this.#seen.has(name)) continue;
      this.#seen.add(name);
      const indexes = nodes
        .flatMap(({ store }) => store.ids())
        .filter(({ writeId }) => Buffer.from(writeId).equals(extent.writeId))
        .map(({ index }) => index);
      const { k, m } = CODECS.codec(extent.codec, extent.unit);
      const needed = Math.min(k + m, Math.max(k + 1, k + Math.ceil(m / 2)));
      const found = new Set(indexes).size;
      if (found >= needed) continue;
      this.violations.push(`I1: ${name} was committed with ${found} shards of ${needed} needed`);
    }
  }
}
