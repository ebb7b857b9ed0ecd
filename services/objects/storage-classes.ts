/** Which codec a write takes: its storage class's, or copies where a write is too small to be worth cutting up. */
import type { Codec } from "#codec/codec.ts";
import type { CodecByName } from "#codec/codec-by-name.ts";
import { parseCodecName } from "#codec/storage-class.ts";
import type { Extent } from "#objects/model.ts";

/** Below this a read that touches one disk saves more than copies cost (DESIGN §5). */
export const SMALL_BYTES_DEFAULT = 128 * 1024;

export interface StorageClassOptions {
  readonly codecs: CodecByName;
  /** Codec name of each storage class: `{ STANDARD: "ec-4+2" }`. */
  readonly names: Readonly<Record<string, string>>;
  readonly smallBytes?: number;
}

interface Pair {
  readonly small: Codec;
  readonly large: Codec;
}

export class StorageClasses {
  readonly smallBytes: number;
  /** Largest n of any class: what the placement map's width must reach. */
  readonly width: number;
  readonly #codecs: CodecByName;
  readonly #pairs = new Map<string, Pair>();

  constructor({ codecs, names, smallBytes = SMALL_BYTES_DEFAULT }: StorageClassOptions) {
    this.#codecs = codecs;
    this.smallBytes = smallBytes;
    let width = 1;
    for (const [storageClass, name] of Object.entries(names)) {
      const large = codecs.codec(name);
      const shape = parseCodecName(name);
      const small = shape?.kind === "ec" ? codecs.codec(`replica-${shape.m + 1}`) : large;
      this.#pairs.set(storageClass, { small, large });
      width = Math.max(width, large.k + large.m);
    }
    this.width = width;
  }

  /** `size` of the whole write; undefined when it is known only to be no smaller than `smallBytes`. */
  forSize(storageClass: string, size: number | undefined): Codec {
    const pair = this.#pairs.get(storageClass);
    if (!pair) throw new Error(`Cannot write: storage class ${storageClass} names no codec`);
    return size !== undefined && size < this.smallBytes ? pair.small : pair.large;
  }

  ofExtent({ codec, unit }: Pick<Extent, "codec" | "unit">): Codec {
    return this.#codecs.codec(codec, unit);
  }
}
